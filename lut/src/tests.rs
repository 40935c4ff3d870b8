//! The whole crate with latencies that are exactly the sums of their operations'.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;

use adwp_engine::{Graph, Op};
use adwp_measure::machine::Machine;
use adwp_measure::runtime::Runtime;
use adwp_models::{
    Blueprint, Choices, Genotype, Intensive, IntensiveSpace, NODES, Operation, Skeleton, Space,
    Stem,
};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::calibration::NETWORKS;
use crate::measure::HELD_OUT;
use crate::{LatencyTable, LutError, Networks, Result, Setup, Stopwatch, Timeable, Timing, check};

const CIFAR: Skeleton =
    Skeleton { stem: Stem::Cifar, cells: 5, channels: 6, classes: 10, image: [3, 28, 28] };
const IMAGENET: Skeleton =
    Skeleton { stem: Stem::Imagenet, cells: 4, channels: 8, classes: 20, image: [3, 64, 96] };
const STAGED: Skeleton = Skeleton { cells: 3, channels: 4, ..CIFAR };

fn cifar() -> Networks {
    Networks::darts(CIFAR, 2)
}

fn draw(of: &Networks, seed: u64) -> Blueprint {
    of.sample(1, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap().swap_remove(0)
}

/// A machine on which every operation takes a time of its own, whatever stands beside it, and every
/// run half a millisecond more.
struct Additive {
    /// Networks that were timed.
    timed: usize,
    /// How many times as slow as at its quietest it is. The yardstick takes a millisecond then.
    slowdown: f64,
    /// What the yardstick is known to take.
    yardstick_ms: f64,
}

impl Additive {
    fn slow(slowdown: f64) -> Self {
        Self { timed: 0, slowdown, yardstick_ms: slowdown }
    }
}

impl Default for Additive {
    fn default() -> Self {
        Self::slow(1.0)
    }
}

impl Stopwatch for Additive {
    fn setup(&self) -> Setup {
        let machine = Machine {
            cpu: "additive".into(),
            cores: 1,
            affinity: None,
            memory_bytes: None,
            os: "none".into(),
            arch: "none".into(),
            load_before: None,
            load_after: None,
            mhz_before: None,
            mhz_after: None,
        };
        Setup {
            machine,
            runtime: Runtime::Tract,
            runtime_version: "1".into(),
            optimization: "none".into(),
            threads: 1,
            batch: 1,
            yardstick: cifar(),
        }
    }

    fn yardstick_ms(&self) -> f64 {
        self.yardstick_ms
    }

    fn remember(&mut self, yardstick_ms: f64) {
        self.yardstick_ms = self.yardstick_ms.min(yardstick_ms);
    }

    fn time(
        &mut self,
        networks: &[Timeable],
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Timing>> {
        self.timed += networks.len();
        progress(networks.len());
        let seen = self.slowdown / self.yardstick_ms;
        let timing = |network: &Timeable| Timing {
            ms: self.slowdown * latency(&network.graph) / seen,
            slowdown: seen,
            runs: 1,
        };
        Ok(networks.iter().map(timing).collect())
    }
}

/// Milliseconds on the additive machine: up to one for each operation, as what it is and the shapes
/// of its operands say.
fn latency(graph: &Graph) -> f64 {
    let operation = |op: &Op, shapes: Vec<Vec<usize>>| {
        let mut hasher = DefaultHasher::new();
        (format!("{op:?}"), shapes).hash(&mut hasher);
        (hasher.finish() % 1_000_000) as f64 / 1e6
    };
    let nodes =
        graph.nodes().filter(|(_, node)| !matches!(node.op, Op::Input | Op::Parameter { .. }));
    0.5 + nodes
        .map(|(_, node)| {
            operation(&node.op, node.inputs.iter().map(|&x| graph[x].shape.to_vec()).collect())
        })
        .sum::<f64>()
}

fn measured(of: &Networks) -> LatencyTable {
    let mut table = LatencyTable::new(&Additive::default());
    measure(&mut table, of, &mut Additive::default());
    table
}

fn measure(table: &mut LatencyTable, of: &Networks, stopwatch: &mut Additive) {
    table.measure(of, stopwatch, &mut |_| Ok(()), &mut |_, _| ()).unwrap();
}

/// The table without every second entry.
fn halved(table: &LatencyTable) -> LatencyTable {
    let mut half = LatencyTable::new(&Additive::default());
    table.entries().iter().step_by(2).cloned().for_each(|entry| half.insert(entry));
    half
}

#[track_caller]
fn assert_close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-6 * b.abs(), "{a} {b}");
}

