//! From a schedule that goes wrong to the smallest part of it that still does.

use crate::{faults::Scheduled, scenario::Scenario};

/// What is left of a schedule, and how many runs it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Shrunk {
    /// No fault can be left out, nor any two of them together.
    pub faults: Vec<Scheduled>,
    /// Runs.
    pub runs: u64,
}

/// Leaves out faults one by one, and then two by two, as long as what remains `fails`; the last ones first, for what comes later
/// depends on what came before. Of the `n` that are left `n (n - 1) / 2` pairs are tried: two may be needed only together, where the
/// one heals what the other does. None if the whole does not fail.
pub fn shrink(faults: &[Scheduled], mut fails: impl FnMut(&[Scheduled]) -> bool) -> Option<Shrunk> {
    let mut runs = 0;
    let mut fails = |faults: &[Scheduled]| {
        runs += 1;
        fails(faults)
    };
    if !fails(faults) {
        return None;
    }
    let mut faults = faults.to_vec();
    loop {
        let before = faults.len();
        for place in (0..before).rev() {
            let fewer = without(&faults, &[place]);
            if fails(&fewer) {
                faults = fewer;
            }
        }
        if faults.len() < before {
            continue;
        }
        let pairs = (0..before).rev().flat_map(|later| (0..later).rev().map(move |earlier| [earlier, later]));
        let fewer = pairs.map(|pair| without(&faults, &pair)).find(|fewer| fails(fewer));
        match fewer {
            Some(fewer) => faults = fewer,
            None => return Some(Shrunk { faults, runs }),
        }
    }
}

/// All but those at these places.
fn without(faults: &[Scheduled], places: &[usize]) -> Vec<Scheduled> {
    let kept = faults.iter().enumerate().filter(|(place, _)| !places.contains(place));
    kept.map(|(_, fault)| *fault).collect()
}

impl Scenario {
    /// A part of this scenario's schedule that still goes wrong in the same way; none if it does not go wrong.
    pub fn shrink(&self) -> Option<Shrunk> {
        let verdict = |faults: &[Scheduled]| {
            let scenario = Scenario { faults: faults.to_vec(), ..self.clone() };
            scenario.run().map_or("none", |report| report.verdict())
        };
        let wrong = verdict(&self.faults);
        if wrong == "equal" {
            return None;
        }
        shrink(&self.faults, |faults| verdict(faults) == wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fault, schedule};

    #[test]
    fn what_is_not_needed_is_left_out_and_what_is_needed_together_stays() {
        let all = schedule::random(3, schedule::FEED_OF_RANDOM, true);
        let (one, other) = (all[2], all[7]);
        let shrunk =
            shrink(&all, |faults| faults.contains(&one) && faults.contains(&other)).expect("it fails");
        assert_eq!(shrunk.faults, [one, other]);
        assert!(shrunk.runs <= 2 * all.len() as u64 + 3, "{} runs", shrunk.runs);
        assert_eq!(
            shrink(&all, |faults| faults.iter().any(|s| s.fault == Fault::Panics { tasks: 99 })),
            None
        );
    }

    #[test]
    fn two_that_go_together_only_are_left_out_together() {
        let all = schedule::random(3, schedule::FEED_OF_RANDOM, true);
        let (needed, one, other) = (all[4], all[2], all[7]);
        let fails = |faults: &[Scheduled]| {
            faults.contains(&needed) && faults.contains(&one) == faults.contains(&other)
        };
        assert_eq!(shrink(&all, fails).expect("it fails").faults, [needed]);
    }
}
