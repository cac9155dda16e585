//! Join tokens: `tidemill-join-1.<hash of the authority>.<secret>`, one line, single use.

use super::{hex, sha256, unhex};
use crate::message::Secret;
use std::{fmt, str::FromStr, time::Duration};

/// How long a token is good unless said otherwise: 15 minutes.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(15 * 60);

/// The most executor numbers that one token gives: a certificate must fit the 4 KiB of a reply.
pub const NODES_PER_TOKEN_MAX: u16 = 32;

const PREFIX: &str = "tidemill-join-1";

/// Permission to join, once. `Debug` does not show the secret; `Display` is the text to hand over.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// SHA-256 of the authority's certificate (DER): whom the joiner trusts.
    pub authority: [u8; 32],
    /// What the authority asks for.
    pub secret: Secret,
}

/// Why a text is not a token. None of them shows the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Something else was given.
    #[error("this is not a join token: one begins with `{PREFIX}.`; make one with `tidemill ca token`")]
    NotAToken,
    /// A token of another release.
    #[error(
        "a join token of version {0}, but this build knows version 1: use the same release on both sides"
    )]
    OtherVersion(String),
    /// A part is missing, or one too many.
    #[error("a join token has three parts with dots between, this one has {0}: paste all of it")]
    Parts(usize),
    /// A part is not 64 hexadecimal digits.
    #[error("the {0} of the join token is not 64 hexadecimal digits: paste all of it")]
    Digits(&'static str),
}

impl Token {
    /// The hash by which the authority remembers the secret.
    #[must_use]
    pub fn secret_hash(&self) -> [u8; 32] {
        sha256(&self.secret.0)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}.{}.{}", hex(&self.authority), hex(&self.secret.0))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({PREFIX}.{}.…)", hex(&self.authority))
    }
}

impl FromStr for Token {
    type Err = TokenError;
    /// Reads a token; white space around it is ignored.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let parts: Vec<&str> = text.trim().split('.').collect();
        let version = parts[0].strip_prefix("tidemill-join-").ok_or(TokenError::NotAToken)?;
        if version != "1" {
            return Err(TokenError::OtherVersion(version.chars().take(16).collect()));
        }
        let [_, authority, secret] = parts[..] else {
            return Err(TokenError::Parts(parts.len()));
        };
        let authority = unhex(authority).ok_or(TokenError::Digits("authority's hash"))?;
        let secret = unhex(secret).ok_or(TokenError::Digits("secret"))?;
        Ok(Token { authority, secret: Secret(secret) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_line_that_comes_back() {
        let token = Token { authority: [0xab; 32], secret: Secret([0x01; 32]) };
        let text = token.to_string();
        assert_eq!(text, format!("tidemill-join-1.{}.{}", "ab".repeat(32), "01".repeat(32)));
        assert_eq!(format!("  {text}\n").parse(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains("0101"), "the secret shows");
    }

    #[test]
    fn what_is_not_a_token_says_what_is_wrong() {
        let (hash, secret) = ("ab".repeat(32), "01".repeat(32));
        let parse = |text: &str| text.parse::<Token>().unwrap_err();
        assert_eq!(parse(""), TokenError::NotAToken);
        assert_eq!(parse("K10abc::server:x"), TokenError::NotAToken);
        assert_eq!(parse(&format!("tidemill-join-2.{hash}.{secret}")), TokenError::OtherVersion("2".into()));
        assert_eq!(parse("tidemill-join-1"), TokenError::Parts(1));
        assert_eq!(parse(&format!("tidemill-join-1.{hash}.{secret}.x")), TokenError::Parts(4));
        assert_eq!(
            parse(&format!("tidemill-join-1.{}.{secret}", &hash[1..])),
            TokenError::Digits("authority's hash")
        );
        assert_eq!(parse(&format!("tidemill-join-1.{hash}.{}", &secret[..60])), TokenError::Digits("secret"));
    }
}