#[test]
fn latencies_that_add_up_are_predicted_exactly() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let darts = [(CIFAR, 2), (CIFAR, 1), (CIFAR, 3), (IMAGENET, 2), (IMAGENET, 1)];
    let darts = darts.map(|(skeleton, keep)| Networks::darts(skeleton, keep));
    for of in darts.into_iter().chain([Networks::named("nas-bench-201", STAGED)]) {
        let table = measured(&of);
        let calibration = table.calibration(&of).unwrap();
        assert!(
            (calibration.factor - 1.0).abs() < 1e-6 && calibration.offset_ms.abs() < 1e-5,
            "{calibration:?}"
        );
        for blueprint in of.sample(40, &mut rng).unwrap() {
            let network = Timeable::whole(&blueprint).unwrap();
            assert_close(table.predict(&blueprint).unwrap(), latency(&network.graph));
        }
    }
}

#[test]
fn choices_add_up_to_the_prediction_where_nothing_falls_away_or_is_shared() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let table = measured(&cifar());
    let (mut equal, mut less) = (0, 0);
    for _ in 0..60 {
        // Nodes that sum all of their candidates leave no ReLU out that a candidate asks for.
        let k = if equal + less < 40 { 2 } else { 5 };
        let drawn = IntensiveSpace::random(k, &mut rng).unwrap();
        let space = Intensive::new(drawn.clone(), CIFAR, 2).unwrap();
        let choices = space.sample(&mut rng);
        let summed = table.choice_costs(&space, &cifar()).unwrap().of(&choices);
        let predicted = table.predict(&Blueprint::of(&space, &choices).unwrap()).unwrap();
        let genotype = space.cells_of(&choices).unwrap();
        if k == 2 && reads_both_inputs(&genotype) && !shares_a_crop(&drawn) {
            equal += 1;
            assert_close(summed, predicted);
        } else {
            less += 1;
            assert!(summed > predicted - 1e-6, "{summed} {predicted}");
        }
    }
    assert!(equal > 4 && less > 4, "{equal} {less}");
}

#[test]
fn choices_of_a_second_space_add_up_to_at_least_the_prediction() {
    let of = Networks::named("nas-bench-201", STAGED);
    let (table, space) = (measured(&of), of.space().unwrap());
    let costs = table.choice_costs(&*space, &of).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for _ in 0..40 {
        // A convolution or a pool on every edge: every node sums as many terms as it can.
        let mut choices = space.sample(&mut rng);
        choices.0.iter_mut().for_each(|kept| kept[0] = 2 + kept[0] % 3);
        let predicted = table.predict(&Blueprint::of(&*space, &choices).unwrap()).unwrap();
        assert!(costs.of(&choices) > predicted - 1e-6, "{choices:?}");
    }
    // A convolution on every edge leaves nothing out.
    let full = Choices(vec![vec![3]; 6]);
    let predicted = table.predict(&Blueprint::of(&*space, &full).unwrap()).unwrap();
    assert_close(costs.of(&full), predicted);
}

fn reads_both_inputs(genotype: &Genotype) -> bool {
    genotype
        .cells
        .iter()
        .all(|cell| (0..2).all(|input| cell.nodes.iter().flatten().any(|pair| pair.input == input)))
}

