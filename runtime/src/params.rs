//! The application's parameters: given to the driver, the same on every node of the cluster.
//!
//! ```
//! use tidemill::Params;
//!
//! let params = Params::parse(["from=10.0.0.9:9999", "top=5"]).unwrap();
//! assert_eq!(params.text("from", "127.0.0.1:9999"), "10.0.0.9:9999");
//! assert_eq!(params.get("top", 3), Ok(5));
//! assert_eq!(params.get("least", 7), Ok(7));
//! assert_eq!(
//!     params.get::<u8>("from", 0).unwrap_err().to_string(),
//!     "the parameter from=10.0.0.9:9999 is not a u8: invalid digit found in string"
//! );
//! ```

use crate::graph::GraphError;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};
use tidemill_protocol::message::NamedValue;

/// The most bytes of all names and values: they travel in one message.
const BYTES_MAX: usize = 32 * 1024;

/// Values under names. A pipeline asks for them while it is built; cloning gives another handle.
#[derive(Clone, Debug, Default)]
pub struct Params {
    values: BTreeMap<String, String>,
    asked: Arc<Mutex<BTreeSet<String>>>,
}

/// What was given as a parameter is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// Not a name, an equals sign and a value.
    #[error("the parameter {0:?} is not of the form name=value")]
    NotAPair(String),
    /// One name, two values.
    #[error("the parameter {0} is given twice")]
    Twice(String),
    /// Too much for a message.
    #[error(
        "the parameters take {0} bytes, more than {BYTES_MAX}: put large values into a file that every node has"
    )]
    TooLong(usize),
    /// A name that the pipeline does not ask for: a slip of the pen that would otherwise change nothing silently.
    #[error("the pipeline asks for no parameter {name:?}: it asks for {asked}")]
    NotAsked {
        /// The name.
        name: String,
        /// What it asks for.
        asked: String,
    },
}

impl Params {
    /// From texts of the form `name=value`.
    ///
    /// # Errors
    /// [`ParamsError`], each but `NotAsked`.
    pub fn parse<S: AsRef<str>>(pairs: impl IntoIterator<Item = S>) -> Result<Self, ParamsError> {
        let mut params = Params::default();
        for pair in pairs {
            let pair = pair.as_ref();
            let (name, value) = pair
                .split_once('=')
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| ParamsError::NotAPair(pair.to_owned()))?;
            if params.values.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(ParamsError::Twice(name.to_owned()));
            }
        }
        let bytes: usize = params.values.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
        if bytes > BYTES_MAX { Err(ParamsError::TooLong(bytes)) } else { Ok(params) }
    }

    /// The value of `name`, or `default` where none is given.
    ///
    /// # Errors
    /// [`GraphError::BadParameter`] if what is given is not such a value.
    pub fn get<T: FromStr<Err: fmt::Display>>(&self, name: &str, default: T) -> Result<T, GraphError> {
        self.ask(name).map_or(Ok(default), |value| {
            value.parse().map_err(|error: T::Err| GraphError::BadParameter {
                name: name.to_owned(),
                value: value.to_owned(),
                wanted: std::any::type_name::<T>(),
                cause: error.to_string(),
            })
        })
    }

    /// The text of `name`, or `default` where none is given.
    pub fn text(&self, name: &str, default: &str) -> String {
        self.ask(name).unwrap_or(default).to_owned()
    }

    fn ask(&self, name: &str) -> Option<&str> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        self.values.get(name).map(String::as_str)
    }

    /// Refuses what the pipeline, which is built now, has not asked for.
    pub(crate) fn check_asked(&self) -> Result<(), ParamsError> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        match self.values.keys().find(|name| !asked.contains(*name)) {
            None => Ok(()),
            Some(name) => {
                let all: Vec<&str> = asked.iter().map(String::as_str).collect();
                let asked = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
                Err(ParamsError::NotAsked { name: name.clone(), asked })
            }
        }
    }

    /// As one text in which every difference shows, for the program's hash.
    pub(crate) fn canonical(&self) -> String {
        self.values.iter().map(|(name, value)| format!("{name:?}={value:?}\n")).collect()
    }

    pub(crate) fn to_wire(&self) -> Vec<NamedValue> {
        let value =
            |(name, value): (&String, &String)| NamedValue { name: name.clone(), value: value.clone() };
        self.values.iter().map(value).collect()
    }

    pub(crate) fn from_wire(values: &[NamedValue]) -> Self {
        let values = values.iter().map(|v| (v.name.clone(), v.value.clone())).collect();
        Params { values, asked: Arc::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_parameter_is_refused_with_its_reason() {
        let refused = |pairs: &[&str]| Params::parse(pairs).unwrap_err().to_string();
        assert_eq!(refused(&["from"]), "the parameter \"from\" is not of the form name=value");
        assert_eq!(refused(&["=1"]), "the parameter \"=1\" is not of the form name=value");
        assert_eq!(refused(&["a=1", "a=2"]), "the parameter a is given twice");
        let long = format!("a={}", "x".repeat(BYTES_MAX));
        assert!(refused(&[&long]).contains("put large values into a file"));
    }

    #[test]
    fn a_name_that_nobody_asks_for_is_refused_with_those_that_are_asked_for() {
        let params = Params::parse(["form=1"]).unwrap();
        assert_eq!(
            params.check_asked().unwrap_err().to_string(),
            "the pipeline asks for no parameter \"form\": it asks for none"
        );
        params.text("from", "");
        params.text("top", "");
        assert_eq!(
            params.check_asked().unwrap_err().to_string(),
            "the pipeline asks for no parameter \"form\": it asks for from, top"
        );
        params.text("form", "");
        assert_eq!(params.check_asked(), Ok(()));
    }

    #[test]
    fn they_come_back_from_the_wire_as_they_were() {
        let params = Params::parse(["a=1", "b=x=y\nz"]).unwrap();
        let back = Params::from_wire(&params.to_wire());
        assert_eq!(back.canonical(), params.canonical());
        assert_eq!(back.text("b", ""), "x=y\nz");
    }
}
