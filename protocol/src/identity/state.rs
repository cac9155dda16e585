//! What an authority remembers, as text: one line each for the next node number and every token.
//!
//! ```text
//!   tidemill-authority 1
//!   next-node 5
//!   token <SHA-256 of the secret> <good until, s since the epoch> <executor numbers> open|used
//! ```

use super::{equal_in_constant_time, hex, unhex};
use crate::id::NodeId;
use std::{fmt::Write, ops::Range, time::Duration};

const HEADLINE: &str = "tidemill-authority 1";

/// The most tokens that are remembered; a day after their end they are forgotten.
const TOKENS_MAX: usize = 1_024;
const REMEMBERED: Duration = Duration::from_secs(24 * 3_600);

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Issued {
    pub(super) hash: [u8; 32],
    pub(super) until_s: u64,
    pub(super) nodes: u16,
    pub(super) used: bool,
}

/// The memory of an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    next_node: u32,
    tokens: Vec<Issued>,
}

/// Why a token gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// Of another cluster, forgotten, or invented.
    #[error("the join token is unknown here: make one with `tidemill ca token`")]
    Unknown,
    /// Too late.
    #[error("the join token has expired: make another one with `tidemill ca token`")]
    Expired,
    /// Somebody has joined with it, or has tried to.
    #[error("the join token has been used: make another one with `tidemill ca token`")]
    Used,
    /// More executors than it was made for.
    #[error("the join token is for at most {0} executors")]
    TooMany(u16),
    /// Node numbers are used up.
    #[error("all 65535 node numbers are given away")]
    NoNumbers,
}

impl State {
    pub(super) fn new() -> Self {
        State { next_node: 1, tokens: Vec::new() }
    }

    /// Remembers a token; false if there are too many.
    pub(super) fn add(&mut self, token: Issued, now: Duration) -> bool {
        self.tokens.retain(|old| Duration::from_secs(old.until_s) + REMEMBERED > now);
        let room = self.tokens.len() < TOKENS_MAX;
        if room {
            self.tokens.push(token);
        }
        room
    }

    /// Uses up the token of this hash and gives node numbers; `wanted` or as many as the token is for.
    pub(super) fn redeem(
        &mut self,
        hash: &[u8; 32],
        wanted: Option<u16>,
        now: Duration,
    ) -> Result<Vec<NodeId>, TokenRefused> {
        // All are compared, whichever is right.
        let right = self.tokens.iter_mut().fold(None, |right, token| {
            if equal_in_constant_time(&token.hash, hash) { Some(token) } else { right }
        });
        let token = right.ok_or(TokenRefused::Unknown)?;
        if token.used {
            return Err(TokenRefused::Used);
        }
        if now.as_secs() >= token.until_s {
            return Err(TokenRefused::Expired);
        }
        let count = wanted.unwrap_or(token.nodes);
        if count == 0 || count > token.nodes {
            return Err(TokenRefused::TooMany(token.nodes));
        }
        let numbers = numbers(self.next_node, count).ok_or(TokenRefused::NoNumbers)?;
        token.used = true;
        self.next_node = numbers.end;
        Ok(nodes(numbers))
    }

    /// The next `count` node numbers; `None` if they are used up.
    pub(super) fn allot(&mut self, count: u16) -> Option<Vec<NodeId>> {
        let numbers = numbers(self.next_node, count)?;
        self.next_node = numbers.end;
        Some(nodes(numbers))
    }

    /// How many node numbers have been given: 1 to this one.
    pub(super) fn given(&self) -> u32 {
        self.next_node - 1
    }

    /// Whether it has given nothing yet, neither a number nor a token.
    pub(super) fn is_new(&self) -> bool {
        *self == State::new()
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = format!("{HEADLINE}\nnext-node {}\n", self.next_node);
        for Issued { hash, until_s, nodes, used } in &self.tokens {
            let state = if *used { "used" } else { "open" };
            writeln!(text, "token {} {until_s} {nodes} {state}", hex(hash)).expect("a String takes all");
        }
        text
    }

