//! The figures as they are told: one JSON object a line, and a markdown page ([`markdown`]).

mod page;

pub use page::markdown;

use super::{
    memory::Footprint,
    recovery::Found,
    shuffle::ShuffleRun,
    statistics::{median, percentile, slope},
};
use serde::Serialize;
use std::collections::BTreeSet;

/// One run of ours and one of the baseline, in turn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Run {
    /// Ours.
    pub records_per_s: f64,
    /// The baseline's.
    pub hand_loop_records_per_s: f64,
}

/// Ours against the hand-written loop, over one size of batches.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The benchmark's name.
    pub bench: String,
    /// Lines of a batch.
    pub batch_lines: u64,
    /// The median of ours.
    pub records_per_s: f64,
    /// The median of the baseline's.
    pub hand_loop_records_per_s: f64,
    /// The one divided by the other.
    pub ratio: f64,
    /// Every run.
    pub runs: Vec<Run>,
}

impl Comparison {
    /// Sums up `runs`; `None` of no runs.
    pub fn of(bench: &str, batch_lines: u64, runs: Vec<Run>) -> Option<Self> {
        let ours: Vec<f64> = runs.iter().map(|run| run.records_per_s).collect();
        let theirs: Vec<f64> = runs.iter().map(|run| run.hand_loop_records_per_s).collect();
        let (records_per_s, hand_loop_records_per_s) = (median(&ours)?, median(&theirs)?);
        Some(Comparison {
            bench: bench.to_string(),
            batch_lines,
            records_per_s,
            hand_loop_records_per_s,
            ratio: records_per_s / hand_loop_records_per_s,
            runs,
        })
    }
}

/// Two percentiles of a delay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Delay {
    /// Half of the batches took no longer.
    pub p50_ms: f64,
    /// 99 of 100 batches took no longer.
    pub p99_ms: f64,
}

impl Delay {
    /// Sums up `delays_ms`; `None` of no delays.
    pub fn of(delays_ms: &[f64]) -> Option<Self> {
        Some(Delay { p50_ms: percentile(delays_ms, 50.0)?, p99_ms: percentile(delays_ms, 99.0)? })
    }
}

/// The delay of batches over several executors, and in how many of them one had nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Counted {
    /// The delay of all batches.
    #[serde(flatten)]
    pub delay: Delay,
    /// Batches in which an executor had no task; their delays count like any other's.
    pub without_task: u64,
}

/// One run of `empty_batch` in one process, and one over three.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EmptyBatchRun {
    /// In one process.
    pub local: Delay,
    /// Over three processes.
    pub quic: Counted,
}

/// From the cut to the sink's call, for batches of nearly nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EmptyBatch {
    /// Always `empty_batch`.
    pub bench: String,
    /// In one process: medians of the runs' percentiles.
    pub local: Delay,
    /// Over three processes: medians of the runs' percentiles, and the sum of their batches in which an executor had no task.
    pub quic: Counted,
    /// Every run.
    pub runs: Vec<EmptyBatchRun>,
}

impl EmptyBatch {
    /// Sums up `runs`; `None` of no runs.
    pub fn of(runs: Vec<EmptyBatchRun>) -> Option<Self> {
        let local = middle(runs.iter().map(|run| run.local))?;
        let delay = middle(runs.iter().map(|run| run.quic.delay))?;
        let without_task = runs.iter().map(|run| run.quic.without_task).sum();
        let quic = Counted { delay, without_task };
        Some(EmptyBatch { bench: "empty_batch".into(), local, quic, runs })
    }
}

/// The median of each percentile; `None` of no runs.
fn middle(runs: impl Iterator<Item = Delay> + Clone) -> Option<Delay> {
    let of = |pick: fn(Delay) -> f64| median(&runs.clone().map(pick).collect::<Vec<_>>());
    Some(Delay { p50_ms: of(|run| run.p50_ms)?, p99_ms: of(|run| run.p99_ms)? })
}

/// The delay within a part of a steady run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Span {
    /// When the part began, in seconds since the run's start.
    pub from_s: u64,
    /// Its delays.
    #[serde(flatten)]
    pub delay: Delay,
}

/// One run under a steady load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SteadyRun {
    /// Records that were processed.
    pub records: u64,
    /// Each part of ten seconds.
    pub spans: Vec<Span>,
    /// How fast the total delay grows.
    pub slope_ms_per_s: f64,
}

