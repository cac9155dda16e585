//! Which partition a key belongs to: a function of its bytes alone, the same on every node and in every run.
//!
//! ```text
//!   key ── bytes ── xxh3_64(seed) ── mod 1024 = group ── contiguous ranges of groups = partition
//! ```
//! The bytes of a string are its UTF-8; those of any other key are its MessagePack with structs as arrays. Equal keys must
//! therefore be written equally: a key that holds a `HashSet` is none.

use super::{Data, wire_sizes::as_record};
use std::any::Any;
use tidemill_actors::seam::TaskError;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How many groups keys fall into; partitions are ranges of groups, so there are never more partitions than groups.
pub const KEY_GROUPS: u32 = 1024;

/// The hash of a key, under a seed that belongs to the application. `scratch` is room to write the key in.
///
/// ```
/// use tidemill::data::{Text, key_group, key_hash, partition_of};
/// let mut scratch = Vec::new();
/// let hash = key_hash(&Text::from("word"), 0, &mut scratch).unwrap();
/// assert_eq!(hash, key_hash(&String::from("word"), 0, &mut scratch).unwrap());
/// assert!(key_group(hash) < 1024);
/// assert!(partition_of(hash, 3) < 3);
/// ```
///
/// # Errors
/// [`TaskError::Failed`] if the key cannot be written.
#[inline]
pub fn key_hash<K: Data>(key: &K, seed: u64, scratch: &mut Vec<u8>) -> Result<u64, TaskError> {
    if let Some(text) = super::as_text(key) {
        return Ok(text_hash(text.as_bytes(), seed));
    }
    if let Some(text) = (key as &dyn Any).downcast_ref::<String>() {
        return Ok(text_hash(text.as_bytes(), seed));
    }
    scratch.clear();
    rmp_serde::encode::write(scratch, &as_record(key)).map_err(|e| {
        TaskError::Failed(format!("a key of type {} cannot be written: {e}", std::any::type_name::<K>()))
    })?;
    Ok(xxh3_64_with_seed(scratch, seed))
}

/// The hash of a string that is a key, from its UTF-8.
#[inline]
pub(crate) fn text_hash(utf8: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(utf8, seed)
}

/// The group of a key with this hash.
#[inline]
pub fn key_group(hash: u64) -> u32 {
    (hash % u64::from(KEY_GROUPS)) as u32
}

/// The partition, of `partitions`, of a key with this hash.
#[inline]
pub fn partition_of(hash: u64, partitions: u32) -> u32 {
    (u64::from(key_group(hash)) * u64::from(partitions) / u64::from(KEY_GROUPS)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_contiguous_ranges_of_groups() {
        for partitions in [1, 2, 3, 7, 1024] {
            let of: Vec<u32> =
                (0..u64::from(KEY_GROUPS)).map(|group| partition_of(group, partitions)).collect();
            assert!(of.is_sorted());
            assert_eq!((of[0], of[1023]), (0, partitions - 1));
        }
    }

    /// The hash of a key that docs/PROTOCOL.md writes so.
    fn hash_of(key: &str, seed: u64) -> u64 {
        let scratch = &mut Vec::new();
        let hash = match key {
            "7u64" => key_hash(&7u64, seed, scratch),
            "300u64" => key_hash(&300u64, seed, scratch),
            "-1i64" => key_hash(&-1i64, seed, scratch),
            "(\"ORD\", 9u8)" => key_hash(&("ORD".to_owned(), 9u8), seed, scratch),
            "true" => key_hash(&true, seed, scratch),
            text => key_hash(&super::super::Text::from(text.trim_matches('"')), seed, scratch),
        };
        hash.expect("such keys can be written")
    }

    #[test]
    fn keys_fall_where_the_protocols_page_says() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/PROTOCOL.md");
        let page = std::fs::read_to_string(page).expect("the page is there");
        let (_, block) = page.split_once("```text keys\n").expect("it has vectors of keys");
        let (block, _) = block.split_once("```").expect("they end");
        let rows: Vec<Vec<&str>> =
            block.lines().skip(1).map(|row| row.split('|').map(str::trim).collect()).collect();
        assert_eq!(rows.len(), 11);
        for row in rows {
            let [key, seed, bytes, hash, group, of_4] = row[..] else { panic!("six columns: {row:?}") };
            let seed = seed.parse().expect("a seed");
            let found = hash_of(key, seed);
            let written =
                bytes.split_ascii_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect("hex"));
            assert_eq!(text_hash(&written.collect::<Vec<u8>>(), seed), found, "the bytes of {key}");
            assert_eq!(format!("{found:016x}"), hash, "{key}");
            assert_eq!(key_group(found).to_string(), group, "{key}");
            assert_eq!(partition_of(found, 4).to_string(), of_4, "{key}");
        }
    }

    #[test]
    fn hashes_are_those_of_the_reference_implementation() {
        // XXH3_64bits of xxHash 0.8.2: of the empty input with seed 0, and of equal bytes whatever wrote them.
        let mut scratch = Vec::new();
        assert_eq!(key_hash(&String::new(), 0, &mut scratch).unwrap(), 0x2D06_8005_38D3_94C2);
        let pair = key_hash(&(1u8, 2u8), 5, &mut scratch).unwrap();
        assert_eq!(pair, xxh3_64_with_seed(&[0x92, 1, 2], 5));
    }
}
