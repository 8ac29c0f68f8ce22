//! What the hooks and the function of one attempt hand to each other.
#![forbid(unsafe_code)]

use std::any::Any;
use std::fmt;
use std::sync::{Mutex, PoisonError};

/// Values kept for the time of one attempt, one of each type. They never leave the process.
///
/// ```
/// use bulkhead_child::{Context, task};
/// use std::time::Instant;
///
/// fn begin(ctx: &Context) {
///     ctx.state().insert(Instant::now());
/// }
/// fn end(ctx: &Context, _: &serde_json::Value) {
///     let began: Option<Instant> = ctx.state().take();
///     println!("it took {:?}", began.map(|began| began.elapsed()));
/// }
/// #[task(pre_op = begin, post_op = end)]
/// fn resize(path: String) {}
/// ```
#[derive(Default)]
pub struct State(Mutex<Vec<Box<dyn Any + Send>>>);

impl State {
    /// Keeps a value; returns the one of its type that was kept before.
    pub fn insert<T: Any + Send>(&self, value: T) -> Option<T> {
        let before = self.take();
        self.kept(|kept| kept.push(Box::new(value)));
        before
    }

    /// Takes the value of type `T` away, if there is one.
    pub fn take<T: Any + Send>(&self) -> Option<T> {
        self.kept(|kept| {
            let at = kept.iter().position(|value| value.is::<T>())?;
            kept.swap_remove(at).downcast().ok().map(|value| *value)
        })
    }

    /// A copy of the value of type `T`, if there is one.
    pub fn get<T: Any + Send + Clone>(&self) -> Option<T> {
        self.kept(|kept| kept.iter().find_map(|value| value.downcast_ref().cloned()))
    }

    fn kept<R>(&self, act: impl FnOnce(&mut Vec<Box<dyn Any + Send>>) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("State")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_of_each_type_is_kept_until_it_is_taken() {
        let state = State::default();
        assert_eq!(state.insert(1u8), None);
        assert_eq!(state.insert("text"), None);
        assert_eq!(state.insert(2u8), Some(1));
        assert_eq!(
            (state.get::<u8>(), state.take::<&str>()),
            (Some(2), Some("text"))
        );
        assert_eq!((state.take::<u8>(), state.take::<u8>()), (Some(2), None));
    }
}