impl SteadyRun {
    /// Sums up batches as (seconds since the start, total delay in ms), cut into parts of ten seconds; `None` of fewer than two batches.
    pub fn of(records: u64, batches: &[(f64, f64)]) -> Option<Self> {
        const SPAN_S: u64 = 10;
        let last = batches.iter().map(|batch| batch.0 as u64 / SPAN_S).max()?;
        let span = |index: u64| {
            let within = batches.iter().filter(|batch| batch.0 as u64 / SPAN_S == index);
            let delays: Vec<f64> = within.map(|batch| batch.1).collect();
            Delay::of(&delays).map(|delay| Span { from_s: index * SPAN_S, delay })
        };
        let spans = (0..=last).filter_map(span).collect();
        Some(SteadyRun { records, spans, slope_ms_per_s: slope(batches)? })
    }
}

/// By how much the delay may rise within a run and count as steady: a tenth of the interval of its batches. A pipeline that is too slow for
/// its load falls behind by far more: by 60 ms a minute if each batch takes a thousandth longer than the interval.
const RISE_MS_MAX: f64 = 1.0;

/// A steady load: does the delay grow?
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Steady {
    /// Always `steady`.
    pub bench: String,
    /// The load offered.
    pub rate_records_per_s: f64,
    /// For how long, in each run.
    pub seconds: u64,
    /// Each part of ten seconds: medians of the runs that reached it.
    pub spans: Vec<Span>,
    /// The median of how fast the total delay grows.
    pub slope_ms_per_s: f64,
    /// Whether the delay grows: in the median run, by more than a tenth of the batch interval (1 ms) from its start to its end.
    pub growing: bool,
    /// Every run.
    pub runs: Vec<SteadyRun>,
}

impl Steady {
    /// Sums up `runs` of so many seconds; `None` of no runs.
    pub fn of(rate_records_per_s: f64, seconds: u64, runs: Vec<SteadyRun>) -> Option<Self> {
        let slopes: Vec<f64> = runs.iter().map(|run| run.slope_ms_per_s).collect();
        let slope_ms_per_s = median(&slopes)?;
        let all = || runs.iter().flat_map(|run| &run.spans);
        let starts: BTreeSet<u64> = all().map(|span| span.from_s).collect();
        let span = |from_s| {
            let delay = middle(all().filter(|span| span.from_s == from_s).map(|span| span.delay))?;
            Some(Span { from_s, delay })
        };
        Some(Steady {
            bench: "steady".into(),
            rate_records_per_s,
            seconds,
            spans: starts.into_iter().filter_map(span).collect(),
            slope_ms_per_s,
            growing: slope_ms_per_s * seconds as f64 > RISE_MS_MAX,
            runs,
        })
    }
}

/// The most memory that the demo's processes held together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DemoRss {
    /// Always `demo_rss`.
    pub bench: String,
    /// The median of the runs' peaks, in millions of bytes.
    pub peak_mb: f64,
    /// The processes that were counted at once, in the run with the fewest.
    pub processes: u64,
    /// The peak of every run.
    pub runs: Vec<f64>,
}

impl DemoRss {
    /// Sums up `runs`; `None` of no runs.
    pub fn of(runs: &[Footprint]) -> Option<Self> {
        let peaks: Vec<f64> = runs.iter().map(|run| run.bytes as f64 / 1e6).collect();
        let processes = runs.iter().map(|run| run.processes).min()?;
        Some(DemoRss { bench: "demo_rss".into(), peak_mb: median(&peaks)?, processes, runs: peaks })
    }
}

/// Outputs fetched from another process, beside a bare stream of quinn.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shuffle {
    /// Always `shuffle`.
    pub bench: String,
    /// The median of ours.
    pub mb_per_s: f64,
    /// The median of the bare stream's.
    pub bare_quinn_mb_per_s: f64,
    /// The one divided by the other.
    pub ratio: f64,
    /// Every run.
    pub runs: Vec<ShuffleRun>,
}

impl Shuffle {
    /// Sums up `runs`; `None` of no runs.
    pub fn of(runs: Vec<ShuffleRun>) -> Option<Self> {
        let of = |pick: fn(&ShuffleRun) -> f64| median(&runs.iter().map(pick).collect::<Vec<_>>());
        let (mb_per_s, bare_quinn_mb_per_s) = (of(|run| run.mb_per_s)?, of(|run| run.bare_quinn_mb_per_s)?);
        let ratio = mb_per_s / bare_quinn_mb_per_s;
        Some(Shuffle { bench: "shuffle".into(), mb_per_s, bare_quinn_mb_per_s, ratio, runs })
    }
}

