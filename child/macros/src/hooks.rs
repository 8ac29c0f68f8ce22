//! The code around hooks: functions of one shape each, whatever the task's own return.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::Path;
use syn::spanned::Spanned;

use crate::options::Options;

/// What a message does once it is submitted.
pub(crate) fn on_submit(options: &Options) -> Option<TokenStream> {
    let mut hooks = options.hooks.iter();
    let (_, path) = hooks.find(|(hook, _)| *hook == "on_submit")?;
    Some(quote_spanned!(path.span()=> .on_submit(#path)))
}

/// Functions for the hooks that are given, and the value that lists them.
pub(crate) fn hooks(options: &Options) -> (TokenStream, TokenStream) {
    let given = options
        .hooks
        .iter()
        .filter(|(hook, _)| *hook != "on_submit");
    let functions = given.clone().map(|(hook, path)| function(hook, path));
    let functions = quote!(#(#functions)*);
    let fields = given.map(|(hook, _)| {
        let (field, name) = (format_ident!("{hook}"), format_ident!("__{hook}"));
        quote!(#field: ::core::option::Option::Some(#name),)
    });
    let private = quote!(::bulkhead_child::__private);
    (
        functions,
        quote!(#private::Hooks { #(#fields)* ..#private::Hooks::NONE }),
    )
}

fn function(hook: &str, path: &Path) -> TokenStream {
    let name = format_ident!("__{hook}");
    let second = match hook {
        "pre_op" => None,
        "post_op" | "do_callback" => Some(quote!(&::bulkhead_child::__private::Value)),
        "do_retry" => Some(quote!(&::bulkhead_child::TaskError)),
        _ => Some(quote!(&::bulkhead_child::Occasion)),
    };
    let takes = second.as_ref().map(|ty| quote!(, __about: #ty));
    let gives = second.as_ref().map(|_| quote!(, __about));
    let call = quote_spanned!(path.span()=> #path(__context #gives));
    let (output, body) = if hook.starts_with("do_") {
        (quote!(bool), call)
    } else {
        let reply = quote_spanned!(path.span()=>
            (&&&::bulkhead_child::__private::Probe(&__value)).road().reply(__value));
        let body = quote! {
            #[allow(unused_imports)]
            use ::bulkhead_child::__private::{ViaDisplay, ViaError, ViaSerialize};
            let __value = #call;
            #reply.map(::core::mem::drop)
        };
        (quote!(::bulkhead_child::__private::Done), body)
    };
    quote! {
        fn #name(__context: &::bulkhead_child::Context #takes) -> #output { #body }
    }
}
