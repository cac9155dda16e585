//! Defects on order: whoever trusts a test wants to see it fail once. Each is one decision taken wrongly; all of this exists under
//! the feature `sim` only, for one thread at a time, and the default build has neither the type nor the question.

/// Whether this defect is planted in the simulation that runs on this thread; without the feature `sim` the constant `false`.
macro_rules! planted {
    ($bug:ident) => {{
        #[cfg(feature = "sim")]
        let is_planted = crate::planted::is(crate::planted::Planted::$bug);
        #[cfg(not(feature = "sim"))]
        let is_planted = false;
        is_planted
    }};
}

#[cfg(feature = "sim")]
pub use defects::{Planted, plant};

#[cfg(feature = "sim")]
pub(crate) use defects::is;

#[cfg(feature = "sim")]
mod defects {
    use std::cell::Cell;

    /// A defect that a simulation can have.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Planted {
        /// An executor that was declared dead keeps its connection, and what it says, and what an earlier life of a receiver
        /// says, counts.
        NoIncarnationCheck,
        /// A receiver acknowledges a block when it is closed, before anybody else holds it.
        AckBeforeSafe,
        /// The parts of a shuffle are merged in the order in which they arrive.
        MergeByArrival,
        /// The outputs of an executor that died count as they stand, as if nothing of them were needed any more.
        AdoptDead,
        /// The second holder of a block is not written into the books.
        ForgetReplica,
    }

    thread_local! {
        static PLANTED: Cell<Option<Planted>> = const { Cell::new(None) };
    }

    /// Plants a defect in all that runs on this thread, in place of the one before; none: everything is as it should be.
    pub fn plant(bug: Option<Planted>) {
        PLANTED.set(bug);
    }

    /// Whether `bug` is planted on this thread.
    pub(crate) fn is(bug: Planted) -> bool {
        PLANTED.get() == Some(bug)
    }
}
