//! The page docs/BENCHMARKS.md: a table for each kind of figure.

use super::{Delay, Report, Span};
use std::fmt::Write;

/// The page docs/BENCHMARKS.md: `machine` says what it was measured on.
pub fn markdown(machine: &str, reports: &[Report]) -> String {
    let mut page = format!(
        "# Benchmarks\n\nWritten by `tidemill bench all --markdown`; do not edit. Measured on: {machine}.\n\
         Figures are medians of as many runs as their line says, ours and the baseline in turn; those of `recovery` are percentiles over all kills of one run.\n\
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
    let head = "| bench | where | p50 ms | p99 ms | batches in which an executor had no task | runs |";
    section(&mut page, "The engine's own delay", head, reports, |report| {
        let Report::EmptyBatch(e) = report else {
            return Vec::new();
        };
        let runs = e.runs.len();
        let row = |(place, delay, without_task): (&str, Delay, u64)| {
            let Delay { p50_ms, p99_ms } = delay;
            format!("| {} | {place} | {p50_ms:.2} | {p99_ms:.2} | {without_task} | {runs} |", e.bench)
        };
        [("one process", e.local, 0), ("three processes, QUIC", e.quic.delay, e.quic.without_task)]
            .map(row)
            .into()
    });
    section(
        &mut page,
        "A steady load",
        "| M records/s | from s | p50 ms | p99 ms | slope ms/s | growing | runs |",
        reports,
        |report| {
            let Report::Steady(s) = report else {
                return Vec::new();
            };
            let (rate, runs) = (s.rate_records_per_s / 1e6, s.runs.len());
            let growing = if s.growing { "yes" } else { "no" };
            let row = |part: &Span| {
                let Delay { p50_ms, p99_ms } = part.delay;
                format!(
                    "| {rate:.2} | {} | {p50_ms:.2} | {p99_ms:.2} | {:.3} | {growing} | {runs} |",
                    part.from_s, s.slope_ms_per_s
                )
            };
            s.spans.iter().map(row).collect()
        },
    );
    between_processes(&mut page, reports);
    let head = "| bench | processes | peak MB of all together | runs |";
    section(&mut page, "Memory", head, reports, |report| {
        let Report::DemoRss(d) = report else {
            return Vec::new();
        };
        vec![format!("| {} | {} | {:.0} | {} |", d.bench, d.processes, d.peak_mb, d.runs.len())]
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
