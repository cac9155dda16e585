//! The one actor that drives every core.
use crate::core::Core;
use std::marker::PhantomData;
/// The address of a shell.
pub struct ShellAddress<C: Core>(PhantomData<fn(C)>);
impl<C: Core> Clone for ShellAddress<C> {
    fn clone(&self) -> Self {
        ShellAddress(PhantomData)
    }
}
impl<C: Core> ShellAddress<C> {
    /// Delivers an event.
    pub fn tell(&self, _event: C::Event) {}
}
