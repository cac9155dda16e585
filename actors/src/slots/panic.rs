//! Panics of user code on a slot: message and location, as a value.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::Once,
};

/// What a panic said, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PanicText(String);

impl fmt::Display for PanicText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static LOCATION: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `work`; a panic in it becomes an error. The location is known only to the panic hook, so one is set in front of
/// the hook that is there; panics outside of `catch` go on to that one.
pub(super) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, PanicText> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let next = take_hook();
        set_hook(Box::new(move |info| {
            if CATCHING.get() {
                LOCATION.set(info.location().map(ToString::to_string));
            } else {
                next(info);
            }
        }));
    });
    let outer = CATCHING.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(outer);
    result.map_err(|payload| {
        let at = LOCATION.take().unwrap_or_else(|| "an unknown place".into());
        PanicText(format!("{} at {at}", message_of(&*payload)))
    })
}

fn message_of(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text,
        (None, None) => "a panic without a message",
    }
}
