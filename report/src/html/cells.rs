//! The architecture as pictures, one for each different cell.
//!
//! A picture is a staircase: the inputs stand at the top left, and each node lower and further
//! right than the one before. From every source a wire runs down, and branches to the right into
//! each operation that reads it. So no wire touches an operation or a node that it does not lead
//! to, however the cell is wired.

use serde_json::Value;

use super::architecture::{self, Cell, INPUTS, Pair, state};
use crate::escape::escape;

/// Cells beyond these are shown as text: their picture would not be read.
const MAX_NODES: usize = 12;
const MAX_PAIRS: usize = 16;

const INPUT_X: [f64; INPUTS] = [24.0, 72.0];
const INPUT_Y: f64 = 14.0;
/// From one node to the next to the right: a gap after the wire, an operation, a gap before the
/// node.
const PITCH: f64 = OP_GAP + OP_WIDTH + NODE_GAP + RADIUS;
const OP_GAP: f64 = 10.0;
const OP_WIDTH: f64 = 90.0;
const OP_HEIGHT: f64 = 18.0;
const OP_PITCH: f64 = 22.0;
const NODE_GAP: f64 = 10.0;
const RADIUS: f64 = 11.0;
const ROW_GAP: f64 = 14.0;
/// Longer names of operations are cut; their title has them whole.
const OP_CHARS: usize = 14;

/// Pictures of all cells, equal ones together; or the value as text where they cannot be drawn.
pub(crate) fn pictures(cells: &[Cell], value: &Value) -> String {
    match cells {
        [_, ..] if cells.iter().all(Cell::can_be_drawn) => draw(cells),
        _ => {
            let text = serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string());
            format!(
                "<p class=\"quiet\">This is no genotype that can be drawn.</p>\n<pre>{}</pre>\n",
                escape(&text)
            )
        }
    }
}

fn draw(cells: &[Cell]) -> String {
    let mut groups: Vec<(&Cell, Vec<usize>)> = Vec::new();
    for (index, cell) in cells.iter().enumerate() {
        match groups.iter_mut().find(|(other, _)| *other == cell) {
            Some((_, members)) => members.push(index),
            None => groups.push((cell, vec![index])),
        }
    }
    let figures = groups.iter().map(|(cell, members)| {
        let numbers = members.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        let plural = if members.len() == 1 { "Cell" } else { "Cells" };
        let title = format!("{plural} {numbers}, {}", escape(&cell.kind));
        format!(
            "<figure><figcaption>{title}</figcaption><div class=\"scroll\">{}</div></figure>\n",
            cell.svg(&title)
        )
    });
    let inputs = match cells.iter().any(|cell| cell.inputs > 1) {
        true => "k−2 and k−1 are the outputs of the two previous cells, or of the stem",
        false => "k−1 is the output of the previous cell, or of the stem",
    };
    let output = match cells.iter().all(|cell| cell.output.len() == 1) {
        true => "the cell's output is the one that leads to the bar",
        false => "the cell's output concatenates its nodes",
    };
    format!(
        "<p class=\"quiet\">{} cells, {} of them different, from the image to the classifier. \
         {inputs}; a node is the sum of its operations; {output}.</p>\n<div \
         class=\"cells\">\n{}</div>\n",
        cells.len(),
        groups.len(),
        figures.collect::<String>()
    )
}

/// Where a node stands, and the heights of its operations.
struct Row {
    x: f64,
    y: f64,
    ops: Vec<f64>,
}

impl Cell {
    fn can_be_drawn(&self) -> bool {
        let reads_earlier = |(node, pairs): (usize, &Vec<Pair>)| {
            pairs.iter().all(|pair| pair.input < node + self.inputs)
        };
        (1..=INPUT_X.len()).contains(&self.inputs)
            && (1..=MAX_NODES).contains(&self.nodes.len())
            && self.nodes.iter().all(|pairs| pairs.len() <= MAX_PAIRS)
            && self.nodes.iter().enumerate().all(reads_earlier)
    }

    fn rows(&self) -> Vec<Row> {
        let mut top = INPUT_Y + OP_HEIGHT / 2.0 + ROW_GAP;
        let row = |(node, pairs): (usize, &Vec<Pair>)| {
            let height = OP_PITCH * pairs.len().max(1) as f64;
            let row = Row {
                x: INPUT_X[1] + PITCH * (node + 1) as f64,
                y: top + height / 2.0,
                ops: (0..pairs.len()).map(|i| top + OP_PITCH * (i as f64 + 0.5)).collect(),
            };
            top += height + ROW_GAP;
            row
        };
        self.nodes.iter().enumerate().map(row).collect()
    }

