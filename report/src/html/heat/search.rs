//! The phase `search`: K candidates for each node of every cell, each cell its own.

use super::super::architecture::{Cell, Genotype, INPUTS, Pair, Space, operation, source};
use super::super::metrics::Phase;
use super::block::{Block, Candidate};
use super::{NODES, Probabilities, Scale, Table, table};
use crate::escape::escape;

const NAMES: f64 = 116.0;
const WIDTH: f64 = 240.0;
/// Right of the colours, for the dots.
const RIGHT: f64 = 12.0;
const ROW: f64 = 11.0;
/// Above a node is its name, and above the first one the stages to its right.
const HEAD: f64 = 16.0;

/// One figure for each cell, where the lines have the probabilities of cells.
pub(super) fn figures(
    phase: &Phase<'_>,
    genotype: Option<&Genotype>,
    space: Option<&Space>,
) -> Option<(Scale, String)> {
    let cells = phase
        .lines
        .iter()
        .filter_map(|line| line.get("probabilities")?.as_array())
        .max_by_key(|cells| cells.len())?;
    let table = |cell: usize| {
        let rows = cells[cell].as_array()?.len();
        (rows > 0 && rows.is_multiple_of(NODES))
            .then(|| table(phase, rows, |value| value.get(cell)))?
    };
    let tables: Vec<Table> = (0..cells.len()).map(table).collect::<Option<_>>()?;
    let scale = Scale::of(&tables)?;
    // A genotype of another number of cells is not that of this search.
    let genotype = genotype.filter(|genotype| genotype.cells.len() == tables.len());
    let figure = |(index, table): (usize, &Table)| {
        let cell = genotype.map(|genotype| &genotype.cells[index]);
        let title = cell.map_or_else(
            || format!("Cell {index}"),
            |cell| format!("Cell {index}, {}", escape(&cell.kind)),
        );
        let names = cell.and_then(|cell| space?.cell(&cell.kind));
        format!(
            "<figure><figcaption>{title}</figcaption>{}</figure>\n",
            svg(&title, table, &scale, phase, cell, names)
        )
    };
    let figures: String = tables.iter().enumerate().map(figure).collect();
    Some((scale, format!("<div class=\"charts\">\n{figures}</div>\n")))
}

/// `title` is HTML.
fn svg(
    title: &str,
    table: &[Probabilities],
    scale: &Scale,
    phase: &Phase<'_>,
    cell: Option<&Cell>,
    names: Option<&[Vec<Pair>]>,
) -> String {
    let k = table.len() / NODES;
    let mut nodes = String::new();
    let mut y = 0.0;
    for (node, rows) in table.chunks(k).enumerate() {
        let names = names.and_then(|nodes| nodes.get(node)).filter(|pairs| pairs.len() == k);
        let kept = cell.and_then(|cell| cell.nodes.get(node));
        let candidate = |(i, probabilities): (usize, _)| match names.map(|pairs| &pairs[i]) {
            Some(pair) => Candidate {
                name: format!("{} · {}", source(pair.input), escape(&operation(&pair.op))),
                kept: kept.is_some_and(|kept| kept.contains(pair)),
                probabilities,
            },
            None => Candidate { name: format!("candidate {}", i + 1), kept: false, probabilities },
        };
        let candidates: Vec<_> = rows.iter().enumerate().map(candidate).collect();
        let block = Block { phase, scale, x: NAMES, y: y + HEAD, width: WIDTH, row: ROW };
        nodes += &format!(
            "<text class=\"name\" x=\"0\" y=\"{}\">node {}</text>",
            block.y - 4.0,
            node + INPUTS
        );
        if node == 0 {
            nodes += &block.stages();
        }
        nodes += &block.svg(&candidates);
        nodes += &block
            .names(candidates.iter().map(|candidate| (candidate.name.as_str(), candidate.kept)));
        if node == NODES - 1 {
            nodes += &block.epochs(k);
        }
        y += HEAD + ROW * k as f64;
    }
    format!(
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"probabilities of \
         {title}\">{nodes}</svg>",
        NAMES + WIDTH + RIGHT,
        y + 14.0
    )
}
