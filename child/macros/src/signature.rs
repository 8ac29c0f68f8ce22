//! What a task's function takes, and what no task can take.

use syn::spanned::Spanned;
use syn::{Error, FnArg, GenericParam, Ident, ItemFn, Pat, Result, Signature, Type};

/// A parameter that comes from a message.
pub(crate) struct Param<'a> {
    pub(crate) ident: &'a Ident,
    pub(crate) ty: &'a Type,
    pub(crate) name: String,
}

/// The parameters of a task.
pub(crate) struct Params<'a> {
    /// The first one is `&Context`.
    pub(crate) has_context: bool,
    pub(crate) params: Vec<Param<'a>>,
}

pub(crate) fn check(function: &ItemFn) -> Result<Params<'_>> {
    refuse_modifiers(&function.sig)?;
    let mut has_context = false;
    let mut params = Vec::new();
    for (place, input) in function.sig.inputs.iter().enumerate() {
        let FnArg::Typed(input) = input else {
            let text = "a task is a free function: it has no `self` (move it out of the `impl`)";
            return Err(Error::new(input.span(), text));
        };
        if is_context(&input.ty)? {
            if place > 0 {
                let text = "`&Context` must be the first parameter";
                return Err(Error::new(input.span(), text));
            }
            has_context = true;
            continue;
        }
        let Pat::Ident(pattern) = &*input.pat else {
            let text = "a task's parameter needs a plain name: messages may use it";
            return Err(Error::new(input.pat.span(), text));
        };
        if pattern.by_ref.is_some() || pattern.subpat.is_some() {
            let text = "a task's parameter needs a plain name: messages may use it";
            return Err(Error::new(input.pat.span(), text));
        }
        refuse_borrowed(&input.ty)?;
        let name = pattern.ident.to_string();
        params.push(Param {
            ident: &pattern.ident,
            ty: &input.ty,
            name: name.strip_prefix("r#").unwrap_or(&name).into(),
        });
    }
    Ok(Params {
        has_context,
        params,
    })
}

fn refuse_modifiers(signature: &Signature) -> Result<()> {
    if let Some(word) = &signature.unsafety {
        let text = "a task cannot be an `unsafe fn` (use an `unsafe` block inside)";
        return Err(Error::new(word.span(), text));
    }
    if let Some(dots) = &signature.variadic {
        return Err(Error::new(dots.span(), "a task cannot be variadic"));
    }
    match signature.generics.params.first() {
        Some(GenericParam::Lifetime(lifetime)) => {
            let text = "a task cannot have lifetimes: its arguments are owned";
            Err(Error::new(lifetime.span(), text))
        }
        Some(other) => {
            let text = "a task cannot be generic: messages do not carry types";
            Err(Error::new(other.span(), text))
        }
        None => Ok(()),
    }
}

/// `&Context`, `&bulkhead_child::Context`.
fn is_context(ty: &Type) -> Result<bool> {
    let Type::Reference(reference) = ty else {
        return Ok(false);
    };
    let Type::Path(path) = &*reference.elem else {
        return Ok(false);
    };
    let is_context = path
        .path
        .segments
        .last()
        .is_some_and(|last| last.ident == "Context");
    if is_context && reference.mutability.is_some() {
        let text = "a task's context is shared: take `&Context`";
        return Err(Error::new(ty.span(), text));
    }
    Ok(is_context)
}

fn refuse_borrowed(ty: &Type) -> Result<()> {
    let text = match ty {
        Type::Reference(reference) => {
            let instead = match &*reference.elem {
                Type::Path(path) if path.path.is_ident("str") => "`String`",
                Type::Path(path)
                    if path.path.segments.last().is_some_and(|s| s.ident == "Path") =>
                {
                    "`PathBuf`"
                }
                Type::Slice(_) => "a `Vec`",
                _ => "the type without `&`",
            };
            format!("a task's arguments are owned: take {instead}")
        }
        Type::ImplTrait(_) => "a task's parameter needs one type, not `impl Trait`".into(),
        Type::Ptr(_) | Type::BareFn(_) => "a task's arguments come from a message".into(),
        _ => return Ok(()),
    };
    Err(Error::new(ty.span(), text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    fn refused(function: &ItemFn) -> String {
        match check(function) {
            Ok(_) => panic!("it was taken"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_no_message_can_carry_is_refused_with_a_way_out() {
        let cases: [(ItemFn, &str); 11] = [
            (
                parse_quote!(
                    unsafe fn f() {}
                ),
                "`unsafe` block",
            ),
            (
                parse_quote!(
                    fn f<T>(a: T) {}
                ),
                "generic",
            ),
            (
                parse_quote!(
                    fn f<'a>(a: &'a str) {}
                ),
                "lifetimes",
            ),
            (
                parse_quote!(
                    fn f(&self) {}
                ),
                "free function",
            ),
            (
                parse_quote!(
                    fn f(a: &str) {}
                ),
                "`String`",
            ),
            (
                parse_quote!(
                    fn f(a: &std::path::Path) {}
                ),
                "`PathBuf`",
            ),
            (
                parse_quote!(
                    fn f(a: &[u8]) {}
                ),
                "a `Vec`",
            ),
            (
                parse_quote!(
                    fn f((a, b): (u8, u8)) {}
                ),
                "plain name",
            ),
            (
                parse_quote!(
                    fn f(a: impl Send) {}
                ),
                "impl Trait",
            ),
            (
                parse_quote!(
                    fn f(a: u8, c: &Context) {}
                ),
                "first",
            ),
            (
                parse_quote!(
                    fn f(c: &mut Context) {}
                ),
                "`&Context`",
            ),
        ];
        for (function, word) in cases {
            let text = refused(&function);
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn parameters_are_named_as_messages_name_them() {
        let function = parse_quote!(
            fn f(_: &bulkhead_child::Context, mut a: u8, r#type: u8) {}
        );
        let params = check(&function).unwrap();
        assert!(params.has_context);
        let names: Vec<_> = params.params.iter().map(|p| &*p.name).collect();
        assert_eq!(names, ["a", "type"]);
    }
}
