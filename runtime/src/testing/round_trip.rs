//! Whether a type survives the wire.

use crate::data::{Data, survives};

/// A value does not survive the wire; the text says what happened to it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{type_name} does not survive the wire: {reason}")]
pub struct RoundTripError {
    /// The type.
    pub type_name: &'static str,
    /// What happened.
    pub reason: String,
}

/// Writes `value` as records are written between nodes, reads it back, and writes it again; gives what was read.
///
/// ```
/// use tidemill::testing::round_trip;
/// assert_eq!(round_trip(&(1, "one".to_owned())), Ok((1, "one".to_owned())));
/// // An option of an option loses a layer: nothing and something empty are written alike.
/// assert_eq!(round_trip(&Some(None::<u8>)), Ok(None));
/// ```
///
/// # Errors
/// [`RoundTripError`] if it cannot be written, cannot be read, or is then written differently. Compare the value too: two
/// values may be written alike.
pub fn round_trip<T: Data>(value: &T) -> Result<T, RoundTripError> {
    survives(value).map_err(|reason| RoundTripError { type_name: std::any::type_name::<T>(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Serialize, Deserialize)]
    struct Forgetful {
        #[serde(skip_deserializing)]
        number: u8,
    }

    #[test]
    fn a_field_that_is_not_read_is_found() {
        let error = round_trip(&Forgetful { number: 1 }).err().unwrap();
        assert!(error.to_string().contains("Forgetful does not survive the wire"), "{error}");
    }
}
