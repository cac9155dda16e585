//! Records as MessagePack arrays, cut into parts while they are written: one pass, and each part as long as is allowed but for
//! whole records. So a part that is written again is one part again.

use super::wire_sizes::as_record;
use rmp_serde::{Serializer, encode::Error};
use serde::Serialize;

/// The number of records in each part, and its bytes.
pub(super) type Parts = Vec<(u64, Vec<u8>)>;

/// What an array has before its elements, at most.
pub(super) const HEADER_BYTES: usize = 5;

/// An array of `records`, in parts of at most `bytes_max` bytes or one record.
///
/// # Errors
/// A record refuses to be written.
pub(super) fn of_rows<R: Serialize>(
    records: impl Iterator<Item = R>,
    bytes_max: usize,
) -> Result<Parts, Error> {
    let (mut parts, mut rows) = (Parts::new(), 0);
    let mut open = Column::default();
    for record in records {
        open.write(&record)?;
        if rows > 0 && HEADER_BYTES + open.bytes() > bytes_max {
            parts.push((rows, array(rows, &open.cut())));
            rows = 0;
        }
        rows += 1;
        open.keep();
    }
    if rows > 0 || parts.is_empty() {
        parts.push((rows, array(rows, &open.rest())));
    }
    Ok(parts)
}

/// A pair of arrays, of the first and of the second halves of `records`, in parts of at most `bytes_max` bytes or one record.
///
/// # Errors
/// A record refuses to be written.
pub(super) fn of_columns<K: Serialize, V: Serialize>(
    records: impl Iterator<Item = (K, V)>,
    bytes_max: usize,
) -> Result<Parts, Error> {
    let pair = |rows, keys: &[u8], values: &[u8]| {
        let columns = [vec![0x92], array(rows, keys), array(rows, values)];
        (rows, columns.concat())
    };
    let (mut parts, mut rows) = (Parts::new(), 0);
    let (mut keys, mut values) = (Column::default(), Column::default());
    for (key, value) in records {
        keys.write(&key)?;
        values.write(&value)?;
        if rows > 0 && 1 + 2 * HEADER_BYTES + keys.bytes() + values.bytes() > bytes_max {
            parts.push(pair(rows, &keys.cut(), &values.cut()));
            rows = 0;
        }
        rows += 1;
        keys.keep();
        values.keep();
    }
    if rows > 0 || parts.is_empty() {
        parts.push(pair(rows, &keys.rest(), &values.rest()));
    }
    Ok(parts)
}

/// The elements of an array that is being written.
struct Column {
    out: Serializer<Vec<u8>>,
    /// Where the last element begins.
    last: usize,
}

impl Default for Column {
    fn default() -> Self {
        Column { out: Serializer::new(Vec::with_capacity(128)), last: 0 }
    }
}

impl Column {
    fn write(&mut self, element: &impl Serialize) -> Result<(), Error> {
        as_record(element).serialize(&mut self.out)
    }

    fn bytes(&self) -> usize {
        self.out.get_ref().len()
    }

    /// The last element belongs to this part.
    fn keep(&mut self) {
        self.last = self.bytes();
    }

    /// All elements but the last, which begins the next part.
    fn cut(&mut self) -> Vec<u8> {
        let next = self.out.get_ref()[self.last..].to_vec();
        let mut full = std::mem::replace(self.out.get_mut(), next);
        full.truncate(self.last);
        full
    }

    fn rest(self) -> Vec<u8> {
        self.out.into_inner()
    }
}

/// An array of `rows` elements that are written already.
fn array(rows: u64, elements: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + elements.len());
    // The shortest header that holds the number, as serde writes it.
    match (u8::try_from(rows), u16::try_from(rows)) {
        (Ok(few @ 0..16), _) => bytes.push(0x90 | few),
        (_, Ok(rows)) => {
            bytes.push(0xdc);
            bytes.extend_from_slice(&rows.to_be_bytes());
        }
        _ => {
            bytes.push(0xdd);
            bytes.extend_from_slice(&(rows as u32).to_be_bytes());
        }
    }
    bytes.extend_from_slice(elements);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows_of(part: &[u8]) -> Vec<String> {
        rmp_serde::from_slice(part).expect("an array")
    }

    #[test]
    fn what_fits_is_one_part_with_the_bytes_that_serde_writes() {
        for count in [0, 1, 15, 16, 65_535, 65_536] {
            let rows = vec![7u8; count];
            let expected = rmp_serde::to_vec(&rows).unwrap();
            assert_eq!(of_rows(rows.iter(), 1 << 20).unwrap(), [(count as u64, expected)], "{count}");
            let pairs = rows.iter().map(|row| (row, Some(row)));
            let columns = (&rows, rows.iter().map(Some).collect::<Vec<_>>());
            let expected = rmp_serde::to_vec(&columns).unwrap();
            assert_eq!(of_columns(pairs, 1 << 20).unwrap(), [(count as u64, expected)], "{count}");
        }
    }

    #[test]
    fn parts_are_as_long_as_is_allowed_and_stay_as_they_are_when_written_again() {
        // One that is longer than a part stands alone.
        let rows: Vec<String> =
            (0..1_000).map(|n| "x".repeat(if n == 400 { 5_000 } else { n % 60 })).collect();
        let parts = of_rows(rows.iter(), 1_000).unwrap();
        assert!(parts.len() > 30, "{}", parts.len());
        assert_eq!(parts.iter().flat_map(|(_, part)| rows_of(part)).collect::<Vec<_>>(), rows);
        for (count, part) in &parts {
            assert!(part.len() <= 1_000 || *count == 1);
            assert_eq!(of_rows(rows_of(part).iter(), 1_000).unwrap(), [(*count, part.clone())]);
        }
        assert_eq!(parts.iter().filter(|(_, part)| part.len() > 1_000).count(), 1);
        // As long as is allowed: 100 records of 10 bytes, and what an array may have before them.
        let tens = of_rows(std::iter::repeat_n("123456789", 250), 1_000 + HEADER_BYTES).unwrap();
        assert_eq!(tens.iter().map(|(rows, _)| *rows).collect::<Vec<_>>(), [100, 100, 50]);
    }

    #[test]
    fn columns_are_cut_at_the_same_records() {
        let pairs: Vec<(u32, String)> = (0..500).map(|n| (n, "y".repeat(n as usize % 40))).collect();
        let parts = of_columns(pairs.iter().map(|(key, value)| (key, value)), 700).unwrap();
        assert!(parts.len() > 10, "{}", parts.len());
        let mut back = Vec::new();
        for (count, part) in &parts {
            let (keys, values): (Vec<u32>, Vec<String>) = rmp_serde::from_slice(part).unwrap();
            assert!(part.len() <= 700 && keys.len() as u64 == *count);
            back.extend(keys.into_iter().zip(values));
        }
        assert_eq!(back, pairs);
    }
}
