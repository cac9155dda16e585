//! Plain lines from whoever connects: the executor that has the receiver listens, on its own machine and on no other.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tidemill::{StreamContext, cluster::sim::SimCluster};
use tokio::io::AsyncWriteExt;

const LINES: usize = 2_000;

#[test]
fn lines_of_whoever_connects_are_counted_exactly_by_the_executor_that_listens() {
    // Taken on the real machine, which is none of the simulation's business.
    let real = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = real.local_addr().unwrap().port();
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = lines.clone();
    let pipeline = move |context: &StreamContext| {
        let seen = seen.clone();
        context.tcp_listen(format!("0.0.0.0:{port}")).map(|line| line.to_string()).foreach_batch(
            move |lines, _| {
                seen.lock().map_err(|_| "a test has failed")?.extend(lines);
                Ok(())
            },
        );
        Ok(())
    };
    let expected: Vec<String> = (0..LINES).map(|n| format!("line {n}")).collect();
    let text = expected.join("\n") + "\n";
    let ran = SimCluster::builder(11).run(pipeline, async |cluster| {
        let sender = cluster.host(1);
        let mut stream = None;
        for _ in 0..100 {
            if let Some(node) = cluster.receiver_host() {
                stream = sender.tcp.connect(format!("{}:{port}", cluster.ip(node))).await.ok();
            }
            if stream.is_some() {
                break;
            }
            cluster.sleep(Duration::from_millis(100)).await;
        }
        let mut stream = stream.expect("somebody listens within 10 s");
        stream.write_all(text.as_bytes()).await.expect("they are taken");
        for _ in 0..100 {
            if lines.lock().unwrap().len() >= LINES {
                break;
            }
            cluster.sleep(Duration::from_millis(100)).await;
        }
        cluster.stop_gracefully();
        cluster.wait_until_ended(Duration::from_secs(60)).await
    });
    assert_eq!(ran.unwrap(), Some(Ok(())));
    assert_eq!(*lines.lock().unwrap(), expected);
}
