//! What a certificate says of itself: serial number and validity, which webpki checks but does not show.
//!
//! Reads just as much DER (X.690) as RFC 5280's `TBSCertificate` needs to get there.

use std::time::Duration;

/// Facts of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The serial number, big end first.
    pub serial: Vec<u8>,
    /// Wall time since the Unix epoch, from when on it is valid.
    pub valid_from: Duration,
    /// Wall time since the Unix epoch, until when it is valid.
    pub valid_until: Duration,
}

/// The bytes are not a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an X.509 certificate")]
pub struct Malformed;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

impl CertificateFacts {
    /// Reads a certificate (DER).
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(certificate: &[u8]) -> Result<Self, Malformed> {
        let mut outer = Der(certificate);
        let mut signed = Der(Der(outer.take(SEQUENCE)?).take(SEQUENCE)?);
        signed.take(VERSION)?;
        let serial = signed.take(INTEGER)?.to_vec();
        let _algorithm = signed.take(SEQUENCE)?;
        let _issuer = signed.take(SEQUENCE)?;
        let mut validity = Der(signed.take(SEQUENCE)?);
        Ok(CertificateFacts { serial, valid_from: validity.time()?, valid_until: validity.time()? })
    }

    /// When two thirds of its life are over: time to renew it.
    #[must_use]
    pub fn renew_at(&self) -> Duration {
        self.valid_from + self.valid_until.saturating_sub(self.valid_from) * 2 / 3
    }
}

/// What is left to read.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The contents of the next value, which must have this tag.
    fn take(&mut self, tag: u8) -> Result<&'a [u8], Malformed> {
        let (found, contents) = self.next()?;
        if found == tag { Ok(contents) } else { Err(Malformed) }
    }

    fn next(&mut self) -> Result<(u8, &'a [u8]), Malformed> {
        let [tag, length, rest @ ..] = self.0 else { return Err(Malformed) };
        let (length, rest) = match (*length, rest) {
            (short @ 0..=0x7f, rest) => (usize::from(short), rest),
            (0x81, [a, rest @ ..]) => (usize::from(*a), rest),
            (0x82, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            _ => return Err(Malformed),
        };
        let (contents, rest) = rest.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok((*tag, contents))
    }

    /// `YYMMDDhhmmssZ` (1950 to 2049) or `YYYYMMDDhhmmssZ`, as RFC 5280 has them.
    fn time(&mut self) -> Result<Duration, Malformed> {
        let (tag, text) = self.next()?;
        let digits = text.strip_suffix(b"Z").ok_or(Malformed)?;
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(Malformed);
        }
        let number = |part: &[u8]| part.iter().fold(0u64, |n, digit| n * 10 + u64::from(digit - b'0'));
        let (year, rest) = match (tag, digits.len()) {
            (UTC_TIME, 12) => (1950 + (number(&digits[..2]) + 50) % 100, &digits[2..]),
            (GENERALIZED_TIME, 14) => (number(&digits[..4]), &digits[4..]),
            _ => return Err(Malformed),
        };
        let part = |at: usize| number(&rest[2 * at..2 * at + 2]);
        let (month, day) = (part(0), part(1));
        if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
            return Err(Malformed);
        }
        let seconds = ((days(year, month, day) * 24 + part(2)) * 60 + part(3)) * 60 + part(4);
        Ok(Duration::from_secs(seconds))
    }
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, from 1970 on.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before: u64 = (1970..year).map(|year| if leap(year) { 366 } else { 365 }).sum();
    before + lengths.iter().zip(1..month).map(|(length, _)| length).sum::<u64>() + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        // date -d YYYY-MM-DD +%s, divided by 86,400
        for (date, expected) in [
            ((1970, 1, 1), 0),
            ((2000, 3, 1), 11_017),
            ((2024, 2, 29), 19_782),
            ((2026, 1, 1), 20_454),
            ((2120, 1, 1), 54_786),
        ] {
            assert_eq!(days(date.0, date.1, date.2), expected, "{date:?}");
        }
    }

    #[test]
    fn a_certificate_made_by_openssl_is_read() {
        let facts = CertificateFacts::read(include_bytes!("../../testdata/test-node.der")).unwrap();
        assert_eq!(facts.valid_from, Duration::from_secs(18_262 * 86_400)); // 2020-01-01
        assert_eq!(facts.valid_until, Duration::from_secs(54_786 * 86_400)); // 2120-01-01
        assert_eq!(facts.renew_at(), Duration::from_secs((18_262 * 86_400) + (54_786 - 18_262) * 57_600));
        assert!(!facts.serial.is_empty());
    }

    #[test]
    fn a_damaged_certificate_never_panics() {
        let whole = include_bytes!("../../testdata/test-node.der");
        for length in 0..150 {
            assert_eq!(CertificateFacts::read(&whole[..length]), Err(Malformed), "{length}");
        }
        for at in 0..whole.len() {
            for value in [0, 0x30, 0x7f, 0x80, 0x82, 0xff] {
                let mut damaged = whole.to_vec();
                damaged[at] = value;
                let _ = CertificateFacts::read(&damaged);
            }
        }
    }
}
