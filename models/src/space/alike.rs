//! How architectures of the space of DARTS are written, in which cells of a kind are alike.

use std::str::FromStr;

use crate::{CellGenotype, CellKind, Genotype, ModelError, Operation, Pair};

/// What the space is called.
pub(super) const NAME: &str = "darts";

/// `normal sep_conv_3x3(0)+identity(1),… reduction …`: for each kind of cell the pairs of its
/// nodes, each with the state that it reads.
pub(super) fn text<'c>(cells: impl Iterator<Item = &'c CellGenotype>) -> String {
    let pair = |pair: &Pair| format!("{}({})", pair.op, pair.input);
    let node = |pairs: &Vec<Pair>| pairs.iter().map(pair).collect::<Vec<_>>().join("+");
    let cell = |cell: &CellGenotype| {
        let nodes: Vec<String> = cell.nodes.iter().map(node).collect();
        format!("{} {}", name(cell.kind), nodes.join(","))
    };
    cells.map(cell).collect::<Vec<_>>().join(" ")
}

/// The network of `cells` cells of a text.
pub(super) fn genotype(text: &str, cells: usize) -> Result<Genotype, ModelError> {
    let invalid = || {
        ModelError::Invalid(format!(
            "{text:?} is no architecture of the space darts, such as `normal \
             sep_conv_3x3(0)+identity(1),… reduction …`"
        ))
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let nodes = |kind: CellKind| -> Result<Vec<Vec<Pair>>, ModelError> {
        let place = words.iter().position(|word| *word == name(kind)).ok_or_else(invalid)?;
        let nodes = words.get(place + 1).ok_or_else(invalid)?.split(',');
        nodes
            .map(|node| node.split('+').map(|text| pair(text).ok_or_else(invalid)).collect())
            .collect()
    };
    let [normal, reduction] = [nodes(CellKind::Normal)?, nodes(CellKind::Reduction)?];
    if words.len() != 4 {
        return Err(invalid());
    }
    let cell = |index| {
        let kind = CellKind::of(index, cells);
        let nodes = match kind {
            CellKind::Normal => normal.clone(),
            CellKind::Reduction => reduction.clone(),
        };
        CellGenotype { kind, nodes }
    };
    Genotype::new((0..cells).map(cell).collect())
}

fn name(kind: CellKind) -> &'static str {
    match kind {
        CellKind::Normal => "normal",
        CellKind::Reduction => "reduction",
    }
}

fn pair(text: &str) -> Option<Pair> {
    let (op, input) = text.strip_suffix(')')?.split_once('(')?;
    Some(Pair { input: input.parse().ok()?, op: Operation::from_str(op).ok()? })
}
