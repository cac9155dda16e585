//! Teaches: the shape of a program, batches from a queue, and a keyed count whose result comes to the driver.
//!
//! Run it: `cargo run -p tidemill-examples --bin word_count`

use std::process::ExitCode;
use tidemill::{prelude::*, sources::TextQueue};

fn main() -> ExitCode {
    App::new("word_count")
        .pipeline(|ctx| {
            // Each list of blocks becomes one batch; the blocks are read by two tasks.
            let poem = TextQueue::new(2);
            poem.push(vec!["the tide comes in\n".into(), "the wheel turns\n".into()]);
            poem.push(vec!["the tide goes out\n".into()]);
            poem.close();

            ctx.text_blocks("poem", &poem)
                // A word is a slice of its line: it is counted without being copied.
                .flat_map_text(|line, out| line.split_whitespace().for_each(|word| out.push(word)))
                .count_by_value()
                // Runs once for each batch, in batch order, with the whole result.
                .foreach_batch(|mut counts, _time| {
                    counts.sort();
                    let shown: Vec<String> = counts.iter().map(|(word, n)| format!("{word} {n}")).collect();
                    println!("{}", shown.join(", "));
                    Ok(())
                });
            Ok(())
        })
        // The queue is closed, so the program ends by itself. `word_count graph` prints the graph instead.
        .main()
}