/// Whether two factorised reductions of a reduction cell read the same input.
fn shares_a_crop(space: &IntensiveSpace) -> bool {
    let reduced = space
        .reduction
        .iter()
        .flatten()
        .filter(|pair| pair.op == Operation::Identity && pair.input < 2);
    let inputs: Vec<usize> = reduced.map(|pair| pair.input).collect();
    inputs.len() > inputs.iter().collect::<HashSet<_>>().len()
}

#[test]
fn a_table_with_half_of_its_entries_measures_the_rest_and_no_more() {
    let whole = measured(&cifar());
    let mut table = halved(&whole);
    let lacks = |entry: &&crate::Entry| table.entry(&entry.part).is_none();
    let lacking: Vec<_> = whole.entries().iter().filter(lacks).cloned().collect();
    let mut stopwatch = Additive::default();
    let (mut saved, mut heard) = (Vec::new(), Vec::new());
    let mut save = |table: &LatencyTable| {
        saved.push((table.entries().len(), table.calibrations().len()));
        Ok(())
    };
    let new = table
        .measure(&cifar(), &mut stopwatch, &mut save, &mut |done, all| heard.push((done, all)))
        .unwrap();
    // The classifier is timed alone, every other part with and without.
    let of_parts = lacking.iter().map(|entry| 1 + usize::from(entry.without.is_some()));
    let timed = of_parts.sum::<usize>() + NETWORKS + HELD_OUT.0.get();
    assert_eq!((new, stopwatch.timed), (lacking.len(), timed));
    assert_eq!(table, whole);
    assert!(saved.is_sorted() && saved.len() > 2, "{saved:?}");
    assert_eq!(saved.last(), Some(&(whole.entries().len(), 1)));
    assert!(
        heard.is_sorted() && heard.last() == Some(&(stopwatch.timed, stopwatch.timed)),
        "{heard:?}"
    );

    let again = table
        .measure(&cifar(), &mut stopwatch, &mut |_| panic!("nothing to save"), &mut |_, _| ())
        .unwrap();
    assert_eq!((again, stopwatch.timed), (0, timed));
}

#[test]
fn a_complete_table_knows_how_well_it_predicts() {
    let table = measured(&cifar());
    let held_out = table.calibration(&cifar()).unwrap().held_out.unwrap();
    assert!(
        held_out.networks == 30 && held_out.mean_error < 1e-5 && held_out.worst_error < 1e-4,
        "{held_out:?}"
    );

    // Stopped after the calibration, on a table that is wrong by a quarter, and gone on with while
    // the machine is at its quietest.
    let mut stopped = measured(&cifar());
    let calibration = stopped.calibration(&cifar()).unwrap().clone();
    let (factor, offset_ms) = (0.75 * calibration.factor, 0.75 * calibration.offset_ms);
    stopped.calibrate(crate::Calibration { factor, offset_ms, held_out: None, ..calibration });
    let mut stopwatch = Additive::slow(0.5);
    measure(&mut stopped, &cifar(), &mut stopwatch);
    let held_out = stopped.calibration(&cifar()).unwrap().held_out.unwrap();
    assert_eq!(stopwatch.timed, 30);
    assert!(
        (held_out.mean_error - 0.25).abs() < 1e-4 && (held_out.worst_error - 0.25).abs() < 1e-4,
        "{held_out:?}"
    );
}

#[test]
fn a_table_is_brought_to_the_quietest_moment_of_all() {
    let whole = measured(&cifar());
    // The first part is measured while the machine is half as fast, and has never been faster.
    let mut table = LatencyTable::new(&Additive::slow(2.0));
    measure(&mut table, &cifar(), &mut Additive::slow(2.0));
    let network = draw(&cifar(), 8);
    let quiet_ms = whole.predict(&network).unwrap();
    assert_close(table.predict(&network).unwrap(), 2.0 * quiet_ms);
    assert_eq!(table.disturbed(), 0);
    let deeper = Networks::darts(Skeleton { cells: 8, ..CIFAR }, 2);
    measure(&mut table, &deeper, &mut Additive::default());
    assert_close(table.predict(&network).unwrap(), quiet_ms);
    assert_eq!((table.disturbed(), table.yardstick_ms()), (whole.entries().len(), 1.0));
    // What is measured while the machine is slow again is told from the table's yardstick.
    let wider = Networks::darts(Skeleton { channels: 10, ..CIFAR }, 2);
    measure(&mut table, &wider, &mut Additive::slow(1.5));
    let network = draw(&wider, 9);
    assert_close(
        table.predict(&network).unwrap(),
        latency(&Timeable::whole(&network).unwrap().graph),
    );
}

