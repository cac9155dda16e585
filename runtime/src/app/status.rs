//! `status`: asks a driver, as the cluster's observer, and prints what it says.

use super::{
    EXIT_DONE,
    cluster::{DAY_S, Refusal, ended_for, resolve},
    cluster_args::StatusArgs,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};
use tidemill_protocol::{
    endpoint::{self, CloseCode, EndpointConfig, request},
    id::Member,
    identity::load_identity,
    message::{Reply, Request, StatusEntry},
    world::World,
};

/// How long the driver may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the driver may take to hear that nobody asks any more.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) fn status(name: &str, args: &StatusArgs) -> u8 {
    let answered = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Refusal::failed(format!("cannot start a runtime: {error}")))
        .and_then(|runtime| runtime.block_on(ask(args)));
    match answered {
        Ok(entries) if args.json => {
            println!("{}", to_json(&entries));
            EXIT_DONE
        }
        Ok(entries) => {
            print!("{}", table(&entries));
            EXIT_DONE
        }
        Err(refusal) => refusal.complain(name),
    }
}

async fn ask(args: &StatusArgs) -> Result<Vec<StatusEntry>, Refusal> {
    let identity = load_identity(&args.ca, "observer").map_err(Refusal::usage)?;
    let world = World::real();
    if let Some(ended) = ended_for(&args.ca, "observer", &world) {
        let (folder, days) = (args.ca.display(), ended.as_secs() / DAY_S);
        return Err(Refusal::usage(format!(
            "the certificate in {folder}/observer.pem ended {days} days ago: make it anew with `tidemill ca renew` in the folder \
             of the authority, and copy it here"
        )));
    }
    let cluster = identity.name().map_err(Refusal::usage)?.cluster;
    let driver = resolve(&args.driver)?;
    let any = if driver.is_ipv4() { [0, 0, 0, 0].into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    let endpoint =
        endpoint::control_client(&world.udp, SocketAddr::new(any, 0), &EndpointConfig::new(identity, None));
    let endpoint = endpoint.map_err(Refusal::failed)?;
    let unreachable = |error: &dyn std::fmt::Display| {
        Refusal::failed(format!(
            "cannot ask the driver at {driver}: {error}; check --driver and that it runs"
        ))
    };
    let asked = async {
        let connection = endpoint::connect_to(&endpoint, driver, &cluster.driver()).await;
        let connection = connection.map_err(|error| unreachable(&error))?;
        let replies = request::ask(&connection, &Request::Status).await.map_err(|error| {
            // The reason of a refusal comes with the connection's end.
            connection.close_reason().map_or_else(|| unreachable(&error), |reason| unreachable(&reason))
        });
        // Who asks often must not be taken for many who ask: the driver hears that this one has gone.
        endpoint::close(&connection, CloseCode::Done, "");
        replies
    };
    let replies = tokio::select! {
        biased;
        replies = asked => replies?,
        () = world.clock.sleep(PATIENCE) => return Err(unreachable(&format!("no answer within {PATIENCE:?}"))),
    };
    tokio::select! {
        biased;
        () = endpoint.wait_idle() => {}
        () = world.clock.sleep(FAREWELL) => {}
    }
    let mut entries = Vec::new();
    for reply in replies {
        match reply {
            Reply::Status(page) => entries.extend(page),
            Reply::Refused(reason) => return Err(Refusal::refused(reason)),
            Reply::Program(_) => return Err(Refusal::failed("the driver is of another release")),
        }
    }
    Ok(entries)
}

fn to_json(entries: &[StatusEntry]) -> Value {
    let member = |m: &Member| json!({ "node": m.node.0, "incarnation": m.incarnation.0 });
    let (mut driver, mut executors, mut receivers) = (Value::Null, Vec::new(), Vec::new());
    let (mut batches, mut tree) = (Vec::new(), Vec::new());
    for entry in entries {
        match entry {
            StatusEntry::Driver { program, state } => driver = json!({ "program": program, "state": state }),
            StatusEntry::Executor { member: who, slots, bulk_address } => executors.push(json!({
                "executor": member(who), "slots": slots, "machine": bulk_address.map(|a| a.ip().to_string()),
                "bulk_address": bulk_address.map(|a| a.to_string()),
            })),
            StatusEntry::Receiver { receiver, stream, on, records_per_s, permitted_records_per_s } => {
                receivers.push(json!({
                    "stream": stream, "receiver": receiver.index.0, "incarnation": receiver.incarnation.0,
                    "on": member(on), "records_per_s": records_per_s,
                    "permitted_records_per_s": permitted_records_per_s,
                }));
            }
            StatusEntry::Batch { batch, records, scheduling_delay_ms, processing_ms, total_delay_ms } => {
                batches.push(json!({
                    "batch": batch.0, "records": records, "scheduling_delay_ms": scheduling_delay_ms,
                    "processing_ms": processing_ms, "total_delay_ms": total_delay_ms,
                }));
            }
            StatusEntry::Actor { path, state, restarts, mailbox_depth, last_exit } => tree.push(json!({
                "path": path, "state": state, "restarts": restarts, "mailbox_depth": mailbox_depth,
                "last_exit": last_exit,
            })),
        }
    }
    let nodes = nodes(entries).into_iter().map(|(address, node)| {
        let Node { executors, slots } = node;
        json!({ "address": address, "executors": executors.iter().map(member).collect::<Vec<_>>(), "slots": slots })
    });
    let nodes: Vec<Value> = nodes.collect();
    json!({ "driver": driver, "nodes": nodes, "executors": executors, "receivers": receivers, "batches": batches, "tree": tree })
}

/// A machine: what runs there, and how many tasks it takes at once.
#[derive(Default)]
struct Node {
    executors: Vec<Member>,
    slots: u32,
}

/// The machines, by the address at which their executors are reached: those of one machine have one.
fn nodes(entries: &[StatusEntry]) -> BTreeMap<String, Node> {
    let mut nodes = BTreeMap::<String, Node>::new();
    for entry in entries {
        if let StatusEntry::Executor { member, slots, bulk_address } = entry {
            let address = bulk_address.map_or_else(|| "-".to_owned(), |address| address.ip().to_string());
            let node = nodes.entry(address).or_default();
            node.executors.push(*member);
            node.slots += u32::from(*slots);
        }
    }
    nodes
}

fn table(entries: &[StatusEntry]) -> String {
    let mut lines = Vec::new();
    let mut kind = None;
    for entry in entries {
        let (headline, line) = row(entry);
        if headline == "executors" && kind != Some(headline) {
            lines.push("nodes".to_owned());
            lines.extend(nodes(entries).into_iter().map(|(address, Node { executors, slots })| {
                let named: Vec<String> = executors.iter().map(ToString::to_string).collect();
                format!("  {address:<16} {slots:>3} slots  {}", named.join(", "))
            }));
        }
        if kind.replace(headline) != Some(headline) {
            lines.push(headline.to_owned());
        }
        lines.push(line);
    }
    lines.join("\n") + "\n"
}

fn row(entry: &StatusEntry) -> (&'static str, String) {
    match entry {
        StatusEntry::Driver { program, state } => ("driver", format!("  {state}, program {program}")),
        StatusEntry::Executor { member, slots, bulk_address } => {
            let address = bulk_address.map_or_else(|| "-".to_owned(), |address| address.to_string());
            let name = member.to_string();
            ("executors", format!("  {name:<16} {slots:>3} slots  {address}"))
        }
        StatusEntry::Receiver { receiver, stream, on, records_per_s, permitted_records_per_s } => {
            let permitted =
                permitted_records_per_s.map_or_else(|| "no limit".to_owned(), |rate| rate.to_string());
            let (index, life) = (receiver.index.0, receiver.incarnation.0);
            (
                "receivers",
                format!(
                    "  {stream} {index} (life {life}) on {on}: {records_per_s:.0} records/s, permitted {permitted}"
                ),
            )
        }
        StatusEntry::Batch { batch, records, scheduling_delay_ms, processing_ms, total_delay_ms } => (
            "batches           records   scheduling ms   processing ms   total ms",
            format!(
                "  {:<12} {records:>10} {scheduling_delay_ms:>15.2} {processing_ms:>15.2} {total_delay_ms:>10.2}",
                batch.0
            ),
        ),
        StatusEntry::Actor { path, state, restarts, mailbox_depth, last_exit } => {
            let indent = path.matches('/').count() * 2 + 2;
            let id = path.rsplit('/').next().unwrap_or_default();
            let exit = last_exit.as_ref().map_or_else(String::new, |exit| format!(", last exit {exit}"));
            (
                "supervision",
                format!("{:indent$}{id}: {state}, {restarts} restarts, {mailbox_depth} waiting{exit}", ""),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemill_protocol::id::{Incarnation, NodeId};

    fn sample() -> Vec<StatusEntry> {
        let pages = Reply::samples().into_iter().filter_map(|reply| match reply {
            Reply::Status(entries) => Some(entries),
            _ => None,
        });
        pages.flatten().collect()
    }

    #[test]
    fn the_table_says_everything_once() {
        let expected = "\
driver
  running, program 00000000feedf00d
nodes
  127.0.0.1          4 slots  node-1.i2
executors
  node-1.i2          4 slots  127.0.0.1:7001
receivers
  lines 0 (life 3) on node-1.i2: 20000 records/s, permitted 40000
batches           records   scheduling ms   processing ms   total ms
  5                 10000            0.50           12.50      13.00
supervision
      node: running, 1 restarts, 0 waiting, last exit failed: struck
";
        assert_eq!(table(&sample()), expected);
    }

    #[test]
    fn executors_of_one_address_are_on_one_node() {
        let executor = |node: u16, slots, address: Option<&str>| StatusEntry::Executor {
            member: Member { node: NodeId(node), incarnation: Incarnation(1) },
            slots,
            bulk_address: address.map(|address| address.parse().unwrap()),
        };
        let entries = [
            executor(1, 4, Some("10.0.0.2:7001")),
            executor(2, 4, Some("10.0.0.3:7001")),
            executor(3, 2, Some("10.0.0.2:7002")),
        ];
        let nodes =
            nodes(&entries).into_iter().map(|(address, node)| (address, node.executors.len(), node.slots));
        let expected = [("10.0.0.2".to_owned(), 2, 6), ("10.0.0.3".to_owned(), 1, 4)];
        assert_eq!(nodes.collect::<Vec<_>>(), expected);
        let text = table(&entries);
        assert!(text.starts_with("nodes\n  10.0.0.2           6 slots  node-1.i1, node-3.i1\n"), "{text}");
        assert_eq!(text.matches("nodes\n").count(), 1);
    }

    #[test]
    fn the_object_has_a_list_for_each_kind() {
        let object = to_json(&sample());
        assert_eq!(object["driver"]["state"], "running");
        let node =
            json!({ "address": "127.0.0.1", "executors": [{ "node": 1, "incarnation": 2 }], "slots": 4 });
        assert_eq!(object["nodes"], json!([node]));
        assert_eq!(object["executors"][0]["executor"], json!({ "node": 1, "incarnation": 2 }));
        assert_eq!(object["receivers"][0]["records_per_s"], 20_000.0);
        assert_eq!(object["batches"][0]["records"], 10_000);
        assert_eq!(object["tree"][0]["last_exit"], "failed: struck");
    }
}
