//! Catching a panic together with its message **and its place**. Used by actors, by tasks spawned inside them and by the
//! task slots.
//!
//! The place of a panic is known only to the panic hook, so this module chains one hook before the one that is installed,
//! once, when [`catch`] is first used. A library installs nothing global as a rule; this is the argued exception: outside of
//! our own `catch` the hook only calls the one before it, so a user sees no difference, and without it an operator would
//! read "index out of bounds" with no file and no line. Inside `catch` it stays silent, because the panic is reported as an
//! [`Exit`](super::Exit) or a failed task, once, by whoever handles it.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    fmt,
    panic::{AssertUnwindSafe, PanicHookInfo},
    pin::Pin,
    sync::Once,
    task::{Context, Poll},
};

/// What a panic said, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanicText {
    /// The panic's message.
    pub message: String,
    /// `file:line:column`; `None` for a panic that was resumed or thrown without the hook.
    pub location: Option<String>,
}

impl fmt::Display for PanicText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Some(location) => write!(f, "{} at {location}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

thread_local! {
    /// How many `catch` are on this thread's stack.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// The last panic inside of them.
    static LAST: RefCell<Option<PanicText>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Runs `work` and gives its result, or what it said when it panicked.
///
/// What `work` has changed half-way stays as it is: throw away the state it worked on.
///
/// ```
/// use tidemill_actors::supervision::panic::catch;
///
/// assert_eq!(catch(|| 2 + 2), Ok(4));
/// let said = catch(|| panic!("no luck with {}", 7)).unwrap_err();
/// assert_eq!(said.message, "no luck with 7");
/// assert!(said.location.is_some());
/// ```
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, PanicText> {
    HOOK.call_once(chain_hook);
    DEPTH.with(|depth| depth.set(depth.get() + 1));
    let result = std::panic::catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let message = message_of(payload.as_ref());
        let recorded = LAST.with(|last| last.borrow_mut().take());
        // A payload may have a destructor that panics. Nobody is left to be told of that one, but it must not get out.
        if let Err(again) = std::panic::catch_unwind(AssertUnwindSafe(move || drop(payload))) {
            std::mem::forget(again);
        }
        // A resumed panic passes no hook: what is recorded then belongs to an older one, and its place would be a lie.
        let location = recorded.filter(|text| text.message == message).and_then(|text| text.location);
        PanicText { message, location }
    });
    DEPTH.with(|depth| depth.set(depth.get() - 1));
    result
}

/// Polls `work` to its end inside [`catch`], and drops it there too.
pub fn catch_future<F: Future>(work: F) -> CatchFuture<F> {
    CatchFuture { work: Some(Box::pin(work)) }
}

/// The future of [`catch_future`].
pub struct CatchFuture<F: Future> {
    work: Option<Pin<Box<F>>>,
}

impl<F: Future> Future for CatchFuture<F> {
    type Output = Result<F::Output, PanicText>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let work = self.work.as_mut().expect("a future is not polled after it has completed");
        match catch(|| work.as_mut().poll(cx)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(text) => {
                let work = self.work.take();
                let _ = catch(|| drop(work));
                Poll::Ready(Err(text))
            }
        }
    }
}

impl<F: Future> Drop for CatchFuture<F> {
    fn drop(&mut self) {
        let work = self.work.take();
        if work.is_some() {
            let _ = catch(|| drop(work));
        }
    }
}

fn chain_hook() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if DEPTH.try_with(Cell::get).unwrap_or(0) == 0 {
            return previous(info);
        }
        record(info);
    }));
}

fn record(info: &PanicHookInfo<'_>) {
    let text =
        PanicText { message: message_of(info.payload()), location: info.location().map(ToString::to_string) };
    // A panic inside this closure's own borrow cannot be: nothing here calls out.
    let _ = LAST.try_with(|last| last.replace(Some(text)));
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_string()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic whose payload is no text".to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_and_place_are_known() {
        let line = line!() + 1;
        let text = catch(|| panic!("boom {}", 1)).unwrap_err();
        assert_eq!(text.message, "boom 1");
        let location = text.location.unwrap();
        assert!(location.contains("panic.rs") && location.contains(&format!(":{line}:")), "{location}");
    }

    #[test]
    fn a_nested_catch_leaves_the_outer_one_alone() {
        let outer = catch(|| {
            let inner = catch(|| panic!("inner")).unwrap_err();
            inner.message
        });
        assert_eq!(outer.unwrap(), "inner");
        assert_eq!(catch(|| panic!("later")).unwrap_err().message, "later");
    }

    #[test]
    fn a_resumed_panic_gets_no_foreign_place() {
        let text = catch(|| {
            let _ = std::panic::catch_unwind(|| panic!("another"));
            std::panic::resume_unwind(Box::new("resumed"))
        })
        .unwrap_err();
        assert_eq!(text, PanicText { message: "resumed".into(), location: None });
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_contained() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in the payload's destructor");
            }
        }
        let text = catch(|| std::panic::panic_any(Bomb)).unwrap_err();
        assert_eq!(text.message, "a panic whose payload is no text");
    }
}
