//! `tidemill-chaos recovery`: what the loss of an executor costs by the number of executors, in virtual time; as a table, as JSON lines,
//! or as the page docs/RECOVERY.md.

use clap::Args;
use std::{fmt::Write, fs};
use tidemill_chaos::recovery::{COST, REDUCERS, Row, TASKS, measure};

const PAGE: &str = "docs/RECOVERY.md";

#[derive(Args, Debug)]
#[command(after_help = "Example:\n  tidemill-chaos recovery --executors 2,12 --seeds 1 --json")]
pub struct RecoveryArgs {
    /// How many executors, one cluster after the other
    #[arg(long, value_delimiter = ',', default_values_t = [2, 3, 6, 12], value_parser = clap::value_parser!(u16).range(2..=48))]
    executors: Vec<u16>,
    /// Runs for each, of which the medians are taken
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    seeds: u64,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Write the page docs/RECOVERY.md, from the root of the repository
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

/// Runs; false if something went wrong.
pub fn run(args: &RecoveryArgs) -> bool {
    let mut rows = Vec::new();
    for executors in &args.executors {
        match measure(*executors, args.seeds) {
            Ok(row) => {
                if args.json {
                    println!("{}", row.json());
                }
                rows.push(row);
            }
            Err(error) => {
                eprintln!("tidemill-chaos: {error}");
                return false;
            }
        }
    }
    if args.markdown {
        if let Err(error) = fs::write(PAGE, page(&rows)) {
            eprintln!("tidemill-chaos: cannot write {PAGE}: {error}; run it in the root of the repository");
            return false;
        }
    } else if !args.json {
        print!("{LABEL}\n\n{}", table(&rows));
    }
    true
}

const LABEL: &str = "simulated: virtual time by a cost model";

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| executors | a batch without a loss, s | tasks lost | detection, s | recomputation, s | recovery (both), s |\n\
         |---|---|---|---|---|---|\n",
    );
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {:.2} | {} | {:.2} | {:.2} | {:.2} |",
            row.executors, row.healthy_s, row.tasks, row.detection_s, row.recomputation_s, row.recovery_s
        );
    }
    text
}

fn page(rows: &[Row]) -> String {
    let seeds = rows.first().map_or(0, |row| row.seeds);
    format!(
        "# What a loss costs, by the number of executors\n\n\
         **{label}.** Written by `tidemill-chaos recovery --markdown`; do not edit. No figure here says how fast a machine is; how long a\n\
         real `kill -9` costs is in [BENCHMARKS](BENCHMARKS.md).\n\n\
         The cores, the messages and QUIC are the real ones, on a simulated network. A task takes {cost} ms of virtual time, 10 % more or\n\
         less, drawn from the seed. A batch has {TASKS} map tasks and {REDUCERS} reduce tasks however many executors there are; each executor runs\n\
         one task at a time. An executor is killed at the moment when all map tasks have ended and no reduce task has read from it:\n\
         all that it made must be made again, and nothing else but the reduce tasks is left to do. Totals are compared with a plain count in\n\
         each run. Medians of {seeds} seeds.\n\n{table}\n\
         - **Detection** is from the kill to the moment when the driver declares the executor dead. It does not depend on the\n  \
         number of executors: the failure detector needs 1.6 to 1.9 s of silence. (Of a process that is killed while its agent lives\n  \
         the driver hears at once, from its successor; here the machine's power is cut.)\n\
         - **Recomputation** is from then to the end of the batch. Of `n` executors each holds an `n`-th of the work, and `n - 1`\n  \
         make it again at once, so it falls about as `1 / (n (n - 1))` until it reaches the length of a map task and a reduce task,\n  \
         which cannot be divided.\n\n\
         ## How to repeat it\n\n\
         ```sh\n\
         cargo run --release -p tidemill-chaos -- recovery                  # this table\n\
         cargo run --release -p tidemill-chaos -- recovery --seeds 20 --json\n\
         ```\n\n\
         The same seeds give the same figures on every machine. That recomputation and recovery fall from 2 to 3 to 6 to 12\n\
         executors is a test: `the_time_to_recover_falls_with_the_number_of_executors` in `chaos-tests/tests/recovery.rs`.\n",
        label = "Simulated: virtual time by a cost model",
        cost = COST.as_millis(),
        table = table(rows),
    )
}
