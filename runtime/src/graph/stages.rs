//! Cuts the nodes of a batch into stages at exchanges.

use super::{Graph, Node, NodeKind, nodes::SinkNode};
use std::collections::BTreeMap;
use tidemill_protocol::{
    id::{SinkId, StreamId},
    time::BatchTime,
};

/// The nodes of one batch, with every `transform` replaced by what it built.
pub(super) struct Flat {
    pub(super) nodes: Vec<Node>,
    pub(super) stages: Vec<Stage>,
}

/// One stage: a terminal, and the branches that lead to it.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    pub(super) end: End,
    pub(super) branches: Vec<Branch>,
    /// False if one of its operators is marked.
    pub(super) deterministic: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// The exchange node with this number, and the partitions it asks for.
    Exchange(usize, Option<u32>),
    Sink(SinkId),
}

/// A leaf and the narrow operators after it, in the order of flow.
#[derive(Clone, Debug)]
pub(super) struct Branch {
    pub(super) leaf: usize,
    pub(super) path: Vec<usize>,
    pub(super) from: From,
    /// The inputs of the branches before it.
    pub(super) inputs_before: usize,
}

#[derive(Clone, Debug)]
pub(super) enum From {
    Stream(StreamId),
    /// The stages that write its shuffles, and the partitions they ask for.
    Stages(Vec<(usize, Option<u32>)>),
}

impl Branch {
    pub(super) fn inputs(&self) -> usize {
        match &self.from {
            From::Stream(_) => 1,
            From::Stages(stages) => stages.len(),
        }
    }
}

impl Flat {
    /// The graph of the batch at `time`.
    pub(super) fn new(graph: &Graph, time: BatchTime) -> (Flat, Option<super::GraphError>) {
        let (nodes, sinks) = {
            let state = graph.state();
            (state.nodes.clone(), state.sinks.clone())
        };
        let (nodes, place, error) = expand(&nodes, graph, time);
        let mut cut = Cut { nodes: &nodes, stages: Vec::new(), written: BTreeMap::new() };
        for SinkNode { parent, info, .. } in &sinks {
            let branches = cut.branches(place[*parent]);
            cut.add(End::Sink(info.id), branches);
        }
        let stages = cut.stages;
        (Flat { nodes, stages }, error)
    }
}

/// Copies the nodes into a graph of the batch, calling each `transform`; also where each node went.
fn expand(
    nodes: &[Node],
    graph: &Graph,
    time: BatchTime,
) -> (Vec<Node>, Vec<usize>, Option<super::GraphError>) {
    let batch = Graph::with_codec(graph.codec.clone());
    let mut place: Vec<usize> = Vec::with_capacity(nodes.len());
    for node in nodes {
        let parents: Vec<usize> = node.parents.iter().map(|&p| place[p]).collect();
        place.push(match &node.kind {
            NodeKind::Transform(user) => {
                let built = user.rebuild(&batch, parents[0], time);
                if node.nondeterministic {
                    batch.mark_nondeterministic(built);
                }
                built
            }
            _ => batch.add(Node { parents, ..node.clone() }),
        });
    }
    let mut state = batch.state();
    (std::mem::take(&mut state.nodes), place, state.error.take())
}

struct Cut<'a> {
    nodes: &'a [Node],
    stages: Vec<Stage>,
    /// Exchange node -> its stage.
    written: BTreeMap<usize, usize>,
}

impl Cut<'_> {
    /// The stage that writes an exchange; cut at most once, after its own parents.
    fn writer(&mut self, exchange: usize) -> usize {
        if let Some(&stage) = self.written.get(&exchange) {
            return stage;
        }
        let node = &self.nodes[exchange];
        let branches = self.branches(node.parents[0]);
        self.add(End::Exchange(exchange, node.partitions), branches);
        self.written.insert(exchange, self.stages.len() - 1);
        self.stages.len() - 1
    }

    fn add(&mut self, end: End, branches: Vec<Branch>) {
        let written = match end {
            End::Exchange(node, _) => Some(node),
            End::Sink(_) => None,
        };
        let of_branches = branches.iter().flat_map(|branch| branch.path.iter().copied().chain([branch.leaf]));
        let deterministic = !of_branches.chain(written).any(|node| self.nodes[node].nondeterministic);
        self.stages.push(Stage { end, branches, deterministic });
    }

    /// The branches that lead to `node`, in order. Goes upward without recursion but at exchanges and unions.
    fn branches(&mut self, node: usize) -> Vec<Branch> {
        let mut branches = self.open(node, Vec::new());
        let mut inputs = 0;
        for branch in &mut branches {
            branch.inputs_before = inputs;
            inputs += branch.inputs();
        }
        branches
    }

    fn open(&mut self, mut at: usize, mut path: Vec<usize>) -> Vec<Branch> {
        loop {
            let node = &self.nodes[at];
            let from = match &node.kind {
                NodeKind::Narrow(_) => {
                    path.push(at);
                    at = node.parents[0];
                    continue;
                }
                NodeKind::Union => {
                    let parents = node.parents.clone();
                    return parents.into_iter().flat_map(|parent| self.open(parent, path.clone())).collect();
                }
                NodeKind::Source(stream, _) => From::Stream(*stream),
                NodeKind::Merge(_) => {
                    let parents = node.parents.clone();
                    let stages = parents.iter().map(|&p| (self.writer(p), self.nodes[p].partitions));
                    From::Stages(stages.collect())
                }
                NodeKind::Exchange(_) | NodeKind::Transform(_) => {
                    unreachable!("an exchange is only read by a merge, and transforms were replaced")
                }
            };
            path.reverse();
            return vec![Branch { leaf: at, path, from, inputs_before: 0 }];
        }
    }
}
