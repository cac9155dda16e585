//! The figures as they are told: one JSON object a line, and a markdown page.

use super::{
    recovery::Found,
    shuffle::ShuffleRun,
    statistics::{median, percentile, slope},
};
use serde::Serialize;
use std::fmt::Write;

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

/// The delay of batches of which every executor ran a task.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Counted {
    /// Their delay.
    #[serde(flatten)]
    pub delay: Delay,
    /// Batches that do not count, for an executor had nothing to do in them.
    pub left_out: u64,
}

/// From the cut to the sink's call, for batches of nearly nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EmptyBatch {
    /// Always `empty_batch`.
    pub bench: String,
    /// In one process.
    pub local: Delay,
    /// Over three processes.
    pub quic: Counted,
}

impl EmptyBatch {
    /// The figures in one process and over three.
    pub fn of(local: Delay, quic: Counted) -> Self {
        EmptyBatch { bench: "empty_batch".into(), local, quic }
    }
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

/// A steady load: does the delay grow?
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Steady {
    /// Always `steady`.
    pub bench: String,
    /// The load offered.
    pub rate_records_per_s: f64,
    /// Records that were processed.
    pub records: u64,
    /// Each part of ten seconds.
    pub spans: Vec<Span>,
    /// How fast the total delay grows.
    pub slope_ms_per_s: f64,
}

impl Steady {
    /// Sums up batches as (seconds since the start, total delay in ms), cut into parts of ten seconds; `None` of fewer than two batches.
    pub fn of(rate_records_per_s: f64, records: u64, batches: &[(f64, f64)]) -> Option<Self> {
        const SPAN_S: u64 = 10;
        let last = batches.iter().map(|batch| batch.0 as u64 / SPAN_S).max()?;
        let span = |index: u64| {
            let within = batches.iter().filter(|batch| batch.0 as u64 / SPAN_S == index);
            let delays: Vec<f64> = within.map(|batch| batch.1).collect();
            Delay::of(&delays).map(|delay| Span { from_s: index * SPAN_S, delay })
        };
        Some(Steady {
            bench: "steady".into(),
            rate_records_per_s,
            records,
            spans: (0..=last).filter_map(span).collect(),
            slope_ms_per_s: slope(batches)?,
        })
    }
}

/// The most memory that the demo held.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DemoRss {
    /// Always `demo_rss`.
    pub bench: String,
    /// The peak of its resident set, in millions of bytes.
    pub peak_mb: f64,
}

