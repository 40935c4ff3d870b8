use adwp_engine::{Graph, NodeId, Op};

use super::*;

fn entries() -> &'static [ZooEntry] {
    Zoo::embedded().entries()
}

/// Params on CIFAR-10, params and multiply-adds on ImageNet: summed without this crate, module by module of `cnn/model.py` of quark0/darts.
const COUNTS: [(&str, Option<u64>, u64, u64); 7] = [
    ("darts-v1", Some(3_169_414), 4_853_975, 547_483_200),
    ("darts-v2", Some(3_349_342), 4_718_752, 529_911_552),
    ("snas-moderate", Some(2_847_358), 4_312_576, 465_607_872),
    ("gdas", Some(3_368_782), 5_345_075, 581_009_000),
    ("p-darts", Some(3_433_798), 4_944_352, 542_819_328),
    ("pc-darts-cifar10", Some(3_634_678), 5_270_560, 571_137_408),
    ("pc-darts-imagenet", None, 5_342_464, 581_627_328),
];

#[test]
fn counts_are_those_of_the_published_code() {
    let counted: Vec<_> = entries()
        .iter()
        .map(|entry| {
            let on_cifar10 = entry.cifar10.as_ref().map(|network| entry.cost(&network.skeleton()).unwrap().params);
            let on_imagenet = entry.cost(&entry.imagenet.skeleton()).unwrap();
            (entry.name.as_str(), on_cifar10, on_imagenet.params, on_imagenet.madds)
        })
        .collect();
    assert_eq!(counted, COUNTS);
}

#[test]
fn what_differs_from_the_reported_has_a_note() {
    for entry in entries() {
        let cost = entry.cost(&entry.imagenet.skeleton()).unwrap();
        let mut pairs = vec![(cost.params, entry.imagenet.reported_params_m), (cost.madds, entry.imagenet.reported_madds_m)];
        if let Some(network) = &entry.cifar10 {
            pairs.push((entry.cost(&network.skeleton()).unwrap().params, network.reported_params_m));
        }
        let differing = pairs.iter().filter(|(counted, reported)| differs(*counted, *reported)).count();
        assert!(differing == 0 || entry.note.is_some(), "{}: {pairs:?}", entry.name);
    }
    assert!(!differs(3_366_000, 3.3) && differs(3_366_001, 3.3) && differs(3_233_999, 3.3));
}

/// What flops-counter.pytorch, a widely used counter, takes for multiply-adds: those of convolutions and linear layers, 2 for each value of
/// a BatchNorm with scale and shift, 1 for each value that a ReLU gives and 1 for each that a pool reads.
///
/// Published code has a ReLU of its own before each operation. Here operations that read the same tensor share one, so it is counted once
/// for each convolution that reads it; the second convolution of a factorised reduction reads a crop of it, and is left out thereby.
fn flops_counter(graph: &Graph) -> [u64; 4] {
    let elements = |id| graph[id].shape.iter().map(|&d| d as u64).product::<u64>();
    let sum = |of: &dyn Fn(&Op, &[NodeId]) -> u64| graph.nodes().map(|(_, node)| of(&node.op, &node.inputs)).sum::<u64>();
    let norms = sum(&|op, inputs| if matches!(op, Op::BatchNorm(_)) { 2 * elements(inputs[0]) } else { 0 });
    let relus = sum(&|op, inputs| match op {
        Op::Conv2d(_) if matches!(graph[inputs[0]].op, Op::Relu) => elements(inputs[0]),
        _ => 0,
    });
    let pools = sum(&|op, inputs| match op {
        Op::MaxPool(_) | Op::AvgPool(_) | Op::GlobalAvgPool => elements(inputs[0]),
        _ => 0,
    });
    [count(graph).madds, norms, relus, pools]
}

#[test]
fn notes_say_what_flops_counter_pytorch_counts() {
    for entry in entries().iter().filter(|entry| entry.name != "gdas") {
        let skeleton = entry.imagenet.skeleton();
        let network = Discrete::build(&entry.genotype(skeleton.cells).unwrap(), &skeleton, 1, None).unwrap();
        let parts = flops_counter(&network.graph);
        let total = parts.iter().sum::<u64>() as f64 / 1e6;
        let note = entry.note.as_ref().unwrap();
        if total.round() == entry.imagenet.reported_madds_m {
            for part in parts.iter().map(|&part| part as f64 / 1e6).chain([total]) {
                assert!(note.contains(&format!("{part:.2}M")), "{}: {part}M is not in {note}", entry.name);
            }
        } else {
            assert!(note.contains(&format!("{total:.1}M")), "{}: {total}M is not in {note}", entry.name);
            assert!(note.contains("is not known"), "{}: {note}", entry.name);
        }
    }
}

