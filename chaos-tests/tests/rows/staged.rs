//! What tasks stage for `save_as_text_files` under the faults of rows 26 to 33: when the job has ended, nothing is left there.

use crate::numbers::{Seen, all, numbers, slow_tasks};
use std::time::Duration;
use tidemill::{
    ClusterEvent,
    cluster::sim::{NodeId, SimCluster},
};

const SECOND: Duration = Duration::from_secs(1);
/// A multiple of 6, and 30 batches.
const NUMBERS: u64 = 9_000;

/// The files of a folder, by name.
fn names(cluster: &SimCluster, folder: &str) -> Vec<String> {
    let files = cluster.world().files().list(folder.as_ref()).unwrap_or_default();
    files.into_iter().map(|(path, _)| path.display().to_string()).collect()
}

/// All numbers in the files of the batches that were published, sorted.
fn written(cluster: &SimCluster, seen: &Seen) -> Vec<u64> {
    let (files, mut written) = (cluster.world().files(), Vec::new());
    for time in seen.batches() {
        for (path, length) in files.list(format!("/out/numbers-{time}").as_ref()).unwrap_or_default() {
            let text = files.read_range(&path, 0, length).expect("it was listed");
            let text = String::from_utf8(text).expect("numbers");
            written.extend(text.lines().map(|line| line.parse::<u64>().expect("a number")));
        }
    }
    written.sort_unstable();
    written
}

/// Runs the job under a fault; a second later nothing may be staged.
fn is_swept(seed: u64, fault: impl AsyncFn(&mut SimCluster)) -> Seen {
    let seen = Seen::default();
    let pipeline = |context: &tidemill::StreamContext| {
        numbers(context, NUMBERS).save_as_text_files("/out/numbers", "");
        Ok(())
    };
    let watch = seen.clone();
    let outcome = slow_tasks(seed).run(pipeline, async |cluster| {
        watch.listen(cluster);
        cluster.sleep(2 * SECOND).await;
        // A process that was killed has left these: of a former run, and of this one, from a batch that is published by now.
        let files = cluster.world().files();
        let mut ours = names(cluster, "/out/numbers.staged-0").pop();
        for _ in 0..1_000 {
            if ours.is_some() {
                break;
            }
            cluster.sleep(Duration::from_millis(1)).await;
            ours = names(cluster, "/out/numbers.staged-0").pop();
        }
        let ours = ours.expect("within a second a task stages");
        let (run, _) = ours.rsplit('/').next().expect("a name").split_once('-').expect("the run comes first");
        for name in [format!("{run}-0-0-0-77"), "0000000000000000-9-0-0-0".to_owned()] {
            files.write(format!("/out/numbers.staged-0/{name}").as_ref(), b"1\n").expect("there is room");
        }
        fault(cluster).await;
        let outcome = cluster.wait_until_ended(120 * SECOND).await;
        cluster.sleep(10 * SECOND).await;
        (outcome, written(cluster, &watch), names(cluster, "/out/numbers.staged-0"))
    });
    let (outcome, written, staged) = outcome.expect("the cluster starts");
    assert_eq!(outcome, Some(Ok(())));
    assert_eq!(written, all(NUMBERS), "each once");
    assert_eq!(staged, Vec::<String>::new(), "nothing stays staged");
    seen
}

#[test]
fn row_26_what_a_killed_executor_has_staged_is_swept() {
    for node in 1..=3 {
        let seen = is_swept(26, async |cluster| {
            cluster.kill(NodeId(node));
            cluster.sleep(SECOND).await;
            cluster.revive(NodeId(node));
        });
        assert!(seen.lost_tasks() > 0, "node {node} ran nothing");
    }
}

#[test]
fn row_27_what_a_paused_executor_stages_when_it_goes_on_is_swept() {
    for node in 1..=3 {
        let seen = is_swept(27, async |cluster| cluster.pause(NodeId(node), 5 * SECOND));
        let down = |event: &ClusterEvent| matches!(event, ClusterEvent::ExecutorDown(_));
        assert!(seen.count(down) >= 1, "node {node}: it was not noticed");
    }
}

#[test]
fn row_33_what_attempts_stage_that_were_overtaken_by_their_copies_is_swept() {
    let seen = is_swept(33, async |cluster| cluster.slow(NodeId(2), 10.0));
    let copied = |event: &ClusterEvent| matches!(event, ClusterEvent::TaskCopied { .. });
    assert!(seen.count(copied) > 0, "nothing was copied");
}