#[test]
fn a_table_serves_several_skeletons() {
    let mut table = measured(&cifar());
    let deeper = Networks::darts(Skeleton { cells: 8, ..CIFAR }, 2);
    let network = draw(&deeper, 3);
    let error = table.predict(&network).unwrap_err();
    assert!(matches!(&error, LutError::Missing { .. }), "{error}");
    let before = table.entries().len();
    measure(&mut table, &deeper, &mut Additive::default());
    assert!(table.entries().len() - before < before / 4, "cells of one size have one entry");
    assert_eq!(table.calibrations().len(), 2);
    table.predict(&network).unwrap();
}

#[test]
fn what_is_lacking_is_named_with_the_command_that_measures_it() {
    let table = measured(&cifar());
    let wider = Networks::darts(Skeleton { channels: 7, ..CIFAR }, 2);
    let network = draw(&wider, 4);
    let error = table.predict(&network).unwrap_err();
    let stem = "x0 3×28×28 → conv2d(x0 21×3×3×3 21) padding 1×1 21×28×28";
    assert_eq!(error.to_string(), format!("the latency table has no {stem}"));
    let command = "adwp lut build --cells 5 --channels 7 --image 3x28x28 --classes 10 --stem \
                   cifar --keep 2 --out TABLE --resume";
    assert!(error.hint().unwrap().contains(command), "{error:?}");
    let space = IntensiveSpace::random(4, &mut ChaCha8Rng::seed_from_u64(5)).unwrap();
    let space = Intensive::new(space, CIFAR, 3).unwrap();
    let error = table.choice_costs(&space, &Networks::darts(CIFAR, 3)).unwrap_err();
    assert!(
        error.to_string().contains("calibration") && error.hint().unwrap().contains("--keep 3"),
        "{error}"
    );
}

#[test]
fn files_hold_all_of_a_table_and_unknown_keys_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lut.json");
    let table = measured(&cifar());
    table.write(&path).unwrap();
    assert_eq!(LatencyTable::read(&path).unwrap(), table);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"ms\": ", "\"ms\": 1", 1)).unwrap();
    let damaged = LatencyTable::read(&path).unwrap_err().to_string();
    assert!(damaged.contains("take its key `checksum` out"), "{damaged}");
    // As someone writes it by hand.
    let text = adwp_base::output::as_json(&table).unwrap();
    let refused = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let message = LatencyTable::read(&path).unwrap_err().to_string();
        assert!(message.contains("lut.json"), "{message}");
        message
    };
    assert!(
        refused("adwp/latency-table/2", "adwp/latency-table/3")
            .contains("unknown schema \"adwp/latency-table/3\"")
    );
    for known in [
        "version",
        "runtime_version",
        "cpu",
        "copies",
        "slowdown",
        "yardstick_ms",
        "offset_ms",
        "stem",
        "sum_ms",
    ] {
        assert!(
            refused(&format!("\"{known}\""), &format!("\"{known}x\""))
                .contains(&format!("{known}x")),
            "{known}"
        );
    }
    let first = &table.entries()[0].part;
    let negative = text.replacen("\"ms\": ", "\"ms\": -", 1);
    std::fs::write(&path, negative).unwrap();
    let message = LatencyTable::read(&path).unwrap_err().to_string();
    assert!(message.contains(&format!("the entry for {first} has -")), "{message}");
    let twice = refused(&table.entries()[1].part, first);
    assert!(twice.contains(&format!("two entries for {first}")), "{twice}");
}

