use adwp_base::{Failure, Result, output};
use adwp_models::{Blueprint, Genotype, Sizes, Skeleton, Stem};
use adwp_train::Reporter;

use super::zoo;
use crate::architecture::{PREFIX, RunArchitecture};
use crate::args::CostArgs;

/// Counts what a network takes, by its architecture or its file, and prints it.
pub(crate) fn cost(args: &CostArgs, as_json: bool, reporter: &mut dyn Reporter) -> Result {
    let published = args.what.to_str().and_then(|what| what.strip_prefix(PREFIX));
    let is_json = args.what.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
    let sizes = args.sizes.sizes();
    let refused = |what: &str, flags: &str| {
        let failure = Failure::input(format!("{}: {what}", args.what.display()));
        Err(failure.hint(format!(
            "{flags} for the architectures of `adwp zoo list`, such as zoo:darts-v2"
        )))
    };
    if (published.is_some() || is_json) && !args.input.is_empty() {
        let failure = Failure::input("--input: shapes of inputs are for files of ONNX");
        return Err(failure.hint("--image is for architectures"));
    }
    let mut cost = match published {
        Some(name) => zoo::network(name, &args.sizes, reporter)?.cost()?,
        None if is_json => {
            let architecture = RunArchitecture::given(&args.what)?;
            let is_genotype = matches!(architecture, RunArchitecture::Genotype(_));
            let blueprint = match architecture {
                RunArchitecture::Genotype(_) if sizes.cells.is_some() => {
                    return refused("a genotype has its own number of cells", "--cells is");
                }
                RunArchitecture::Genotype(_) if sizes.width.is_some() => {
                    return refused("a genotype has channels, not a width", "--width is");
                }
                RunArchitecture::Genotype(genotype) => of_genotype(genotype, sizes),
                RunArchitecture::Named(named) => named.network(sizes)?,
            };
            let network = zoo::sized(blueprint, &args.sizes, reporter)?;
            if is_genotype {
                say_sizes(&network, sizes, reporter);
            }
            network.cost()?
        }
        None if sizes != Sizes::default() || args.sizes.bounds().is_some() => {
            return refused(
                "a network in a file has its own sizes",
                "flags of sizes are for genotypes and",
            );
        }
        None => {
            return output::data(&adwp_edge::cost(&args.what, &args.input, args.layers, as_json)?);
        }
    };
    if !args.layers {
        cost.layers.clear();
    }
    if as_json {
        return output::json(&cost);
    }
    let mut text = String::new();
    if args.layers {
        let width = cost.layers.iter().map(|layer| layer.name.len()).max().unwrap_or(0);
        for layer in &cost.layers {
            let shape = layer.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×");
            text += &format!(
                "{:<width$}  {:<10} {:>16} {:>12} {:>14}\n",
                layer.name, layer.op, shape, layer.params, layer.madds
            );
        }
        text += "\n";
    }
    text += &format!("params         {:>14}  ({:.3} M)\n", cost.params, cost.params as f64 / 1e6);
    text += &format!("multiply-adds  {:>14}  ({:.3} M)\n", cost.madds, cost.madds as f64 / 1e6);
    output::data(&text)
}

/// Channels of a genotype where none are given.
const CHANNELS: usize = 36;

/// Says the sizes that were taken where they were not given: a genotype has none of its own.
fn say_sizes(network: &Blueprint, sizes: Sizes, reporter: &mut dyn Reporter) {
    let Some(Skeleton { channels, image: [depth, height, width], classes, .. }) =
        network.skeleton()
    else {
        return;
    };
    if sizes.channels.is_none() || sizes.image.is_none() || sizes.classes.is_none() {
        reporter.message(&format!(
            "a genotype has no sizes of its own: counted with {channels} channels, images of \
             {depth}x{height}x{width} and {classes} classes"
        ));
    }
}

fn of_genotype(genotype: Genotype, sizes: Sizes) -> Blueprint {
    let stem = sizes.stem.unwrap_or(Stem::Cifar);
    let skeleton = Skeleton {
        stem,
        cells: genotype.cells.len(),
        channels: sizes.channels.unwrap_or(CHANNELS),
        classes: sizes.classes.unwrap_or(stem.classes()),
        image: sizes.image.unwrap_or(stem.image()),
    };
    Blueprint::Cells { genotype, skeleton }
}