    /// `title` is HTML.
    fn svg(&self, title: &str) -> String {
        let rows = self.rows();
        let inputs = INPUT_X[INPUT_X.len() - self.inputs..].iter().map(|&x| (x, INPUT_Y));
        let sources: Vec<(f64, f64)> =
            inputs.chain(rows.iter().map(|row| (row.x, row.y))).collect();
        let right = rows.last().map_or(0.0, |row| row.x) + RADIUS + 14.0;
        let bottom =
            rows.last().map_or(0.0, |row| row.y + row.ops.len().max(1) as f64 * OP_PITCH / 2.0);

        let mut wires = String::new();
        let mut boxes = String::new();
        let mut lowest = vec![None; sources.len()];
        for (node, (pairs, row)) in self.nodes.iter().zip(&rows).enumerate() {
            let left = row.x - RADIUS - NODE_GAP - OP_WIDTH;
            for (pair, &y) in pairs.iter().zip(&row.ops) {
                let from = sources[pair.input].0;
                wires += &format!(
                    "<path class=\"wire\" d=\"M{from} {y}H{left}M{} {y}L{} {}\"/><circle \
                     class=\"joint\" cx=\"{from}\" cy=\"{y}\" r=\"2.4\"/>",
                    left + OP_WIDTH,
                    row.x,
                    row.y
                );
                boxes += &operation(&pair.op, left, y);
                lowest[pair.input] = Some(y);
            }
            if self.output.is_empty() || self.output.contains(&(node + self.inputs)) {
                wires += &format!("<path class=\"wire\" d=\"M{} {}H{right}\"/>", row.x, row.y);
            }
        }
        for (&(x, y), lowest) in sources.iter().zip(&lowest) {
            if let Some(lowest) = lowest {
                wires += &format!("<path class=\"wire\" d=\"M{x} {y}V{lowest}\"/>");
            }
        }
        for (input, &(x, _)) in sources[..self.inputs].iter().enumerate() {
            let name = state(input, self.inputs);
            boxes += &boxed(x - 19.0, INPUT_Y - OP_HEIGHT / 2.0, 38.0, OP_HEIGHT, &name);
        }
        for (node, row) in rows.iter().enumerate() {
            boxes += &format!(
                "<circle class=\"box\" cx=\"{}\" cy=\"{}\" r=\"{RADIUS}\"/><text class=\"middle\" \
                 x=\"{}\" y=\"{}\">{}</text>",
                row.x,
                row.y,
                row.x,
                row.y + 4.0,
                state(node + self.inputs, self.inputs)
            );
        }
        let first = rows.first().map_or(0.0, |row| row.y);
        boxes += &output(right, first - RADIUS, bottom);
        format!(
            "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{title}\">{wires}{boxes}</svg>",
            right + 26.0,
            bottom + 4.0
        )
    }
}

fn boxed(x: f64, y: f64, width: f64, height: f64, name: &str) -> String {
    format!(
        "<rect class=\"box\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" \
         rx=\"4\"/><text class=\"middle\" x=\"{}\" y=\"{}\">{name}</text>",
        x + width / 2.0,
        y + height / 2.0 + 4.0
    )
}

/// The bar that all nodes end in, its name written downwards.
fn output(x: f64, top: f64, bottom: f64) -> String {
    let (middle_x, middle_y) = (x + 10.0, f64::midpoint(top, bottom));
    format!(
        "<rect class=\"box\" x=\"{x}\" y=\"{top}\" width=\"20\" height=\"{}\" rx=\"4\"/>\
         <text class=\"middle\" transform=\"translate({} {middle_y}) rotate(90)\">output</text>",
        bottom - top,
        middle_x - 4.0
    )
}

fn operation(name: &str, left: f64, y: f64) -> String {
    // Colours tell families apart; the name says which it is.
    let family = match name {
        "identity" => "identity",
        name if name.starts_with("sep_conv") => "separable",
        name if name.starts_with("dil_conv") => "dilated",
        name if name.contains("pool") => "pool",
        _ => "other",
    };
    let mut label = architecture::operation(name);
    if label.chars().count() > OP_CHARS {
        label = label.chars().take(OP_CHARS - 1).chain(['…']).collect();
    }
    format!(
        "<g><title>{}</title><rect class=\"op {family}\" x=\"{left}\" y=\"{}\" \
         width=\"{OP_WIDTH}\" height=\"{OP_HEIGHT}\" rx=\"4\"/>\
         <text class=\"middle\" x=\"{}\" y=\"{}\">{}</text></g>",
        escape(name),
        y - OP_HEIGHT / 2.0,
        left + OP_WIDTH / 2.0,
        y + 4.0,
        escape(&label)
    )
}
