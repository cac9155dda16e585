//! The benchmarks' input: files of 500,000 lines of 99 characters and a newline, words drawn by Zipf's law from a vocabulary of
//! 50,000, about eleven a line. The same seed gives the same bytes on every machine.

use tidemill_protocol::world::SeededRng;

/// Lines of a file.
pub const LINES_OF_A_FILE: usize = 500_000;
/// Bytes of a line, its newline included.
pub const BYTES_OF_A_LINE: usize = 100;
/// The seed of the published figures.
pub const SEED: u64 = 7;

const VOCABULARY: usize = 50_000;
/// Words drawn for a file; its lines take them round and round, because drawing costs more than writing.
const DRAWS_OF_A_FILE: usize = 600_000;
const WORD_LETTERS_MIN: u64 = 4;
const WORD_LETTERS_MAX: u64 = 12;

/// Makes files, each of `lines` lines.
pub struct Generator {
    rng: SeededRng,
    words: Vec<Vec<u8>>,
    /// The sum of the weights 1, 1/2, 1/3 … up to each word.
    weights: Vec<f64>,
}

impl Generator {
    /// A generator with the vocabulary of `seed`.
    pub fn new(seed: u64) -> Self {
        let mut rng = SeededRng::new(seed);
        let words = (0..VOCABULARY).map(|_| word(&mut rng)).collect();
        let mut sum = 0.0;
        let weights = (1..=VOCABULARY)
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        Generator { rng, words, weights }
    }

    /// The next file.
    pub fn file(&mut self, lines: usize) -> Vec<u8> {
        let drawn: Vec<usize> = (0..DRAWS_OF_A_FILE).map(|_| self.draw()).collect();
        let mut round = drawn.iter().cycle();
        let mut file = Vec::with_capacity(lines * BYTES_OF_A_LINE);
        for number in 1..=lines {
            let mut left = BYTES_OF_A_LINE - 1;
            // The word that does not fit any more, with a space, is skipped, and the rest of the line is filled.
            for word in round.by_ref().map(|&index| &self.words[index]) {
                if word.len() + 1 > left {
                    break;
                }
                if left < BYTES_OF_A_LINE - 1 {
                    file.push(b' ');
                }
                left -= word.len() + 1;
                file.extend_from_slice(word);
            }
            file.resize(number * BYTES_OF_A_LINE - 1, b'x');
            file.push(b'\n');
        }
        file
    }

    /// A word's index by Zipf's law.
    fn draw(&mut self) -> usize {
        let total = self.weights[VOCABULARY - 1];
        let point = self.rng.unit() * total;
        self.weights.partition_point(|&sum| sum <= point).min(VOCABULARY - 1)
    }
}

/// `files` files of [`LINES_OF_A_FILE`] lines.
pub fn files(files: usize, seed: u64) -> Vec<Vec<u8>> {
    let mut generator = Generator::new(seed);
    (0..files).map(|_| generator.file(LINES_OF_A_FILE)).collect()
}

fn word(rng: &mut SeededRng) -> Vec<u8> {
    let letters = rng.range(WORD_LETTERS_MIN, WORD_LETTERS_MAX + 1);
    (0..letters).map(|_| b'a' + rng.range(0, 26) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_line_is_99_characters_and_a_newline_of_words() {
        let file = Generator::new(SEED).file(2_000);
        assert_eq!(file.len(), 2_000 * BYTES_OF_A_LINE);
        for line in file.chunks(BYTES_OF_A_LINE) {
            let (newline, text) = line.split_last().expect("a line has bytes");
            assert_eq!(*newline, b'\n');
            assert!(
                text.iter().all(|b| b.is_ascii_lowercase() || *b == b' '),
                "{:?}",
                String::from_utf8_lossy(text)
            );
            let mut words: Vec<&[u8]> = text.split(|b| *b == b' ').collect();
            words.pop(); // the last one is filled up with x
            assert!(words.len() >= 6 && words.iter().all(|w| (4..=12).contains(&w.len())));
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_other_ones() {
        let file = |seed| Generator::new(seed).file(100);
        assert_eq!(file(1), file(1));
        assert_ne!(file(1), file(2));
        let mut generator = Generator::new(1);
        assert_eq!(generator.file(100), file(1));
        assert_ne!(generator.file(100), file(1), "the second file goes on where the first ended");
    }

    #[test]
    fn words_follow_zipfs_law() {
        let generator = &mut Generator::new(SEED);
        let file = generator.file(20_000);
        let mut counts: BTreeMap<&[u8], f64> = BTreeMap::new();
        let words: Vec<&[u8]> = file.split(|b| matches!(b, b' ' | b'\n')).filter(|w| !w.is_empty()).collect();
        for word in &words {
            *counts.entry(word).or_default() += 1.0;
        }
        let per_line = words.len() as f64 / 20_000.0;
        assert!((10.0..12.0).contains(&per_line), "{per_line} words a line");
        // The first word is drawn with probability 1/H(50000) = 1/11.397 = 0.0877, the tenth with a tenth of that; what does not fit and
        // what is filled up moves the share of a word by its length.
        let share = |rank: usize| {
            counts.get(generator.words[rank].as_slice()).copied().unwrap_or_default() / words.len() as f64
        };
        assert!((0.070..0.105).contains(&share(0)), "{}", share(0));
        assert!((0.006..0.0125).contains(&share(9)), "{}", share(9));
    }
}
