//! The graph for people: as text, one line a node, and in Graphviz's language.

use super::{Graph, State};
use std::fmt::Write;

impl Graph {
    /// The graph as text: number, kind, name, partitions and parents of each node, then the sinks. The program id is a hash
    /// of it.
    pub fn describe(&self) -> String {
        let state = self.state();
        let mut out = String::new();
        for stream in &state.streams {
            let i = &stream.info;
            line(&mut out, format_args!("{} {:?} {:?} × {}", i.id, i.name, i.kind, i.receivers));
        }
        for number in 0..state.nodes.len() {
            let parents: Vec<String> =
                state.nodes[number].parents.iter().map(|p| format!("op-{p}")).collect();
            line(&mut out, format_args!("op-{number} {} <- [{}]", label(&state, number), parents.join(", ")));
        }
        for sink in &state.sinks {
            line(
                &mut out,
                format_args!("{} {:?} {} <- [op-{}]", sink.info.id, sink.info.name, sink.label, sink.parent),
            );
        }
        out
    }

    /// The graph as a Graphviz `digraph`; shuffles are drawn dashed.
    pub fn to_dot(&self) -> String {
        let state = self.state();
        let mut out = String::from("digraph pipeline {\n  rankdir=LR;\n  node [shape=box];\n");
        for (number, node) in state.nodes.iter().enumerate() {
            line(&mut out, format_args!("  n{number} [label={:?}];", label(&state, number)));
            for &parent in &node.parents {
                let shuffled = matches!(state.nodes[parent].kind, super::NodeKind::Exchange(_));
                let style = if shuffled { " [style=dashed]" } else { "" };
                line(&mut out, format_args!("  n{parent} -> n{number}{style};"));
            }
        }
        for sink in &state.sinks {
            let number = sink.info.id.0;
            line(&mut out, format_args!("  s{number} [label={:?}, shape=ellipse];", sink.info.name));
            line(&mut out, format_args!("  n{} -> s{number};", sink.parent));
        }
        out.push_str("}\n");
        out
    }
}

fn label(state: &State, number: usize) -> String {
    let node = &state.nodes[number];
    let mut out = String::from(node.label);
    if let super::NodeKind::Source(stream, _) = &node.kind {
        let _ = write!(out, " {stream}");
    }
    if node.nondeterministic {
        out.push_str(" nondeterministic");
    }
    if let Some(name) = &node.name {
        let _ = write!(out, " {name:?}");
    }
    if let Some(partitions) = node.partitions {
        let _ = write!(out, " into {partitions}");
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = out.write_fmt(text);
    out.push('\n');
}
