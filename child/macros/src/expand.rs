//! The code beside a task's function.
//!
//! It is an enum without variants: types and functions have separate namespaces, and unlike a
//! module an enum sees every name the function sees.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Error, ItemFn, Result, ReturnType, Type};

use crate::hooks;
use crate::options::{Mechanism, Options, option};
use crate::signature::{Params, check};
use crate::units::check_name;

pub(crate) fn expand(options: &Options, function: &ItemFn) -> Result<TokenStream> {
    let params = check(function)?;
    let mechanism = options.resolve(function.sig.asyncness.is_some())?;
    let needs = function
        .sig
        .asyncness
        .map(|_| quote!(::bulkhead_child::__needs_async!();))
        .unwrap_or_default();
    let ident = &function.sig.ident;
    let name = match &options.name {
        Some((name, _)) => name.clone(),
        None => ident.unraw().to_string(),
    };
    check_name("task", &name).map_err(|text| {
        Error::new(
            ident.span(),
            format!("{text}; or set one: `#[task(name = \"...\")]`"),
        )
    })?;
    let message = message(options, &params, function, &name);
    let task = task(options, mechanism, &params, function, &name)?;
    let doc = format!("The task `{name}`");
    Ok(beside(function, &doc, &needs, &quote!(#message #task)))
}

/// The function, and the type beside it.
pub(crate) fn beside(
    function: &ItemFn,
    doc: &str,
    needs: &TokenStream,
    methods: &TokenStream,
) -> TokenStream {
    let ident = &function.sig.ident;
    let vis = &function.vis;
    let cfg: Vec<_> = function
        .attrs
        .iter()
        .filter(|a| a.path().is_ident("cfg"))
        .collect();
    let doc = format!("{doc}: see the function of the same name.");
    quote! {
        // Arguments come out of a message: the function cannot borrow them.
        #[allow(clippy::needless_pass_by_value)]
        #function

        #(#cfg)*
        const _: () = { #needs };

        #(#cfg)*
        #[doc = #doc]
        #[allow(
            dead_code,
            missing_debug_implementations,
            non_camel_case_types,
            unreachable_pub,
            clippy::exhaustive_enums
        )]
        #vis enum #ident {}

        #(#cfg)*
        #[automatically_derived]
        #[allow(
            dead_code,
            deprecated,
            private_interfaces,
            unreachable_pub,
            unused_qualifications,
            clippy::all,
            clippy::nursery,
            clippy::pedantic
        )]
        impl #ident {
            #methods
        }
    }
}