/// From `kill -9` of an executor to the next batch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recovery {
    /// Always `recovery`.
    pub bench: String,
    /// How many executors were killed.
    pub kills: u64,
    /// Half of the times took no longer.
    pub next_batch_p50_ms: f64,
    /// 99 of 100 took no longer.
    pub next_batch_p99_ms: f64,
    /// Tasks that had to run again.
    pub tasks_lost: u64,
    /// Blocks that went with an executor.
    pub blocks_lost: u64,
    /// What the cluster took of the machine's processor time.
    pub load_percent: f64,
}

impl Recovery {
    /// Sums up what was found; `None` of no kills.
    pub fn of(found: &Found) -> Option<Self> {
        Some(Recovery {
            bench: "recovery".into(),
            kills: found.next_batch_ms.len() as u64,
            next_batch_p50_ms: percentile(&found.next_batch_ms, 50.0)?,
            next_batch_p99_ms: percentile(&found.next_batch_ms, 99.0)?,
            tasks_lost: found.tasks_lost,
            blocks_lost: found.blocks_lost,
            load_percent: found.load_percent,
        })
    }
}

/// A benchmark's result.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Report {
    /// Ours against the baseline.
    Comparison(Comparison),
    /// The engine's own delay.
    EmptyBatch(EmptyBatch),
    /// A steady load.
    Steady(Steady),
    /// Memory.
    DemoRss(DemoRss),
    /// The way between processes.
    Shuffle(Shuffle),
    /// After a kill.
    Recovery(Recovery),
}

