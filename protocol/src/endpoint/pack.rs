//! Pieces travel compressed (lz4) where that pays, which a look at their beginning tells.

use super::link::LinkError;
use crate::codec::PIECE_BYTES_MAX;
use crate::message::{PackedPiece, Piece};

/// Shorter pieces are not worth a try.
const PACK_BYTES_MIN: usize = 4 * 1024;
/// What is tried first.
const PROBE_BYTES: usize = 4 * 1024;

/// What is sent of a piece.
pub(super) enum Sent {
    Plain(Piece),
    Packed(PackedPiece),
}

/// Compresses `piece` if it loses an eighth or more: then it costs less than it saves, as every byte sent is encrypted,
/// and decrypted again. One that [`unpack`] would refuse stays as it is.
pub(super) fn pack(piece: Piece) -> Sent {
    let bytes = &piece.bytes;
    // Looked for in the middle: the beginning may be headers.
    let probe = bytes.get(bytes.len() / 2..).map(|half| &half[..half.len().min(PROBE_BYTES)]);
    let pays = |packed: usize, plain: usize| packed <= plain - plain / 8;
    let worth_trying = (PACK_BYTES_MIN..=PIECE_BYTES_MAX).contains(&bytes.len())
        && probe.is_some_and(|probe| pays(lz4_flex::block::compress(probe).len(), probe.len()));
    let Some(bytes_unpacked) = u32::try_from(bytes.len()).ok().filter(|_| worth_trying) else {
        return Sent::Plain(piece);
    };
    let packed = lz4_flex::block::compress(bytes);
    if !pays(packed.len(), bytes.len()) {
        return Sent::Plain(piece);
    }
    Sent::Packed(PackedPiece {
        rows: piece.rows,
        dataset: piece.dataset,
        bytes_unpacked,
        packed: packed.into(),
    })
}

/// The piece again.
///
/// # Errors
/// [`LinkError::TooMuch`] if it would be longer than a piece that is not packed: no memory is taken for it then.
/// [`LinkError::OutOfOrder`] if it is not what its sender announced.
pub(super) fn unpack(packed: &PackedPiece) -> Result<Piece, LinkError> {
    let announced = packed.bytes_unpacked as usize;
    if announced > PIECE_BYTES_MAX {
        return Err(LinkError::TooMuch { what: "bytes of a packed piece", max: PIECE_BYTES_MAX as u64 });
    }
    match lz4_flex::block::decompress(&packed.packed, announced) {
        Ok(bytes) if bytes.len() == announced => {
            Ok(Piece { rows: packed.rows, dataset: packed.dataset, bytes: bytes.into() })
        }
        _ => Err(LinkError::OutOfOrder("a Packed piece unpacks to what it announces")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::DatasetId, world::SeededRng};

    fn piece(bytes: Vec<u8>) -> Piece {
        Piece { rows: 9, dataset: DatasetId(2), bytes: bytes.into() }
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut rng = SeededRng::new(5);
        std::iter::repeat_with(|| rng.next_u64() as u8).take(length).collect()
    }

    #[test]
    fn what_shrinks_is_packed_and_comes_back_as_it_was() {
        let text = piece(b"the tide comes in, the tide goes out; ".repeat(3_000));
        let Sent::Packed(packed) = pack(text.clone()) else { panic!("it repeats itself") };
        assert!(packed.packed.len() < text.bytes.len() / 10);
        assert_eq!(unpack(&packed).expect("ours"), text);
    }

    #[test]
    fn what_does_not_shrink_is_sent_as_it_is() {
        let mut half = noise(200_000);
        half.splice(50_000..50_000, vec![7; 4_096]);
        for bytes in [noise(100_000), vec![7; PACK_BYTES_MIN - 1], Vec::new(), half] {
            let before = piece(bytes);
            match pack(before.clone()) {
                Sent::Plain(sent) => assert_eq!(sent, before),
                Sent::Packed(packed) => panic!("{} bytes", packed.packed.len()),
            }
        }
    }

    #[test]
    fn what_is_packed_is_what_unpacks() {
        let longest = piece(vec![7; PIECE_BYTES_MAX]);
        let Sent::Packed(packed) = pack(longest.clone()) else { panic!("it is all the same") };
        assert!(unpack(&packed).expect("ours") == longest);
        let longer = piece(vec![7; PIECE_BYTES_MAX + 1]);
        assert!(matches!(pack(longer), Sent::Plain(_)), "the peer would take it for a bomb");
    }

    #[test]
    fn a_bomb_and_a_lie_are_refused() {
        let bomb = lz4_flex::block::compress(&vec![0; 64 << 20]);
        assert!(bomb.len() < 300_000, "64 MiB in {} bytes", bomb.len());
        let packed = |bytes_unpacked| PackedPiece {
            rows: 1,
            dataset: DatasetId(2),
            bytes_unpacked,
            packed: bomb.clone().into(),
        };
        let refused = |announced| unpack(&packed(announced)).expect_err("it must be refused");
        assert!(matches!(refused(64 << 20), LinkError::TooMuch { .. }));
        assert!(matches!(refused(u32::MAX), LinkError::TooMuch { .. }));
        // Announced small, it does not get more memory than that.
        assert!(matches!(refused(1_000), LinkError::OutOfOrder(_)));
        assert!(matches!(refused(0), LinkError::OutOfOrder(_)));
        let short = PackedPiece { packed: lz4_flex::block::compress(&[1, 2, 3]).into(), ..packed(4) };
        assert!(matches!(unpack(&short), Err(LinkError::OutOfOrder(_))));
        assert!(unpack(&PackedPiece { packed: noise(5_000).into(), ..packed(8_000_000) }).is_err());
        assert!(refused(4).is_rubbish() && refused(u32::MAX).is_rubbish());
    }
}
