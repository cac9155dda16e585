//! The one actor that drives every core.
use crate::core::Core;
use std::marker::PhantomData;
/// The address of a shell.
pub struct ShellAddress<C: Core>(PhantomData<C>);