fn message(options: &Options, params: &Params<'_>, function: &ItemFn, name: &str) -> TokenStream {
    let vis = &function.vis;
    let idents: Vec<_> = params.params.iter().map(|p| p.ident).collect();
    let types = params.params.iter().map(|p| p.ty);
    let adds = params.params.iter().map(|param| {
        let (ident, name) = (param.ident, &param.name);
        if options.positional == Some(false) {
            quote_spanned!(param.ty.span()=> .kwarg(#name, #ident))
        } else {
            quote_spanned!(param.ty.span()=> .arg(#ident))
        }
    });
    let on_submit = hooks::on_submit(options);
    let doc = format!("A message for the task `{name}`.");
    quote! {
        #[doc = #doc]
        #vis fn message(#(#idents: #types),*) -> ::bulkhead_child::MessageBuilder {
            ::bulkhead_child::Message::new(#name) #(#adds)* #on_submit
        }
    }
}

fn task(
    options: &Options,
    mechanism: Mechanism,
    params: &Params<'_>,
    function: &ItemFn,
    name: &str,
) -> Result<TokenStream> {
    let vis = &function.vis;
    let call = match mechanism {
        Mechanism::Async => call_async(params, function),
        Mechanism::Process | Mechanism::Thread => call(params, function),
    };
    let (mechanism, kind) = match mechanism {
        Mechanism::Process => (quote!(Process), quote!(Sync)),
        Mechanism::Thread => (quote!(Thread), quote!(Sync)),
        Mechanism::Async => (quote!(Async), quote!(Async)),
    };
    let run_in_main_thread = options.run_in_main_thread.is_some_and(|(flag, _)| flag);
    let names = params.params.iter().map(|p| &p.name);
    let queue = option(options.queue.as_ref());
    let timeout_ms = option(options.timeout_ms.as_ref());
    let max_retries = option(options.max_retries.as_ref());
    let backoff = option(options.backoff.as_ref());
    let patience_ms = option(options.patience_ms.as_ref());
    let result_ttl = option(options.result_ttl.as_ref());
    let memory = option(options.memory.as_ref());
    let profile = option(options.profile.as_ref());
    let trigger = option(options.trigger.json(name)?.as_ref());
    let concurrency = option(options.concurrency.as_ref());
    let positional = options.positional.unwrap_or(true);
    let (hook_functions, hooks) = hooks::hooks(options);
    let types = params.params.iter().map(|param| param.ty);
    Ok(quote! {
        #[doc = "What `tasks!` lists."]
        #vis fn task() -> ::bulkhead_child::Task {
            #call
            #hook_functions
            static DEFINITION: ::bulkhead_child::__private::Definition =
                ::bulkhead_child::__private::Definition {
                    name: #name,
                    queue: #queue,
                    timeout_ms: #timeout_ms,
                    max_retries: #max_retries,
                    backoff: #backoff,
                    patience_ms: #patience_ms,
                    result_ttl: #result_ttl,
                    memory: #memory,
                    profile: #profile,
                    trigger: #trigger,
                    concurrency: #concurrency,
                    params: &[#(#names),*],
                    positional: #positional,
                    hooks: #hooks,
                    mechanism: ::bulkhead_child::__private::Mechanism::#mechanism,
                    run_in_main_thread: #run_in_main_thread,
                    processor: ::core::option::Option::None,
                    call: ::bulkhead_child::__private::Function::#kind(__call),
                    rehearse: || { #(::bulkhead_child::__private::rehearse::<#types>();)* },
                };
            ::bulkhead_child::Task::new(&DEFINITION)
        }
    })
}

/// The parts of a call: what takes the arguments out of the message, and the call itself.
fn parts(params: &Params<'_>, function: &ItemFn) -> (Vec<TokenStream>, TokenStream) {
    let ident = &function.sig.ident;
    // Names of our own: a parameter may be called like the function.
    let locals: Vec<_> = (0..params.params.len())
        .map(|n| format_ident!("__arg{n}"))
        .collect();
    let takes = params
        .params
        .iter()
        .zip(&locals)
        .enumerate()
        .map(|(place, (param, local))| {
            let ty = param.ty;
            quote_spanned!(ty.span()=> let #local = __given.take::<#ty>(#place)?;)
        });
    let context = params.has_context.then(|| quote!(__context,));
    (takes.collect(), quote!(#ident(#context #(#locals),*)))
}

/// What makes a reply of `value`, the result of the function.
pub(crate) fn reply(function: &ItemFn, value: &TokenStream) -> TokenStream {
    match &function.sig.output {
        ReturnType::Type(_, ty) if matches!(**ty, Type::Never(_)) => value.clone(),
        output => {
            let reply = quote_spanned!(output.span()=>
                (&&&::bulkhead_child::__private::Probe(&__value)).road().reply(__value));
            quote!(let __value = #value; #reply)
        }
    }
}

fn call(params: &Params<'_>, function: &ItemFn) -> TokenStream {
    let (takes, call) = parts(params, function);
    let reply = reply(function, &call);
    quote! {
        fn __call(
            __context: &::bulkhead_child::Context,
            mut __given: ::bulkhead_child::__private::Given<'_>,
        ) -> ::bulkhead_child::__private::Reply {
            #[allow(unused_imports)]
            use ::bulkhead_child::__private::{ViaDisplay, ViaError, ViaSerialize};
            let _ = (&__context, &mut __given);
            #(#takes)*
            #reply
        }
    }
}

fn call_async(params: &Params<'_>, function: &ItemFn) -> TokenStream {
    let (takes, call) = parts(params, function);
    let reply = reply(function, &quote!(#call.await));
    quote! {
        fn __call(
            __context: ::bulkhead_child::Context,
            mut __given: ::bulkhead_child::__private::Given<'_>,
        ) -> ::std::result::Result<
            ::bulkhead_child::__private::Future,
            ::bulkhead_child::__private::Failure,
        > {
            #[allow(unused_imports)]
            use ::bulkhead_child::__private::{ViaDisplay, ViaError, ViaSerialize};
            let _ = &mut __given;
            #(#takes)*
            ::std::result::Result::Ok(::std::boxed::Box::pin(async move {
                let __context = &__context;
                #reply
            }))
        }
    }
}