impl Report {
    /// One JSON object, on one line.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("reports hold only names and numbers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison() -> Report {
        let run = |ours, theirs| Run { records_per_s: ours, hand_loop_records_per_s: theirs };
        let runs = vec![run(3e6, 4e6), run(2e6, 8e6), run(9e6, 1e6)];
        Report::Comparison(Comparison::of("word_count", 10_000, runs).expect("there are runs"))
    }

    fn memory() -> Report {
        let run = |bytes| Footprint { processes: 4, bytes };
        let runs = [run(123_400_000), run(100_000_000), run(150_000_000)];
        Report::DemoRss(DemoRss::of(&runs).expect("there are runs"))
    }

    #[test]
    fn the_json_has_the_agreed_shape() {
        assert_eq!(
            comparison().json(),
            "{\"bench\":\"word_count\",\"batch_lines\":10000,\"records_per_s\":3000000.0,\"hand_loop_records_per_s\":4000000.0,\"ratio\":0.75,\
             \"runs\":[{\"records_per_s\":3000000.0,\"hand_loop_records_per_s\":4000000.0},\
             {\"records_per_s\":2000000.0,\"hand_loop_records_per_s\":8000000.0},\
             {\"records_per_s\":9000000.0,\"hand_loop_records_per_s\":1000000.0}]}"
        );
        let delay = |p50_ms, p99_ms| Delay { p50_ms, p99_ms };
        let quic = Counted { delay: delay(1.5, 8.0), without_task: 3 };
        let run = EmptyBatchRun { local: delay(0.5, 2.0), quic };
        assert_eq!(
            Report::EmptyBatch(EmptyBatch::of(vec![run]).expect("there is a run")).json(),
            "{\"bench\":\"empty_batch\",\"local\":{\"p50_ms\":0.5,\"p99_ms\":2.0},\
             \"quic\":{\"p50_ms\":1.5,\"p99_ms\":8.0,\"without_task\":3},\
             \"runs\":[{\"local\":{\"p50_ms\":0.5,\"p99_ms\":2.0},\
             \"quic\":{\"p50_ms\":1.5,\"p99_ms\":8.0,\"without_task\":3}}]}"
        );
        assert_eq!(
            memory().json(),
            "{\"bench\":\"demo_rss\",\"peak_mb\":123.4,\"processes\":4,\"runs\":[123.4,100.0,150.0]}"
        );
        assert_eq!((EmptyBatch::of(Vec::new()), DemoRss::of(&[])), (None, None));
    }

    #[test]
    fn a_shuffle_is_told_with_its_ratio() {
        let run = |mb_per_s, bare_quinn_mb_per_s| ShuffleRun { mb_per_s, bare_quinn_mb_per_s };
        let shuffle = Shuffle::of(vec![run(300.0, 400.0), run(100.0, 900.0), run(800.0, 200.0)]);
        assert_eq!(
            Report::Shuffle(shuffle.expect("there are runs")).json(),
            "{\"bench\":\"shuffle\",\"mb_per_s\":300.0,\"bare_quinn_mb_per_s\":400.0,\"ratio\":0.75,\
             \"runs\":[{\"mb_per_s\":300.0,\"bare_quinn_mb_per_s\":400.0},\
             {\"mb_per_s\":100.0,\"bare_quinn_mb_per_s\":900.0},\
             {\"mb_per_s\":800.0,\"bare_quinn_mb_per_s\":200.0}]}"
        );
        assert_eq!(Shuffle::of(Vec::new()), None);
    }

    #[test]
    fn a_recovery_is_told_with_what_was_lost() {
        let found = Found {
            next_batch_ms: vec![300.0, 900.0, 400.0],
            tasks_lost: 3,
            blocks_lost: 5,
            load_percent: 9.5,
        };
        let report = Report::Recovery(Recovery::of(&found).expect("there are kills"));
        assert_eq!(
            report.json(),
            "{\"bench\":\"recovery\",\"kills\":3,\"next_batch_p50_ms\":400.0,\"next_batch_p99_ms\":900.0,\
             \"tasks_lost\":3,\"blocks_lost\":5,\"load_percent\":9.5}"
        );
        let page = markdown("a machine", &[report]);
        assert!(page.contains("| recovery | 3 | 400 | 900 | 3 | 5 | 10 |"), "{page}");
        assert_eq!(Recovery::of(&Found::default()), None);
    }

    #[test]
    fn a_steady_run_is_cut_into_parts_of_ten_seconds() {
        let batches = [(0.0, 1.0), (9.9, 3.0), (10.0, 5.0), (25.0, 7.0)];
        let run = SteadyRun::of(12, &batches).expect("there are batches");
        let parts: Vec<(u64, f64, f64)> =
            run.spans.iter().map(|s| (s.from_s, s.delay.p50_ms, s.delay.p99_ms)).collect();
        assert_eq!(parts, [(0, 1.0, 3.0), (10, 5.0, 5.0), (20, 7.0, 7.0)]);
        assert!(run.slope_ms_per_s > 0.0);
        assert_eq!(SteadyRun::of(0, &[]), None);
    }

    #[test]
    fn a_steady_load_is_told_by_the_medians_of_its_runs() {
        let span = |from_s, p50_ms, p99_ms| Span { from_s, delay: Delay { p50_ms, p99_ms } };
        let run =
            |slope_ms_per_s, spans: &[Span]| SteadyRun { records: 7, spans: spans.into(), slope_ms_per_s };
        let runs = vec![
            run(0.5, &[span(0, 9.0, 10.0)]),
            run(-0.25, &[span(0, 2.0, 30.0), span(10, 4.0, 6.0)]),
            run(0.0, &[span(0, 3.0, 20.0)]),
        ];
        let steady = Report::Steady(Steady::of(1_000.0, 20, runs).expect("there are runs"));
        let json = steady.json();
        let summed = "{\"bench\":\"steady\",\"rate_records_per_s\":1000.0,\"seconds\":20,\
             \"spans\":[{\"from_s\":0,\"p50_ms\":3.0,\"p99_ms\":20.0},{\"from_s\":10,\"p50_ms\":4.0,\"p99_ms\":6.0}],\
             \"slope_ms_per_s\":0.0,\"growing\":false,\"runs\":[{\"records\":7,\"spans\":[";
        assert!(json.starts_with(summed), "{json}");
        let page = markdown("a machine", &[steady]);
        assert!(page.contains("| 0.00 | 10 | 4.00 | 6.00 | 0.000 | no | 3 |"), "{page}");
        assert_eq!(Steady::of(1.0, 60, Vec::new()), None);
    }

    #[test]
    fn the_delay_grows_if_it_rises_by_more_than_a_tenth_of_the_interval_in_the_median_run() {
        let run = |slope_ms_per_s| SteadyRun { records: 0, spans: Vec::new(), slope_ms_per_s };
        // Slopes in ms/s, over 50 s, in which a rise of 1 ms is a slope of 0.02.
        let table = [
            (&[0.02][..], false),
            (&[0.021], true),
            (&[-5.0], false),
            (&[9.0, 0.0, 0.0], false),
            (&[9.0, 9.0, 0.0], true),
        ];
        for (slopes, growing) in table {
            let steady = Steady::of(1.0, 50, slopes.iter().copied().map(run).collect());
            assert_eq!(steady.map(|steady| steady.growing), Some(growing), "{slopes:?}");
        }
    }

    #[test]
    fn the_page_has_a_table_for_each_kind_that_was_measured() {
        let page = markdown("a machine", &[comparison(), memory()]);
        assert!(page.contains("| word_count | 10000 | 3.00 | 4.00 | 0.75 | 3 |"), "{page}");
        assert!(page.contains("|---|---|---|---|---|---|\n"), "{page}");
        assert!(page.contains("| demo_rss | 4 | 123 | 3 |"), "{page}");
        assert!(!page.contains("steady load"), "{page}");
    }
}