impl DemoRss {
    /// The figure of a demo whose resident set reached `bytes`.
    pub fn of(bytes: u64) -> Self {
        DemoRss { bench: "demo_rss".into(), peak_mb: bytes as f64 / 1e6 }
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

/// The page docs/BENCHMARKS.md: `machine` says what it was measured on.
pub fn markdown(machine: &str, reports: &[Report]) -> String {
    let mut page = format!(
        "# Benchmarks\n\nWritten by `tidemill bench all --markdown`; do not edit. Measured on: {machine}. Medians; ours and the baseline in turn.\n\
         What is measured, and how, is described in `runtime/src/bench/`.\n"
    );
    section(
        &mut page,
        "Against a hand-written loop",
        "| bench | lines a batch | M records/s | hand loop | ratio | runs |",
        reports,
        |report| {
            let Report::Comparison(c) = report else {
                return Vec::new();
            };
            let (ours, theirs) = (c.records_per_s / 1e6, c.hand_loop_records_per_s / 1e6);
            vec![format!(
                "| {} | {} | {ours:.2} | {theirs:.2} | {:.2} | {} |",
                c.bench,
                c.batch_lines,
                c.ratio,
                c.runs.len()
            )]
        },
    );
    let head = "| bench | where | p50 ms | p99 ms | left out: an executor had no task |";
    section(&mut page, "The engine's own delay", head, reports, |report| {
        let Report::EmptyBatch(e) = report else {
            return Vec::new();
        };
        let row = |(place, delay, left_out): (&str, Delay, u64)| {
            format!("| {} | {place} | {:.2} | {:.2} | {left_out} |", e.bench, delay.p50_ms, delay.p99_ms)
        };
        [("one process", e.local, 0), ("three processes, QUIC", e.quic.delay, e.quic.left_out)]
            .map(row)
            .into()
    });
    section(
        &mut page,
        "A steady load",
        "| M records/s | from s | p50 ms | p99 ms | slope ms/s |",
        reports,
        |report| {
            let Report::Steady(s) = report else {
                return Vec::new();
            };
            let rate = s.rate_records_per_s / 1e6;
            let row = |part: &Span| {
                let Delay { p50_ms, p99_ms } = part.delay;
                format!(
                    "| {rate:.2} | {} | {p50_ms:.2} | {p99_ms:.2} | {:.3} |",
                    part.from_s, s.slope_ms_per_s
                )
            };
            s.spans.iter().map(row).collect()
        },
    );
    between_processes(&mut page, reports);
    section(&mut page, "Memory", "| bench | peak MB |", reports, |report| {
        let Report::DemoRss(d) = report else {
            return Vec::new();
        };
        vec![format!("| {} | {:.0} |", d.bench, d.peak_mb)]
    });
    page
}

fn between_processes(page: &mut String, reports: &[Report]) {
    section(
        page,
        "Between two processes",
        "| bench | MB/s | bare quinn | ratio | runs |",
        reports,
        |report| {
            let Report::Shuffle(s) = report else {
                return Vec::new();
            };
            let (ours, bare) = (s.mb_per_s, s.bare_quinn_mb_per_s);
            vec![format!("| {} | {ours:.0} | {bare:.0} | {:.2} | {} |", s.bench, s.ratio, s.runs.len())]
        },
    );
    section(
        page,
        "From kill -9 of an executor to the next batch",
        "| bench | kills | p50 ms | p99 ms | tasks lost | blocks lost | load % |",
        reports,
        |report| {
            let Report::Recovery(r) = report else {
                return Vec::new();
            };
            let (p50_ms, p99_ms) = (r.next_batch_p50_ms, r.next_batch_p99_ms);
            vec![format!(
                "| {} | {} | {p50_ms:.0} | {p99_ms:.0} | {} | {} | {:.0} |",
                r.bench, r.kills, r.tasks_lost, r.blocks_lost, r.load_percent
            )]
        },
    );
}

/// Appends a table of the rows that `rows` gives, if there are any.
fn section(
    page: &mut String,
    title: &str,
    head: &str,
    reports: &[Report],
    rows: impl Fn(&Report) -> Vec<String>,
) {
    let rows: Vec<String> = reports.iter().flat_map(rows).collect();
    if rows.is_empty() {
        return;
    }
    let rule = "|---".repeat(head.matches('|').count() - 1);
    let _ = write!(page, "\n## {title}\n\n{head}\n{rule}|\n{}\n", rows.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison() -> Report {
        let run = |ours, theirs| Run { records_per_s: ours, hand_loop_records_per_s: theirs };
        let runs = vec![run(3e6, 4e6), run(2e6, 8e6), run(9e6, 1e6)];
        Report::Comparison(Comparison::of("word_count", 10_000, runs).expect("there are runs"))
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
        let quic = Counted { delay: delay(1.5, 8.0), left_out: 3 };
        assert_eq!(
            Report::EmptyBatch(EmptyBatch::of(delay(0.5, 2.0), quic)).json(),
            "{\"bench\":\"empty_batch\",\"local\":{\"p50_ms\":0.5,\"p99_ms\":2.0},\
             \"quic\":{\"p50_ms\":1.5,\"p99_ms\":8.0,\"left_out\":3}}"
        );
        assert_eq!(
            Report::DemoRss(DemoRss::of(123_400_000)).json(),
            "{\"bench\":\"demo_rss\",\"peak_mb\":123.4}"
        );
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
        let steady = Steady::of(500_000.0, 12, &batches).expect("there are batches");
        let parts: Vec<(u64, f64, f64)> =
            steady.spans.iter().map(|s| (s.from_s, s.delay.p50_ms, s.delay.p99_ms)).collect();
        assert_eq!(parts, [(0, 1.0, 3.0), (10, 5.0, 5.0), (20, 7.0, 7.0)]);
        assert!(steady.slope_ms_per_s > 0.0);
        assert_eq!(Steady::of(1.0, 0, &[]), None);
        let json = Report::Steady(steady).json();
        assert!(json.contains("{\"from_s\":10,\"p50_ms\":5.0,\"p99_ms\":5.0}"), "{json}");
    }

    #[test]
    fn the_page_has_a_table_for_each_kind_that_was_measured() {
        let page = markdown("a machine", &[comparison(), Report::DemoRss(DemoRss::of(150_000_000))]);
        assert!(page.contains("| word_count | 10000 | 3.00 | 4.00 | 0.75 | 3 |"), "{page}");
        assert!(page.contains("|---|---|---|---|---|---|\n"), "{page}");
        assert!(page.contains("| demo_rss | 150 |"), "{page}");
        assert!(!page.contains("steady load"), "{page}");
    }
}
