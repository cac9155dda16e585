//! `tidemill-chaos scale`: a driver's cost by the number of its executors; as JSON lines, as a table, or as the page docs/SCALE.md
//! with its plot.

use crate::plot::plot;
use clap::Args;
use std::{
    env,
    fmt::Write,
    fs,
    process::{Command, Stdio},
};
use tidemill::bench::machine;
use tidemill_chaos::scale::{INTERVAL, REDUCERS, Row, ScaleError, Shuffle, measure};

const PAGE: &str = "docs/SCALE.md";
const PLOT: &str = "docs/scale.svg";
/// One heap holds the driver and all executors, 100 MB for a hundred: in pages of 4 KB a processor knows the addresses of a tenth of it, and
/// asks the page tables for what of a driver by itself it would know. So memory comes in huge pages, where the system has them.
const HUGE_PAGES: [&str; 2] = ["GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"];

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  tidemill-chaos scale --executors 10,30 --batches 5 --runs 1 --json")]
pub struct ScaleArgs {
    /// How many executors, one cluster after the other
    #[arg(long, value_delimiter = ',', default_values_t = [10, 30, 100, 300], value_parser = clap::value_parser!(u16).range(1..=512))]
    executors: Vec<u16>,
    /// Batches that count
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    batches: u64,
    /// Runs of each, every one in a process of its own; their median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    runs: u16,
    /// Measure in this process: what `scale` asks of the processes that it starts
    #[arg(long, hide = true, requires = "json")]
    here: bool,
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
    let shuffle = match args.crowded {
        true => Shuffle::Network,
        false => Shuffle::Hands,
    };
    let written = measured(args, shuffle, args.runs).and_then(|rows| match args.markdown {
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
    let crowded = measured(args, Shuffle::Network, 1)?;
    let written = fs::write(PAGE, page(rows, &crowded)).and_then(|()| fs::write(PLOT, plot(rows, &crowded)));
    written.map_err(|error| format!("cannot write {PAGE}: {error}; run it in the root of the repository"))
}

fn measured(args: &ScaleArgs, shuffle: Shuffle, runs: u16) -> Result<Vec<Row>, String> {
    let rows = args.executors.iter().map(|executors| {
        let row = match args.here {
            true => here(*executors, args.batches, shuffle)?,
            false => {
                let rows = (0..runs).map(|_| in_a_process(*executors, args.batches, shuffle));
                Row::median(rows.collect::<Result<_, _>>()?).ok_or("no run")?
            }
        };
        if args.json {
            println!("{}", row.json());
        }
        Ok(row)
    });
    rows.collect()
}

fn here(executors: u16, batches: u64, shuffle: Shuffle) -> Result<Row, String> {
    let batches = usize::try_from(batches).unwrap_or(usize::MAX);
    measure(executors, batches, shuffle)
        .map_err(|error: ScaleError| format!("{executors} executors: {error}"))
}

/// A run that no other has left its memory to.
fn in_a_process(executors: u16, batches: u64, shuffle: Shuffle) -> Result<Row, String> {
    let program = env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let [name, value] = HUGE_PAGES;
    let mut command = Command::new(program);
    command.env(name, value).stdin(Stdio::null()).stderr(Stdio::inherit());
    command.args(["scale", "--here", "--json", "--executors", &executors.to_string()]);
    command.args(["--batches", &batches.to_string()]);
    if shuffle == Shuffle::Network {
        command.arg("--crowded");
    }
    let output = command.output().map_err(|error| format!("cannot start {command:?}: {error}"))?;
    let row = Row::from_json(&String::from_utf8_lossy(&output.stdout)).filter(|_| output.status.success());
    row.ok_or_else(|| format!("the run with {executors} executors ended with {}", output.status))
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
    let (batches, runs) = rows.first().map_or((0, 0), |row| (row.batches, row.cpu_ms_of_runs.len()));
    let build = match cfg!(debug_assertions) {
        true => "; built with debug assertions and little optimization, so processor times are too high",
        false => "",
    };
    format!(
        "# What a driver costs\n\nWritten by `tidemill-chaos scale --markdown`; do not edit. Measured on: {}{build}.\n\n\
         Simulated executors of one slot each, with the real cores, the real messages and the real QUIC, on a simulated network\n\
         under virtual time. A batch has as many map tasks as executors, and {REDUCERS} reduce tasks; its interval is {} ms of virtual\n\
         time. All figures are for one batch, over {batches} batches: the median of the driver's processor time (and of that the median of\n\
         {runs} runs, each in a process of its own), and the mean of what went over its control links and through its sockets, both\n\
         directions, with pings and acknowledgements. The processor time is the machine's: that of the driver's actors, its\n\
         endpoints (with TLS) and its sinks; a real network would add its system calls, which the simulated one stands in for.\n\n\
         A driver has a machine of its own, and here it shares a thread, a processor's caches and a heap with all executors. So these\n\
         take each other's outputs from hand to hand (what they and the driver tell each other stays the same), and memory\n\
         comes in huge pages, where the system has them.\n\n{}\n\
         Where they shuffle over the simulated network as well, the same driver takes longer, for its memory is evicted between any\n\
         two of its messages (one run):\n\n{}\n![driver's CPU, messages and bytes by executors](scale.svg)\n",
        machine::describe(),
        INTERVAL.as_millis(),
        table(rows),
        table(crowded)
    )
}
