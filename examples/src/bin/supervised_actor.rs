//! Teaches: an actor of one's own in the supervision tree, asked from tasks with a deadline, and what its panic does: the
//! one who asked gets an error, everybody else a fresh actor.
//!
//! Run it: `cargo run -p tidemill-examples --bin supervised_actor`

use std::{process::ExitCode, time::Duration};
use tidemill::{
    actor::{Actor, ChildSpec, Context, Handler, Mailbox, Message},
    prelude::*,
    sources::Queue,
};

/// What does a kilogram of this cost, in cents?
struct PriceOf(String);

impl Message for PriceOf {
    type Reply = u32;
}

/// Knows the prices; there could be a connection to a data base in it, shared by all tasks of the process.
struct PriceList;

impl Actor for PriceList {}

impl Handler<PriceOf> for PriceList {
    fn handle(&mut self, PriceOf(what): PriceOf, _ctx: &mut Context<Self>) -> u32 {
        match what.as_str() {
            "flour" => 120,
            "bran" => 45,
            _ => panic!("nobody sells {what} here"),
        }
    }
}

fn main() -> ExitCode {
    App::new("supervised_actor")
        .pipeline(|ctx| {
            // The mailbox outlives the actor: an address stays good over restarts.
            let mailbox = Mailbox::new();
            let prices = mailbox.address::<PriceOf>();
            ctx.supervise(ChildSpec::with_mailbox("prices", mailbox, |_start| PriceList));

            let orders = Queue::new(1);
            orders.push(["flour", "gold", "bran"].map(String::from).to_vec());
            orders.close();
            ctx.queue_stream("orders", &orders)
                .map(move |what| match prices.ask_blocking(PriceOf(what.clone()), Duration::from_secs(10)) {
                    Ok(cents) => format!("{what}: {cents} cents"),
                    Err(error) => format!("{what}: {error}"),
                })
                .foreach_batch(|lines, _time| {
                    lines.iter().for_each(|line| println!("{line}"));
                    Ok(())
                });
            Ok(())
        })
        .main()
}
