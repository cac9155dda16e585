//! The batch generator role.
