//! `tidemill-chaos scale`: a driver's cost by the number of its executors; as JSON lines, as a table, or as the page docs/SCALE.md
//! with its plot.

use crate::plot::plot;
use clap::Args;
use std::{fmt::Write, fs};
use tidemill::bench::machine;
use tidemill_chaos::scale::{INTERVAL, REDUCERS, Row, ScaleError, Shuffle, measure};

const PAGE: &str = "docs/SCALE.md";
const PLOT: &str = "docs/scale.svg";

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  tidemill-chaos scale --executors 10,30 --batches 5 --json")]
pub struct ScaleArgs {
    /// How many executors, one cluster after the other
    #[arg(long, value_delimiter = ',', default_values_t = [10, 30, 100, 300], value_parser = clap::value_parser!(u16).range(1..=512))]
    executors: Vec<u16>,
    /// Batches that count
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    batches: u64,
    /// Let executors shuffle over the simulated network, in the driver's thread: it is slower for the caches that they share
    #[arg(long, conflicts_with = "markdown")]
    crowded: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Write the page docs/SCALE.md and its plot, from the root of the repository
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

/// Runs; false if something went wrong.
pub fn run(args: &ScaleArgs) -> bool {
    let rows = match args.crowded {
        true => measured(args, Shuffle::Network),
        false => measured(args, Shuffle::Hands),
    };
    let written = rows.and_then(|rows| match args.markdown {
        true => write_page(args, &rows),
        false if args.json => Ok(()),
        false => {
            print!("{}", table(&rows));
            Ok(())
        }
    });
    written.map_err(|error| eprintln!("tidemill-chaos: {error}")).is_ok()
}

fn write_page(args: &ScaleArgs, rows: &[Row]) -> Result<(), String> {
    let crowded = measured(args, Shuffle::Network)?;
    let written = fs::write(PAGE, page(rows, &crowded)).and_then(|()| fs::write(PLOT, plot(rows, &crowded)));
    written.map_err(|error| format!("cannot write {PAGE}: {error}; run it in the root of the repository"))
}

fn measured(args: &ScaleArgs, shuffle: Shuffle) -> Result<Vec<Row>, String> {
    let batches = usize::try_from(args.batches).unwrap_or(usize::MAX);
    let rows = args.executors.iter().map(|executors| {
        let row = measure(*executors, batches, shuffle)
            .map_err(|error: ScaleError| format!("{executors} executors: {error}"))?;
        if args.json {
            println!("{}", row.json());
        }
        Ok(row)
    });
    rows.collect()
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| executors | tasks | driver's CPU ms | CPU µs per executor | messages | KB in messages | datagrams | KB in datagrams |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {} | {:.2} | {:.1} | {:.0} | {:.1} | {:.0} | {:.1} |",
            row.executors,
            row.tasks,
            row.cpu_ms,
            row.cpu_us_per_executor(),
            row.messages,
            row.message_bytes / 1e3,
            row.datagrams,
            row.datagram_bytes / 1e3
        );
    }
    text
}

fn page(rows: &[Row], crowded: &[Row]) -> String {
    let batches = rows.first().map_or(0, |row| row.batches);
    let build = match cfg!(debug_assertions) {
        true => "; built with debug assertions and little optimization, so processor times are too high",
        false => "",
    };
    format!(
        "# What a driver costs\n\nWritten by `tidemill-chaos scale --markdown`; do not edit. Measured on: {}{build}.\n\n\
         Simulated executors of one slot each, with the real cores, the real messages and the real QUIC, on a simulated network\n\
         under virtual time. A batch has as many map tasks as executors, and {REDUCERS} reduce tasks; its interval is {} ms of virtual\n\
         time. All figures are for one batch, over {batches} batches: the median of the driver's processor time, and the mean of what\n\
         went over its control links and through its sockets, both directions, with pings and acknowledgements. The\n\
         processor time is the machine's: that of the driver's actors, its endpoints (with TLS) and its sinks; a real network would\n\
         add its system calls, which the simulated one stands in for.\n\n\
         A driver has a machine of its own, and here it shares a thread, and a processor's caches, with all executors. So these\n\
         take each other's outputs from hand to hand; what they and the driver tell each other stays the same.\n\n{}\n\
         Where they shuffle over the simulated network as well, the same driver takes longer, for its memory is evicted between any\n\
         two of its messages:\n\n{}\n![driver's CPU, messages and bytes by executors](scale.svg)\n",
        machine::describe(),
        INTERVAL.as_millis(),
        table(rows),
        table(crowded)
    )
}
