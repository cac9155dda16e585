//! Refuses MessagePack that nests too deep, before serde sees it, and without recursion: the depth limit of rmp-serde does
//! not count nested enum variants, and a frame of them overflows the stack and ends the process.

/// How deep records may nest.
pub(super) const DEPTH_MAX: usize = 128;

/// Checks that `bytes` are whole MessagePack values that nest no deeper than [`DEPTH_MAX`].
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut open: Vec<u64> = Vec::new();
    let mut at = 0usize;
    while at < bytes.len() {
        let (header, body, children) =
            measure(&bytes[at..]).ok_or("the bytes end in the middle of a value")?;
        at = at
            .checked_add(header)
            .and_then(|next| next.checked_add(body))
            .filter(|&next| next <= bytes.len())
            .ok_or("the bytes end in the middle of a value")?;
        if children > 0 {
            if open.len() == DEPTH_MAX {
                return Err(format!("values nest deeper than {DEPTH_MAX}"));
            }
            open.push(children);
            continue;
        }
        while let Some(left) = open.last_mut() {
            *left -= 1;
            if *left > 0 {
                break;
            }
            open.pop();
        }
    }
    if open.is_empty() { Ok(()) } else { Err("the bytes end in the middle of a value".into()) }
}

/// Length of the header, length of what follows it, and how many values it encloses.
fn measure(bytes: &[u8]) -> Option<(usize, usize, u64)> {
    let big_endian = |n: usize| -> Option<u64> {
        Some(bytes.get(1..1 + n)?.iter().fold(0u64, |sum, &byte| (sum << 8) | u64::from(byte)))
    };
    let sized = |n: usize, more: usize| -> Option<(usize, usize, u64)> {
        Some((1 + n, usize::try_from(big_endian(n)?).ok()?.checked_add(more)?, 0))
    };
    Some(match *bytes.first()? {
        0x00..=0x7f | 0xc0..=0xc3 | 0xe0..=0xff => (1, 0, 0),
        byte @ 0x80..=0x8f => (1, 0, u64::from(byte & 15) * 2),
        byte @ 0x90..=0x9f => (1, 0, u64::from(byte & 15)),
        byte @ 0xa0..=0xbf => (1, usize::from(byte & 31), 0),
        0xc4 | 0xd9 => sized(1, 0)?,
        0xc5 | 0xda => sized(2, 0)?,
        0xc6 | 0xdb => sized(4, 0)?,
        0xc7 => sized(1, 1)?,
        0xc8 => sized(2, 1)?,
        0xc9 => sized(4, 1)?,
        0xcc | 0xd0 => (1, 1, 0),
        0xcd | 0xd1 => (1, 2, 0),
        0xca | 0xce | 0xd2 => (1, 4, 0),
        0xcb | 0xcf | 0xd3 => (1, 8, 0),
        byte @ 0xd4..=0xd8 => (1, 1 + (1 << (byte - 0xd4)), 0),
        0xdc => (3, 0, big_endian(2)?),
        0xdd => (5, 0, big_endian(4)?),
        0xde => (3, 0, big_endian(2)? * 2),
        0xdf => (5, 0, big_endian(4)? * 2),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_serde_writes_is_whole_and_shallow() {
        let value =
            (1u8, "text", vec![Some(1.5f64), None], (i64::MIN, u64::MAX), vec![vec![0u8; 300]; 70_000 / 300]);
        let bytes = rmp_serde::to_vec(&value).unwrap();
        assert_eq!(check(&bytes), Ok(()));
        assert!(check(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn depth_is_limited_without_recursion() {
        let mut bytes = vec![0x91; DEPTH_MAX];
        bytes.push(0xc0);
        assert_eq!(check(&bytes), Ok(()));
        let mut bytes = vec![0x91; 1_000_000];
        bytes.push(0xc0);
        assert_eq!(check(&bytes), Err("values nest deeper than 128".into()));
    }
}
