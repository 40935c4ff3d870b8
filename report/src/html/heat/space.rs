//! The phase `space`: eight operations on each edge of the two kinds of cells.
//!
//! The edges of a cell stand as a matrix, a column for each node and a row for each of its inputs:
//! a node keeps the likeliest candidates of its column.

use super::super::architecture::{INPUTS, OPERATIONS, Pair, Space, operation, source};
use super::super::metrics::Phase;
use super::block::{Block, Candidate};
use super::{NODES, Probabilities, Scale, Table, table};

/// Rows of a table: the operations of each edge.
const CANDIDATES: usize = edge(NODES, 0) * OPERATIONS.len();

const NAMES: f64 = 76.0;
const WIDTH: f64 = 96.0;
const GAP: f64 = 17.0;
const ROW: f64 = 10.0;
/// Above each edge is its name.
const HEAD: f64 = 22.0;

/// The edges before that from an input to a node, when nodes and their inputs are counted in order.
const fn edge(node: usize, input: usize) -> usize {
    node * INPUTS + node * node.saturating_sub(1) / 2 + input
}

/// One figure for each kind of cell, where the lines have the probabilities of edges.
pub(super) fn figures(phase: &Phase<'_>, space: Option<&Space>) -> Option<(Scale, String)> {
    let kinds = ["normal", "reduction"]
        .map(|kind| Some((kind, table(phase, CANDIDATES, |value| value.get(kind))?)));
    let (kinds, tables): (Vec<&str>, Vec<Table>) = kinds.into_iter().flatten().unzip();
    let scale = Scale::of(&tables)?;
    let figure = |(kind, table): (&&str, &Table)| {
        format!(
            "<figure><figcaption>{kind} cells</figcaption><div \
             class=\"scroll\">{}</div></figure>\n",
            svg(kind, table, &scale, phase, space.and_then(|space| space.cell(kind)))
        )
    };
    let figures: String = kinds.iter().zip(&tables).map(figure).collect();
    Some((scale, format!("<div class=\"cells\">\n{figures}</div>\n")))
}

fn svg(
    kind: &str,
    table: &[Probabilities],
    scale: &Scale,
    phase: &Phase<'_>,
    kept: Option<&[Vec<Pair>]>,
) -> String {
    let height = OPERATIONS.len() as f64 * ROW;
    let mut edges = String::new();
    for node in 0..NODES {
        for input in 0..node + INPUTS {
            let first = edge(node, input) * OPERATIONS.len();
            let kept = |op: &str| {
                kept.and_then(|nodes| nodes.get(node))
                    .is_some_and(|pairs| pairs.iter().any(|p| p.input == input && p.op == op))
            };
            let candidate = |(op, probabilities)| Candidate {
                name: operation(op),
                kept: kept(op),
                probabilities,
            };
            let candidates: Vec<_> =
                OPERATIONS.into_iter().zip(&table[first..]).map(candidate).collect();
            let block = Block {
                phase,
                scale,
                x: NAMES + (WIDTH + GAP) * node as f64,
                y: HEAD + (height + HEAD) * input as f64,
                width: WIDTH,
                row: ROW,
            };
            edges += &format!(
                "<text class=\"name\" x=\"{}\" y=\"{}\">{} → node {}</text>{}",
                block.x,
                block.y - 4.0,
                source(input),
                node + INPUTS,
                block.svg(&candidates)
            );
            // Once in each row, where its first edge stands.
            if input < INPUTS && node == 0 || input == node + 1 {
                edges += &block
                    .names(candidates.iter().map(|candidate| (candidate.name.as_str(), false)));
            }
            if input == node + 1 {
                edges += &block.epochs(OPERATIONS.len());
            }
        }
    }
    let (right, bottom) =
        (NAMES + (WIDTH + GAP) * NODES as f64, (height + HEAD) * (NODES + 1) as f64 + 14.0);
    format!(
        "<svg viewBox=\"0 0 {right} {bottom}\" role=\"img\" aria-label=\"probabilities of {kind} \
         cells\">{edges}</svg>"
    )
}
