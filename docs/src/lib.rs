//! The book, compiled: README and every page under docs/ are doctests of this crate, and its tests guard the house.
//!
//! ```text
//!   workspace   the files of the project and the manifests' dependencies
//!   tokens      Rust source without comments and strings, as tokens
//!      |
//!   tests/      arrow, purity, files, words, pages, waits
//! ```
//!
//! This crate must not be needed by any other: it reads the sources, nothing reads it.

pub mod tokens;
pub mod workspace;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../ARCHITECTURE.md")]
pub struct Architecture;

#[cfg(doctest)]
#[doc = include_str!("../GLOSSARY.md")]
pub struct Glossary;

#[cfg(doctest)]
#[doc = include_str!("../PROTOCOL.md")]
pub struct Protocol;

#[cfg(doctest)]
#[doc = include_str!("../BENCHMARKS.md")]
pub struct Benchmarks;

#[cfg(doctest)]
#[doc = include_str!("../FAULTS.md")]
pub struct Faults;

#[cfg(doctest)]
#[doc = include_str!("../RECOVERY.md")]
pub struct Recovery;

#[cfg(doctest)]
#[doc = include_str!("../SCALE.md")]
pub struct Scale;

#[cfg(doctest)]
#[doc = include_str!("../SECURITY.md")]
pub struct Security;

#[cfg(doctest)]
#[doc = include_str!("../THREE-MACHINES.md")]
pub struct ThreeMachines;

#[cfg(doctest)]
#[doc = include_str!("../adr/0001-safe-means-recorded-by-the-driver.md")]
pub struct Adr0001;
