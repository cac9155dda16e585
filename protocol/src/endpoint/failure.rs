//! What a handshake that came to nothing is called, in logs and counts. Nothing of what the peer says is in it.

use quinn::ConnectionError;

/// The kind of a failed handshake: one of a dozen texts, whoever the peer is.
#[must_use]
pub fn failed_handshake(error: &ConnectionError) -> &'static str {
    let code = match error {
        ConnectionError::TransportError(error) => error.code,
        ConnectionError::ConnectionClosed(close) => close.error_code,
        ConnectionError::TimedOut => return "a handshake that was not finished",
        ConnectionError::VersionMismatch => return "another version of QUIC",
        _ => return "a connection that was ended in its handshake",
    };
    // RFC 9001, 4.8: 0x100 and the alert of TLS (RFC 8446, 6).
    match u64::from(code) {
        0x12d => "a certificate that has expired",
        0x130 => "a certificate of another authority",
        0x174 => "no certificate",
        0x178 => "another version of the protocol",
        0x100..=0x1ff => "a handshake that TLS refuses",
        _ => "a handshake that breaks the protocol",
    }
}
