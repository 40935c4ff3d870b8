//! Where the time of a case goes, and what the bytes and the arithmetic of each part would take at
//! least.

use std::collections::{HashMap, HashSet};

use adwp_engine::{Device, Graph, Node, Op, StepTime};

use crate::cases::{Case, Size};
use crate::engine::Subject;
use crate::failure::Result;
use crate::machine::Machine;

/// Steps of one kind in one direction, over all repeats.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sum {
    steps: usize,
    seconds: f64,
    bytes: usize,
    multiply_adds: u64,
}

impl Sum {
    fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.seconds += other.seconds;
        self.bytes += other.bytes;
        self.multiply_adds += other.multiply_adds;
    }
}

/// What rows are about, and in which direction.
type Key = (String, &'static str);

/// Runs a case `repeats` times. Gives two tables of mean times, largest first: by kind of
/// operation, and by its sizes as well.
pub(crate) fn run(case: &Case, device: &Device, repeats: u32) -> Result<String> {
    let machine = Machine::measure(device)?;
    let network = case.network(Size::Full)?;
    let mut subject = Subject::new(&network, device)?;
    subject.first()?;
    let (mut kinds, mut sizes) = (HashMap::<Key, Sum>::new(), HashMap::<Key, Sum>::new());
    for _ in 0..repeats {
        let (sample, steps) = subject.once()?;
        let computed: HashSet<&str> = steps.iter().map(|step| &step.node[..]).collect();
        for step in &steps {
            let direction = if step.backward { "backward" } else { "forward" };
            let sum = Sum {
                steps: 1,
                seconds: step.time.as_secs_f64(),
                bytes: step.bytes,
                multiply_adds: step.multiply_adds.unwrap_or(0),
            };
            let (kind, size) = described(&network.graph, step, &computed);
            sizes.entry((format!("{kind} {size}"), direction)).or_default().add(&sum);
            kinds.entry((kind, direction)).or_default().add(&sum);
        }
        if let Some(seconds) = sample.update {
            let update = Sum { steps: 1, seconds, ..Sum::default() };
            kinds.entry(("update".to_owned(), "")).or_default().add(&update);
        }
    }
    let tables = [kinds, sizes].map(|sums| table(sums, repeats, &machine));
    Ok(tables.join("\n\n"))
}

/// The kind of a step, and its sizes: channels and extents of what it reads, channels of what it
/// gives where they differ, stride. On a GPU, where a step is a launch for several nodes, its
/// kernel.
fn described(graph: &Graph, step: &StepTime, computed: &HashSet<&str>) -> (String, String) {
    let Ok(id) = graph.find(&step.node) else { return (step.op.to_owned(), String::new()) };
    let node = &graph[id];
    match conv(graph, node) {
        None => (step.op.to_owned(), sizes(graph, node, 1)),
        Some((form, stride)) => {
            let before = &graph[node.inputs[0]];
            match conv(graph, before) {
                // It has no step of its own, so this one does its work.
                Some((depthwise, stride)) if !computed.contains(&before.name[..]) => {
                    (format!("{depthwise} + {form}"), sizes(graph, before, stride))
                }
                _ => (form, sizes(graph, node, stride)),
            }
        }
    }
}

/// Form and stride of a convolution, the longer one where it has two.
fn conv(graph: &Graph, node: &Node) -> Option<(String, usize)> {
    let Op::Conv2d(conv) = &node.op else { return None };
    let weight = &graph[node.inputs[1]].shape;
    let form = match (weight[1], weight[2], weight[3]) {
        (1, h, w) if conv.groups > 1 => format!("depthwise {h}×{w}"),
        (_, 1, 1) => "pointwise".to_owned(),
        (_, h, w) => format!("conv {h}×{w}"),
    };
    let stride = conv.stride[0].max(conv.stride[1]);
    Some((
        if conv.dilation > 1 { format!("{form} dilation {}", conv.dilation) } else { form },
        stride,
    ))
}

fn sizes(graph: &Graph, node: &Node, stride: usize) -> String {
    let Some([_, channels, h, w]) = node.inputs.first().and_then(|&x| graph[x].shape.dims4())
    else {
        return String::new();
    };
    let outputs = node
        .shape
        .get(1)
        .filter(|&&outputs| outputs != channels)
        .map(|outputs| format!("→{outputs}"))
        .unwrap_or_default();
    let stride = if stride > 1 { format!(" stride {stride}") } else { String::new() };
    format!("{channels}{outputs}×{h}×{w}{stride}")
}

/// The floor of a row is its multiply-adds at the rate of a large matrix product and its bytes at
/// the bandwidth of a copy, one after the other, as that of a whole step.
fn table(sums: HashMap<Key, Sum>, repeats: u32, machine: &Machine) -> String {
    let mut rows: Vec<(Key, Sum)> = sums.into_iter().collect();
    rows.sort_by(|(a, x), (b, y)| y.seconds.total_cmp(&x.seconds).then_with(|| a.cmp(b)));
    let mut all = Sum::default();
    rows.iter().for_each(|(_, sum)| all.add(sum));
    let width = rows
        .iter()
        .map(|((what, _), _)| what.chars().count())
        .max()
        .unwrap_or(0)
        .max("operation".len());
    let head = ["steps", "ms", "share", "10⁹ MACs", "MiB", "floor, ms", "of floor"];
    let mut lines = vec![
        format!("{:width$}  {:9}", "operation", "direction")
            + &head.map(|head| format!(" {head:>10}")).concat(),
    ];
    let whole = all.seconds;
    rows.push((("all".to_owned(), ""), all));
    for ((what, direction), sum) in rows {
        let mean = 1.0 / f64::from(repeats);
        let giga = mean * 1e-9 * sum.multiply_adds as f64;
        let arithmetic = machine.best_gemm_gmacs().map_or(0.0, |rate| giga / rate);
        let bytes = mean * sum.bytes as f64;
        let floor = arithmetic + 1e-9 * bytes / machine.copy_gbytes();
        let seconds = mean * sum.seconds;
        let optional = |value: f64, text: String| if value > 0.0 { text } else { "–".to_owned() };
        let cells = [
            format!("{}", sum.steps / repeats as usize),
            format!("{:.3}", 1e3 * seconds),
            format!("{:.1}%", 100.0 * sum.seconds / whole),
            optional(giga, format!("{giga:.3}")),
            optional(bytes, format!("{:.1}", bytes / f64::from(1 << 20))),
            optional(floor, format!("{:.3}", 1e3 * floor)),
            optional(floor, format!("{:.2}×", seconds / floor)),
        ];
        lines.push(
            format!("{what:width$}  {direction:9}")
                + &cells.map(|cell| format!(" {cell:>10}")).concat(),
        );
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Processor;

    #[test]
    fn sorted_with_shares_and_floors() {
        let machine = Machine::Cpu(Processor::example());
        let sum = |seconds, bytes, multiply_adds| Sum { steps: 2, seconds, bytes, multiply_adds };
        // Of two repeats: a mean of 3 ms for 10 MB and 50 million multiply-adds, which take 1 ms
        // each.
        let sums = [
            (("relu".to_owned(), "forward"), sum(0.002, 0, 0)),
            (("pointwise".to_owned(), "forward"), sum(0.006, 20_000_000, 100_000_000)),
        ];
        let table = table(sums.into_iter().collect(), 2, &machine);
        let cells: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            cells[1],
            ["pointwise", "forward", "1", "3.000", "75.0%", "0.050", "9.5", "2.000", "1.50×"],
            "{table}"
        );
        assert_eq!(
            cells[2],
            ["relu", "forward", "1", "1.000", "25.0%", "–", "–", "–", "–"],
            "{table}"
        );
        assert_eq!(cells[3][..4], ["all", "2", "4.000", "100.0%"], "{table}");
    }

    #[test]
    fn every_step_of_a_case_is_described_by_its_sizes() {
        let case = crate::cases::named("op/separable-block-5x5/16x32x32").unwrap();
        let [fused, plain] = [true, false].map(|fused| {
            let device = adwp_engine::Device::cpu(1).unwrap();
            let device = if fused { device } else { device.unfused() };
            let network = case.network(Size::Tiny).unwrap();
            let mut subject = Subject::new(&network, &device).unwrap();
            let (_, steps) = subject.once().unwrap();
            let computed: HashSet<&str> = steps.iter().map(|step| &step.node[..]).collect();
            let multiply_adds: u64 = steps.iter().filter_map(|step| step.multiply_adds).sum();
            let what: HashSet<String> =
                steps.iter().map(|step| described(&network.graph, step, &computed).0).collect();
            (what, multiply_adds)
        });
        assert!(
            fused.0.contains("depthwise 5×5 + pointwise") && !fused.0.contains("pointwise"),
            "{fused:?}"
        );
        assert!(plain.0.contains("depthwise 5×5") && plain.0.contains("pointwise"), "{plain:?}");
        assert_eq!(fused.1, plain.1);
    }
}