    /// Reads the text; the error is the first line that is wrong, from 1.
    pub(super) fn from_text(text: &str) -> Result<Self, usize> {
        let mut state = State::new();
        let mut lines = text.lines().zip(1usize..);
        if lines.next().map(|(line, _)| line) != Some(HEADLINE) {
            return Err(1);
        }
        for (line, number) in lines {
            state.read(line).ok_or(number)?;
        }
        Ok(state)
    }

    fn read(&mut self, line: &str) -> Option<()> {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["next-node", next] => self.next_node = next.parse().ok().filter(|next| *next > 0)?,
            ["token", hash, until_s, nodes, state @ ("open" | "used")] => self.tokens.push(Issued {
                hash: unhex(hash)?,
                until_s: until_s.parse().ok()?,
                nodes: nodes.parse().ok()?,
                used: state == "used",
            }),
            _ => return None,
        }
        Some(())
    }
}

fn numbers(next: u32, count: u16) -> Option<Range<u32>> {
    let end = next + u32::from(count);
    (end <= u32::from(u16::MAX) + 1).then_some(next..end)
}

fn nodes(numbers: Range<u32>) -> Vec<NodeId> {
    numbers.filter_map(|number| u16::try_from(number).ok()).map(NodeId).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000_000);

    fn issued(byte: u8, nodes: u16) -> Issued {
        Issued { hash: [byte; 32], until_s: 1_000_900, nodes, used: false }
    }

    #[test]
    fn a_token_gives_numbers_once_and_in_time() {
        let mut state = State::new();
        assert!(state.add(issued(1, 3), NOW) && state.add(issued(2, 2), NOW));
        let late = NOW + Duration::from_secs(900);
        assert_eq!(state.redeem(&[9; 32], None, NOW), Err(TokenRefused::Unknown));
        assert_eq!(state.redeem(&[1; 32], Some(4), NOW), Err(TokenRefused::TooMany(3)));
        assert_eq!(state.redeem(&[1; 32], Some(0), NOW), Err(TokenRefused::TooMany(3)));
        assert_eq!(state.redeem(&[1; 32], None, late), Err(TokenRefused::Expired));
        assert_eq!(state.redeem(&[1; 32], None, NOW), Ok([1, 2, 3].map(NodeId).to_vec()));
        assert_eq!(state.redeem(&[1; 32], None, NOW), Err(TokenRefused::Used));
        assert_eq!(state.redeem(&[2; 32], Some(1), NOW), Ok(vec![NodeId(4)]));
        assert_eq!(State::from_text(&state.to_text()), Ok(state));
    }

    #[test]
    fn node_numbers_end_at_65535() {
        let mut state = State { next_node: 65_535, tokens: vec![issued(1, 2)] };
        assert_eq!(state.redeem(&[1; 32], Some(2), NOW), Err(TokenRefused::NoNumbers));
        assert_eq!(state.redeem(&[1; 32], Some(1), NOW), Ok(vec![NodeId(65_535)]));
        assert_eq!(state.allot(1), None);
    }

    #[test]
    fn tokens_are_forgotten_a_day_after_their_end_and_there_are_1024_at_most() {
        let mut state = State::new();
        assert!((0..1_024).all(|_| state.add(issued(1, 1), NOW)));
        assert!(!state.add(issued(2, 1), NOW));
        assert!(state.add(issued(2, 1), NOW + Duration::from_secs(900 + 86_400)));
        assert_eq!(state.tokens.len(), 1);
    }

    #[test]
    fn a_damaged_text_is_refused_with_its_line() {
        assert_eq!(State::from_text(""), Err(1));
        assert_eq!(State::from_text("tidemill-authority 2\n"), Err(1));
        assert_eq!(State::from_text("tidemill-authority 1\nnext-node 0\n"), Err(2));
        assert_eq!(State::from_text("tidemill-authority 1\nnext-node 1\ntoken ab 1 1 open\n"), Err(3));
    }
}