#[test]
fn every_architecture_builds_at_other_sizes() {
    for entry in entries() {
        for stem in [Stem::Cifar, Stem::Imagenet] {
            for cells in [3, 8, 14] {
                let skeleton = Skeleton { stem, cells, channels: 4, classes: 7, image: [1, 64, 96] };
                assert!(entry.cost(&skeleton).unwrap().madds > 0, "{} {skeleton:?}", entry.name);
            }
        }
        assert!(entry.genotype(2).unwrap_err().to_string().contains("at least 3 cells"));
        assert!(entry.genotype(usize::MAX).unwrap_err().to_string().contains("at most"));
    }
}

#[test]
fn cells_are_normal_but_for_two() {
    let darts = Zoo::embedded().find("darts-v2").unwrap();
    let genotype = darts.genotype(8).unwrap();
    for (index, cell) in genotype.cells.iter().enumerate() {
        let expected = if [2, 5].contains(&index) { &darts.reduction } else { &darts.normal };
        assert_eq!(&cell.nodes, expected, "cell {index}");
    }
    assert_eq!(Genotype::from_json(&genotype.to_json()).unwrap(), genotype);
}

#[test]
fn entries_are_in_the_form_that_their_documentation_says() {
    for ZooEntry { name, citation, source, normal, reduction, cifar10, imagenet, .. } in entries() {
        assert!(name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-'), "{name}");
        assert!(normal.iter().chain(reduction).all(|pairs| pairs.is_sorted()), "{name}");
        assert!(source.commit.len() == 40 && source.commit.bytes().all(|c| c.is_ascii_hexdigit()), "{name}");
        assert!(source.repository.split('/').count() == 2 && !citation.authors.is_empty(), "{name}");
        assert!(imagenet.reported_top5_error < imagenet.reported_top1_error, "{name}");
        let errors = [Some(imagenet.reported_top1_error), cifar10.as_ref().map(|network| network.reported_error)];
        assert!(errors.into_iter().flatten().all(|error| (1.0..50.0).contains(&error)), "{name}: errors are percentages");
    }
    assert!(entries().is_sorted_by_key(|entry| entry.citation.year));
}

#[test]
fn unknown_names_are_told_with_the_nearest() {
    let zoo = Zoo::embedded();
    assert_eq!(zoo.find("gdas").unwrap().title, "GDAS");
    let error = zoo.find("pdarts").unwrap_err().to_string();
    assert!(error.contains("\"pdarts\"") && error.contains("p-darts"), "{error}");
    let error = zoo.find("darts-v3").unwrap_err().to_string();
    assert!(error.contains("darts-v1, darts-v2") && !error.contains("gdas"), "{error}");
}

#[test]
fn files_that_are_wrong_are_refused() {
    let text = include_str!("../../zoo/zoo.json");
    let refused = |from: &str, to: &str, why: &str| {
        assert!(text.contains(from), "{from}");
        let error = Zoo::from_json(&text.replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    refused("adwp/zoo/1", "adwp/zoo/2", "unknown schema");
    refused("\"title\"", "\"color\": 1, \"title\"", "color");
    refused("\"reported_error\"", "\"reported_err\"", "reported_err");
    refused("sep_conv_3x3", "sep_conv_9x9", "sep_conv_9x9");
    refused("\"name\": \"darts-v2\"", "\"name\": \"darts-v1\"", "darts-v1: the name is there twice");
    refused("{ \"input\": 0, \"op\": \"sep_conv_3x3\" }, ", "", "sums 1 pairs");
    refused("\"input\": 2", "\"input\": 7", "darts-v1: genotype: cell");
    refused("\"cells\": 20", "\"cells\": 2", "at least 3 cells");
    let again = serde_json::to_string(Zoo::embedded()).unwrap();
    assert_eq!(&Zoo::from_json(&again).unwrap(), Zoo::embedded());
}
