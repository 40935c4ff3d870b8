use adwp_engine::{Graph, NodeId, Op};

use super::*;
use crate::cost::count;
use crate::{Bounds, Heads, Skeleton};

fn entries() -> &'static [ZooEntry] {
    Zoo::embedded().entries()
}

fn published(entry: &ZooEntry, stem: Stem) -> Option<Blueprint> {
    entry.published(stem).unwrap()
}

/// The entries that are cells of the DARTS space.
fn of_cells() -> impl Iterator<Item = (&'static ZooEntry, &'static Cells)> {
    entries().iter().filter_map(|entry| match &entry.architecture {
        Architecture::Cells(cells) => Some((entry, cells)),
        Architecture::WideCells(_) | Architecture::Handmade(_) | Architecture::Member(_) => None,
    })
}

/// Name, params on CIFAR-10, params and multiply-adds on ImageNet.
type Counts = (&'static str, Option<u64>, Option<(u64, u64)>);

/// Summed without this crate, module by module of the published code, or of the cells in the
/// skeleton.
const COUNTS: [Counts; 24] = [
    ("inception-v1", None, Some((6_624_904, 1_498_376_192))),
    ("densenet-bc-100", Some(769_162), None),
    ("densenet-bc-190", Some(25_624_430), None),
    ("mobilenet-v1", None, Some((4_231_976, 568_740_352))),
    ("mobilenet-v2", None, Some((3_504_872, 300_774_272))),
    ("shufflenet-v2", None, Some((2_278_604, 144_907_992))),
    ("nasnet-a", Some(3_328_234), Some((5_289_646, 554_699_552))),
    ("pnas", Some(3_176_602), Some((5_067_037, 592_048_224))),
    ("enas", Some(3_729_430), None),
    ("darts-v1", Some(3_169_414), Some((4_853_975, 547_483_200))),
    ("darts-v2", Some(3_349_342), Some((4_718_752, 529_911_552))),
    ("amoebanet-a", Some(3_207_106), Some((5_092_175, 560_350_600))),
    ("amoebanet-b", Some(2_826_082), Some((5_303_054, 612_711_528))),
    ("amoebanet-c", None, Some((6_348_875, 671_124_000))),
    ("snas-moderate", Some(2_847_358), Some((4_312_576, 465_607_872))),
    ("gdas", Some(3_368_782), Some((5_345_075, 581_009_000))),
    ("gdas-frc", Some(2_543_014), Some((4_430_386, 496_733_952))),
    ("p-darts", Some(3_433_798), Some((4_944_352, 542_819_328))),
    ("mobilenet-v3-large", None, Some((5_483_032, 216_589_760))),
    ("mobilenet-v3-small", None, Some((2_542_856, 56_510_400))),
    ("efficientnet-b0", None, Some((5_288_548, 385_814_752))),
    ("efficientnet-lite0", None, Some((4_652_008, 385_187_552))),
    ("pc-darts-cifar10", Some(3_634_678), Some((5_270_560, 571_137_408))),
    ("pc-darts-imagenet", None, Some((5_342_464, 581_627_328))),
];

#[test]
fn counts_are_those_of_the_published_code() {
    let cost = |entry, stem| published(entry, stem).map(|network| network.cost().unwrap());
    let counted: Vec<_> = entries()
        .iter()
        .map(|entry| {
            let (on_cifar10, on_imagenet) = (cost(entry, Stem::Cifar), cost(entry, Stem::Imagenet));
            (
                entry.name.as_str(),
                on_cifar10.map(|cost| cost.params),
                on_imagenet.map(|cost| (cost.params, cost.madds)),
            )
        })
        .collect();
    assert_eq!(counted, COUNTS);
}

#[test]
fn what_differs_from_the_reported_has_a_note() {
    for entry in entries() {
        let mut pairs = Vec::new();
        if let Some(reported) = &entry.cifar10 {
            pairs.push((
                published(entry, Stem::Cifar).unwrap().cost().unwrap().params,
                reported.reported_params_m,
            ));
        }
        if let Some(reported) = &entry.imagenet {
            let cost = published(entry, Stem::Imagenet).unwrap().cost().unwrap();
            pairs.extend([
                (cost.params, reported.reported_params_m),
                (cost.madds, reported.reported_madds_m),
            ]);
        }
        let differing =
            pairs.iter().filter(|(counted, reported)| differs(*counted, *reported)).count();
        assert!(differing == 0 || entry.note.is_some(), "{}: {pairs:?}", entry.name);
    }
    assert!(!differs(3_366_000, 3.3) && differs(3_366_001, 3.3) && differs(3_233_999, 3.3));
}

/// What flops-counter.pytorch, a widely used counter, takes for multiply-adds: those of
/// convolutions and linear layers, 2 for each value of a BatchNorm with scale and shift, 1 for each
/// value that a ReLU gives and 1 for each that a pool reads.
///
/// Published code has a ReLU of its own before each operation. Here operations that read the same
/// tensor share one, so it is counted once for each convolution that reads it; the second
/// convolution of a factorised reduction reads a crop of it, and is left out thereby.
fn flops_counter(graph: &Graph) -> [u64; 4] {
    let elements = |id| graph[id].shape.iter().map(|&d| d as u64).product::<u64>();
    let sum = |of: &dyn Fn(&Op, &[NodeId]) -> u64| {
        graph.nodes().map(|(_, node)| of(&node.op, &node.inputs)).sum::<u64>()
    };
    let norms =
        sum(&|op, inputs| if matches!(op, Op::BatchNorm(_)) { 2 * elements(inputs[0]) } else { 0 });
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
    for (entry, _) in of_cells().filter(|(entry, _)| entry.name != "gdas") {
        let (network, reported) = (
            published(entry, Stem::Imagenet).unwrap().build(1, None).unwrap(),
            entry.imagenet.as_ref().unwrap(),
        );
        let parts = flops_counter(&network.graph);
        let total = parts.iter().sum::<u64>() as f64 / 1e6;
        let note = entry.note.as_ref().unwrap();
        if total.round() == reported.reported_madds_m {
            for part in parts.iter().map(|&part| part as f64 / 1e6).chain([total]) {
                assert!(
                    note.contains(&format!("{part:.2}M")),
                    "{}: {part}M is not in {note}",
                    entry.name
                );
            }
        } else {
            assert!(
                note.contains(&format!("{total:.1}M")),
                "{}: {total}M is not in {note}",
                entry.name
            );
            assert!(note.contains("is not known"), "{}: {note}", entry.name);
        }
    }
}

#[test]
fn every_architecture_builds_at_other_sizes() {
    for (entry, of_entry) in of_cells() {
        for stem in [Stem::Cifar, Stem::Imagenet] {
            for cells in [3, 8, 14] {
                let skeleton =
                    Skeleton { stem, cells, channels: 4, classes: 7, image: [1, 64, 96] };
                let network =
                    Blueprint::Cells { genotype: of_entry.genotype(cells).unwrap(), skeleton };
                assert!(network.cost().unwrap().madds > 0, "{} {skeleton:?}", entry.name);
            }
        }
        assert!(of_entry.genotype(2).unwrap_err().to_string().contains("at least 3 cells"));
        assert!(of_entry.genotype(usize::MAX).unwrap_err().to_string().contains("at most"));
    }
}

#[test]
fn wide_cells_build_at_other_sizes_and_for_training() {
    for entry in entries() {
        let Architecture::WideCells(cells) = &entry.architecture else { continue };
        for stem in [Stem::Cifar, Stem::Imagenet] {
            let skeleton = Skeleton { stem, cells: 5, channels: 4, classes: 7, image: [1, 64, 96] };
            let heads = Heads { auxiliary: 0.4, drop_path: true, dropout: true, ..Heads::PLAIN };
            let training = cells.build(&skeleton, 2, Some(heads)).unwrap().training.unwrap();
            assert!(
                !training.masks.is_empty() && training.dropout.is_some(),
                "{}: its operations can be dropped",
                entry.name
            );
        }
    }
}

/// The networks with builders of their own, without the largest.
fn handmade() -> impl Iterator<Item = (&'static str, Handmade)> {
    entries().iter().filter(|entry| entry.name != "densenet-bc-190").filter_map(|entry| match entry
        .architecture
    {
        Architecture::Handmade(network) => Some((entry.name.as_str(), network)),
        Architecture::Cells(_) | Architecture::WideCells(_) | Architecture::Member(_) => None,
    })
}

#[test]
fn every_handmade_network_builds_at_other_sizes_and_for_training() {
    let widths = [Width::LEAST, Width::PUBLISHED, Width::of_thousandths(1337)];
    let all = handmade().flat_map(|named| widths.map(|width| (named, width)));
    for ((name, network), width) in all {
        let heads = Heads { drop_path: true, dropout: true, ..Heads::PLAIN };
        let masks = network
            .build(width, [3, 64, 64], 7, 2, Some(heads))
            .unwrap()
            .training
            .unwrap()
            .masks
            .len();
        assert_eq!(masks > 0, network.has_residuals(), "{name}: residuals can be dropped");
        for image in [[3, 32, 32], [1, 45, 70]] {
            let net = network.build(width, image, 7, 2, None).unwrap();
            assert_eq!(&net.graph[net.logits].shape[..], [2, 7], "{name}");
            let heads = Heads {
                auxiliary: 0.4,
                drop_path: true,
                dropout: true,
                smoothing: 0.1,
                exits: false,
            };
            let net = network.build(width, image, 7, 2, Some(heads)).unwrap();
            let training = net.training.unwrap();
            assert_eq!(&net.graph[training.loss].shape[..], [1], "{name}");
            let dropped = &net.graph[training.dropout.unwrap()].shape;
            let last = &net.graph[net.graph.find("classifier/linear/weight").unwrap()].shape;
            assert_eq!(dropped[..], [2, last[1]], "{name}: what the last linear layer reads");
            assert!((0.0..0.5).contains(&network.dropout()), "{name}");
        }
        for (image, classes, why) in [
            ([3, 3, 32], 7, "too small"),
            ([3, 32, 32], 1, "at least 2"),
            ([0, 32, 32], 7, "at least 1"),
        ] {
            let error = network.build(width, image, classes, 1, None).unwrap_err().to_string();
            assert!(error.contains(why), "{name}: {error}");
        }
    }
    for (network, why) in [
        (Handmade::DensenetBc { depth: 99, growth: 12 }, "6n + 4"),
        (Handmade::DensenetBc { depth: 4, growth: 12 }, "6n + 4"),
        (Handmade::DensenetBc { depth: 100, growth: usize::MAX }, "growth"),
    ] {
        let error =
            network.build(Width::PUBLISHED, [3, 32, 32], 10, 1, None).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn wider_and_narrower_networks_cost_what_was_published() {
    // Millions of multiply-adds and of params. Of MobileNetV2 those of the checkpoints of
    // `research/slim/nets/mobilenet/README.md` in tensorflow/models, of MobileNet the multiply-adds
    // of Howard et al., 2017, Table 6.
    for (name, width, madds, params) in [
        ("mobilenet-v1", 0.75, 325.0, None),
        ("mobilenet-v1", 0.5, 149.0, None),
        ("mobilenet-v1", 0.25, 41.0, None),
        ("mobilenet-v2", 1.4, 582.0, Some(6.06)),
        ("mobilenet-v2", 1.3, 509.0, Some(5.34)),
        ("mobilenet-v2", 0.75, 209.0, Some(2.61)),
        ("mobilenet-v2", 0.5, 97.0, Some(1.95)),
        ("mobilenet-v2", 0.35, 59.0, Some(1.66)),
    ] {
        let width = Some(Width::try_from(width).unwrap());
        let sizes = Sizes { stem: Some(Stem::Imagenet), width, ..Sizes::default() };
        let cost = Zoo::embedded().find(name).unwrap().network(sizes).unwrap().cost().unwrap();
        assert!(!differs(cost.madds, madds), "{name} {width:?}: {} and {madds}", cost.madds);
        let is_other = params.is_some_and(|params| differs(cost.params, params));
        assert!(!is_other, "{name} {width:?}: {} and {params:?}", cost.params);
    }
}

#[test]
fn channels_are_rounded_as_in_torchvision() {
    // Multiply-adds of convolutions and linear layers and parameters of `mobilenet_v2(width_mult)`,
    // `mobilenet_v3_large(width_mult)`, `mobilenet_v3_small(width_mult)` and `EfficientNet` with
    // `_efficientnet_conf` of B0's name and a `width_mult`, in torchvision 0.29.
    for (name, width, madds, params) in [
        ("mobilenet-v2", 0.35, 59_285_808, 1_677_128),
        ("mobilenet-v2", 1.4, 582_195_824, 6_108_776),
        ("mobilenet-v3-large", 0.35, 35_278_408, 997_064),
        ("mobilenet-v3-large", 0.75, 140_033_816, 3_377_576),
        ("mobilenet-v3-large", 1.4, 414_926_736, 9_989_328),
        ("mobilenet-v3-small", 0.35, 11_238_936, 558_744),
        ("mobilenet-v3-small", 0.75, 39_115_576, 1_653_920),
        ("mobilenet-v3-small", 1.4, 103_657_088, 4_373_824),
        ("efficientnet-b0", 0.35, 66_033_264, 984_128),
        ("efficientnet-b0", 0.75, 266_864_496, 3_332_440),
        ("efficientnet-b0", 1.4, 743_811_776, 9_670_210),
    ] {
        let width = Some(Width::try_from(width).unwrap());
        let sizes = Sizes { stem: Some(Stem::Imagenet), width, ..Sizes::default() };
        let cost = Zoo::embedded().find(name).unwrap().network(sizes).unwrap().cost().unwrap();
        assert_eq!((cost.madds, cost.params), (madds, params), "{name} {width:?}");
    }
}

#[test]
fn a_network_of_any_kind_is_as_wide_as_a_price_allows() {
    for (name, network) in handmade() {
        let (image, classes) = ([3, 32, 32], 10);
        let network = Blueprint::Handmade { network, width: Width::PUBLISHED, image, classes };
        for madds in [8_000_000, 30_000_000] {
            let bounds = Bounds { params: None, madds: Some(madds) };
            let found = network.widest(bounds).unwrap();
            let taken = found.cost().unwrap().madds;
            assert!(taken <= madds, "{name}");
            // A step is 8 channels somewhere, of a DenseNet its whole growth.
            let is_coarse = name.starts_with("densenet");
            assert!(is_coarse || 20 * taken > 17 * madds, "{name}: {taken} of {madds}");
            let wider = Width::of_thousandths(found.width().unwrap().thousandths() + 1);
            assert!(found.with_width(wider).cost().unwrap().madds > madds, "{name}");
        }
    }
}

#[test]
fn cells_are_normal_but_for_two() {
    let (_, darts) = of_cells().find(|(entry, _)| entry.name == "darts-v2").unwrap();
    let genotype = darts.genotype(8).unwrap();
    for (index, cell) in genotype.cells.iter().enumerate() {
        let expected = if [2, 5].contains(&index) { &darts.reduction } else { &darts.normal };
        assert_eq!(&cell.nodes, expected, "cell {index}");
    }
    assert_eq!(Genotype::from_json(&genotype.to_json()).unwrap(), genotype);
}

#[test]
fn entries_are_in_the_form_that_their_documentation_says() {
    for ZooEntry { name, citation, source, cifar10, imagenet, .. } in entries() {
        assert!(
            name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-'),
            "{name}"
        );
        assert!(
            source.commit.len() == 40 && source.commit.bytes().all(|c| c.is_ascii_hexdigit()),
            "{name}"
        );
        assert!(
            source.repository.split('/').count() == 2 && !citation.authors.is_empty(),
            "{name}"
        );
        let (top1, top5) = (
            imagenet.as_ref().map(|n| n.reported_top1_error),
            imagenet.as_ref().and_then(|n| n.reported_top5_error),
        );
        assert!(top1 > top5 || top1.is_none(), "{name}");
        let errors = [top1, cifar10.as_ref().map(|network| network.reported_error)];
        assert!(
            errors.into_iter().flatten().all(|error| (1.0..50.0).contains(&error)),
            "{name}: errors are percentages"
        );
    }
    assert!(of_cells().all(|(_, cells)| {
        cells.normal.iter().chain(&cells.reduction).all(|pairs| pairs.is_sorted())
    }));
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
        // The first place at which it stands in the entry that the error names, or in the file.
        let entry = why
            .split_once(": ")
            .and_then(|(name, _)| text.find(&format!("\"name\": \"{name}\"")))
            .unwrap_or(0);
        let (before, rest) = text.split_at(entry);
        assert!(rest.contains(from), "{from}");
        let error = Zoo::from_json(&(before.to_owned() + &rest.replacen(from, to, 1)))
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{error}");
    };
    refused("adwp/zoo/2", "adwp/zoo/1", "unknown schema");
    refused("\"title\"", "\"color\": 1, \"title\"", "color");
    refused("\"reported_error\"", "\"reported_err\"", "reported_err");
    refused("sep_conv_3x3", "sep_conv_9x9", "sep_conv_9x9");
    refused(
        "\"name\": \"darts-v2\"",
        "\"name\": \"darts-v1\"",
        "darts-v1: the name is there twice",
    );
    refused("{ \"input\": 0, \"op\": \"sep_conv_3x3\" }, ", "", "darts-v1: a node sums 1 pairs");
    refused("\"input\": 2", "\"input\": 7", "darts-v1: genotype: cell");
    refused("\"cells\": 20", "\"cells\": 2", "at least 3 cells");
    refused("\"stack\": { \"cells\": 20, \"channels\": 36 },", "", "darts-v1: a stack belongs to");
    refused(
        "\"imagenet\": {",
        "\"imagenet\": { \"stack\": { \"cells\": 8, \"channels\": 8 },",
        "inception-v1: a stack belongs to",
    );
    refused("\"handmade\": \"mobilenet_v1\"", "\"handmade\": \"mobilenet_v0\"", "mobilenet_v0");
    refused(
        "\"output\": [0, 2,",
        "\"output\": [2, 0,",
        "nasnet-a: normal cell: its output must be",
    );
    refused(
        "{ \"input\": 3, \"op\": \"identity\" }",
        "{ \"input\": 5, \"op\": \"identity\" }",
        "nasnet-a: reduction cell: node 3 reads",
    );
    refused(
        "{ \"input\": 1, \"op\": \"conv_1x3_3x1_g8\" }",
        "",
        "gdas-frc: reduction cell: node 1 sums 0 pairs",
    );
    refused("\"depth\": 100", "\"depth\": 101", "6n + 4");
    let again = serde_json::to_string(Zoo::embedded()).unwrap();
    assert_eq!(&Zoo::from_json(&again).unwrap(), Zoo::embedded());
}
