use adwp_models::{Discrete, Genotype, Skeleton, cost::count};
use serde::Serialize;

use super::{Style, zoo};
use crate::args::CostArgs;
use crate::failure::Failure;
use crate::output;
use crate::steps::parsed;

/// Cost of a genotype.
#[derive(Serialize)]
struct Cost {
    params: u64,
    madds: u64,
    layers: Vec<Layer>,
}

#[derive(Serialize)]
struct Layer {
    name: String,
    op: String,
    shape: Vec<usize>,
    params: u64,
    madds: u64,
}

/// `adwp cost`.
pub(crate) fn cost(args: &CostArgs, style: Style) -> Result<(), Failure> {
    let published = args.what.to_str().and_then(|what| what.strip_prefix(zoo::PREFIX));
    let is_json = args.what.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
    let mut cost = match published {
        Some(name) => of_genotype(&zoo::genotype(name, args.cells, args.stem)?, args)?,
        None if args.cells.is_some() => {
            let failure = Failure::input(format!("{}: a file has its own number of cells", args.what.display()));
            return Err(failure.hint("--cells is for the architectures of `adwp zoo list`, such as zoo:darts-v2"));
        }
        None if is_json => of_genotype(&parsed(args.what.clone(), Genotype::from_json)?, args)?,
        None => return output::data(&adwp_edge::cost(&args.what, &args.input, args.layers, style.json)?),
    };
    if !args.layers {
        cost.layers.clear();
    }
    if style.json {
        return output::json(&cost);
    }
    let mut text = String::new();
    if args.layers {
        let width = cost.layers.iter().map(|layer| layer.name.len()).max().unwrap_or(0);
        for layer in &cost.layers {
            let shape = layer.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("×");
            text += &format!("{:<width$}  {:<10} {:>16} {:>12} {:>14}\n", layer.name, layer.op, shape, layer.params, layer.madds);
        }
        text += "\n";
    }
    text += &format!("params         {:>14}  ({:.3} M)\n", cost.params, cost.params as f64 / 1e6);
    text += &format!("multiply-adds  {:>14}  ({:.3} M)\n", cost.madds, cost.madds as f64 / 1e6);
    output::data(&text)
}

fn of_genotype(genotype: &Genotype, args: &CostArgs) -> Result<Cost, Failure> {
    let skeleton =
        Skeleton { stem: args.stem, cells: genotype.cells.len(), channels: args.channels, classes: args.classes, image: args.image.0 };
    let cost = count(&Discrete::build(genotype, &skeleton, 1, None)?.graph);
    let layer =
        |l: adwp_models::cost::LayerCost| Layer { name: l.name, op: l.op.to_owned(), shape: l.shape, params: l.params, madds: l.madds };
    Ok(Cost { params: cost.params, madds: cost.madds, layers: cost.layers.into_iter().map(layer).collect() })
}
