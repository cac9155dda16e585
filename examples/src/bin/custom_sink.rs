//! Teaches: an output of one's own. Tasks prepare, the driver publishes each batch once it is decided, in order; a batch that is
//! published again after a failure changes nothing, because what is stored carries the batch's number.
//!
//! Run it: `cargo run -p tidemill-examples --bin custom_sink`

use std::{
    collections::BTreeMap,
    process::ExitCode,
    rc::Rc,
    sync::{Arc, Mutex},
};
use tidemill::{prelude::*, sinks::*, sources::Queue};

/// The roll of a till: one line for each batch. There could be a database behind it.
#[derive(Clone, Default)]
struct TillRoll(Arc<Mutex<BTreeMap<BatchNumber, u64>>>);

impl Sink<u64> for TillRoll {
    // Called in a task, once for each partition: here the driver gets all records.
    fn open(&self, _sink: SinkId, env: &Rc<TaskEnv>) -> Box<dyn Push<u64>> {
        gathered(env)
    }

    // Called on the driver. An error ends the pipeline at this batch, with its text.
    fn publish(&self, published: Published, _files: &Files) -> BoxFuture<'static, Result<(), PublishError>> {
        let roll = self.0.clone();
        Box::pin(async move {
            let cents = all_rows::<u64>(&published)?.iter().sum();
            let mut lines =
                roll.lock().map_err(|_| PublishError("a batch before this one panicked".into()))?;
            lines.insert(published.batch, cents);
            println!("{}: {cents} cents, {} in all", published.batch, lines.values().sum::<u64>());
            Ok(())
        })
    }
}

fn main() -> ExitCode {
    App::new("custom_sink")
        .pipeline(|ctx| {
            let sales = Queue::new(2);
            sales.push(vec![120, 45, 300]);
            sales.push(vec![80]);
            sales.close();
            let roll = SinkSpec::new("till roll", SinkKind::Driver, TillRoll::default());
            ctx.queue_stream("sales", &sales).register_sink(roll);
            Ok(())
        })
        .main()
}
