//! Texts of users' code (panics, errors) on their way to the driver: they have no bound, and a control frame has one.

/// The most bytes of such a text in a message.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;

/// The text, or its beginning and how much is missing.
///
/// ```
/// use tidemill_protocol::message::{TEXT_BYTES_MAX, short_text};
///
/// assert_eq!(short_text("too short".to_owned()), "too short");
/// let long = short_text("ä".repeat(5_000));
/// assert!(long.len() <= TEXT_BYTES_MAX && long.ends_with("… (1840 bytes more)"));
/// ```
pub fn short_text(mut text: String) -> String {
    // For the words at its end.
    const RESERVE: usize = 32;
    if text.len() > TEXT_BYTES_MAX {
        let end = text.floor_char_boundary(TEXT_BYTES_MAX - RESERVE);
        let more = text.len() - end;
        text.truncate(end);
        text.push_str(&format!("… ({more} bytes more)"));
    }
    text
}