#[test]
fn a_table_takes_only_what_is_measured_as_it_was() {
    struct Elsewhere;
    impl Stopwatch for Elsewhere {
        fn setup(&self) -> Setup {
            Setup { threads: 2, ..Additive::default().setup() }
        }

        fn yardstick_ms(&self) -> f64 {
            1.0
        }

        fn remember(&mut self, _: f64) {}

        fn time(&mut self, _: &[Timeable], _: &mut dyn FnMut(usize)) -> Result<Vec<Timing>> {
            panic!("nothing is to be timed")
        }
    }
    let error = measured(&cifar())
        .measure(&Networks::darts(IMAGENET, 2), &mut Elsewhere, &mut |_| Ok(()), &mut |_, _| ())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the latency table was measured with the number of threads 1, and this is 2"
    );
}

#[test]
fn a_check_finds_the_error_of_a_table() {
    let mut table = measured(&cifar());
    let networks = NonZeroUsize::new(12).unwrap();
    let run = |table: &LatencyTable| {
        check(table, &cifar(), networks, 7, &mut Additive::default(), &mut |_| ()).unwrap()
    };
    let right = run(&table);
    assert!(
        right.worst_error < 1e-6 && right.mean_error_of_mean > 0.01,
        "{} {}",
        right.worst_error,
        right.mean_error_of_mean
    );
    assert_eq!(right.networks.len(), 12);
    let mut calibration = table.calibration(&cifar()).unwrap().clone();
    (calibration.factor, calibration.offset_ms) =
        (0.75 * calibration.factor, 0.75 * calibration.offset_ms);
    table.calibrate(calibration);
    let wrong = run(&table);
    assert!(
        (wrong.mean_error - 0.25).abs() < 1e-6 && (wrong.networks[3].error + 0.25).abs() < 1e-6,
        "{}",
        wrong.mean_error
    );
}

#[test]
fn drawn_architectures_are_of_all_operations() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let drawn = cifar().sample(50, &mut rng).unwrap();
    let genotypes: Vec<&Genotype> = drawn.iter().filter_map(Blueprint::genotype).collect();
    for node in 0..NODES {
        let pairs = genotypes.iter().flat_map(|g| &g.cells).flat_map(|cell| &cell.nodes[node]);
        assert_eq!(
            pairs.collect::<HashSet<_>>().len(),
            (node + 2) * Operation::CONNECTING.len(),
            "every pair of node {node} is drawn"
        );
    }
    assert!(Networks::darts(CIFAR, 14).space().is_ok());
    for keep in [0, 15] {
        assert!(Networks::darts(CIFAR, keep).space().is_err());
    }
}

#[test]
fn networks_are_cut_where_others_read() {
    let parts = Networks::darts(IMAGENET, 2).parts().unwrap();
    let has = |text: &str| assert!(parts.contains_key(text), "{text}: {:?}", parts.keys());
    // The stem up to the first value that a cell reads; its ReLU is there for all that read it.
    has("x0 3×64×96 → conv2d(x0 4×3×3×3 4) stride 2×2 padding 1×1 4×32×48; relu(y0) 4×32×48; \
         conv2d(y1 8×4×3×3 8) stride 2×2 padding 1×1 8×16×24");
    has("x0 8×16×24 → relu(x0) 8×16×24");
    has("x0 16×4×6 x1 16×4×6 → add(x0 x1) 16×4×6");
    has("x0 8×8×12 → max_pool(x0) of 3 padding 1 8×8×12");
    // Two convolutions of a factorised reduction, of which one reads what was cropped.
    has("x0 16×8×12 x1 16×7×11 → conv2d(x0 8×16×1×1 8) stride 2×2 8×4×6; \
         conv2d(x1 8×16×1×1 8) stride 2×2 8×4×6; concat(y0 y1) 16×4×6");
}
