//! The commands of published architectures.

use std::path::Path;

use adwp_base::{Failure, Result, check_writable, output};
use adwp_data::{Framing, ImageShape, Normalization, decode_image_framed};
use adwp_engine::Device;
use adwp_export::{Bare, noise};
use adwp_measure::runtime::find_library;
use adwp_models::zoo::{Architecture, differs};
use adwp_models::{Blueprint, Genotype, Stem, Zoo, ZooEntry};
use adwp_train::{Reporter, Streams};
use adwp_verify::{Checks, deliver};
use adwp_weights::{Classifier, Preparation, StateDict};
use serde::Serialize;

use crate::architecture::published;
use crate::args::{NetworkSizeArgs, ZooCommand, ZooExportArgs};
use crate::transfer::say_loaded;

/// Images of noise that the executions of an exported network are compared on.
const PARITY_IMAGES: usize = 4;

/// Prints published architectures, or writes one to a file.
pub(crate) fn run(command: ZooCommand, as_json: bool, reporter: &mut dyn Reporter) -> Result {
    match command {
        ZooCommand::List { markdown } => list(markdown, as_json, reporter),
        ZooCommand::Show { name, cells } => show(&name, cells, as_json, reporter),
        ZooCommand::Export(args) => export(&args, reporter),
    }
}

/// A published network with the sizes that flags ask for.
pub(crate) fn network(
    name: &str,
    args: &NetworkSizeArgs,
    reporter: &mut dyn Reporter,
) -> Result<Blueprint> {
    let network = published(name)?.network(args.sizes())?;
    sized(network, args, reporter)
}

/// A network as wide as `--target-params` and `--target-madds` allow, where they are given.
pub(crate) fn sized(
    network: Blueprint,
    args: &NetworkSizeArgs,
    reporter: &mut dyn Reporter,
) -> Result<Blueprint> {
    let Some(bounds) = args.bounds() else { return Ok(network) };
    let widest = network.widest(bounds)?;
    let has = match (widest.skeleton(), widest.width()) {
        (Some(skeleton), _) => format!("{} channels", skeleton.channels),
        (None, width) => format!("a width of {}", width.unwrap_or_default()),
    };
    reporter.message(&format!("the widest within the bounds has {has}"));
    Ok(widest)
}

/// An architecture with what its published networks cost.
#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    entry: &'static ZooEntry,
    counted: Counted,
}

#[derive(Serialize)]
struct Counted {
    cifar10: Option<Count>,
    imagenet: Option<Count>,
}

#[derive(Serialize)]
struct Count {
    params: u64,
    madds: u64,
}

impl Listed {
    fn new(entry: &'static ZooEntry) -> Result<Self> {
        let count = |stem| -> Result<Option<Count>> {
            let Some(network) = entry.published(stem)? else { return Ok(None) };
            let cost = network.cost()?;
            Ok(Some(Count { params: cost.params, madds: cost.madds }))
        };
        Ok(Self {
            entry,
            counted: Counted { cifar10: count(Stem::Cifar)?, imagenet: count(Stem::Imagenet)? },
        })
    }

    /// The cells of its row under [`HEADER`].
    fn row(&self) -> [String; COLUMNS] {
        let ZooEntry { name, citation, cifar10, imagenet, .. } = self.entry;
        let mut row: [String; COLUMNS] = std::array::from_fn(|_| "–".to_owned());
        row[0] = name.clone();
        row[1] = citation.year.to_string();
        if let (Some(reported), Some(counted)) = (cifar10, &self.counted.cifar10) {
            row[2] = compared(counted.params, reported.reported_params_m, [2, 1]);
            row[3] = format!("{:.2}%", reported.reported_error);
        }
        if let (Some(reported), Some(counted)) = (imagenet, &self.counted.imagenet) {
            row[4] = compared(counted.params, reported.reported_params_m, [2, 1]);
            row[5] = compared(counted.madds, reported.reported_madds_m, [1, 0]);
            row[6] = format!("{:.1}%", reported.reported_top1_error);
            if let Some(error) = reported.reported_top5_error {
                row[7] = format!("{error:.1}%");
            }
        }
        row
    }
}

const COLUMNS: usize = 8;

const HEADER: [&str; COLUMNS] = [
    "name",
    "year",
    "CIFAR-10 params",
    "error",
    "ImageNet params",
    "multiply-adds",
    "top-1 error",
    "top-5 error",
];

const LEGEND: &str = "millions as counted here, in brackets as reported; errors as reported; \
                      * over 2% from the reported: `adwp zoo show NAME` says what is known of it";

/// A count with what was reported, both in millions with these decimals, and a mark where they
/// differ.
fn compared(counted: u64, reported_m: f64, [decimals, reported_decimals]: [usize; 2]) -> String {
    let mark = if differs(counted, reported_m) { " *" } else { "" };
    format!("{:.decimals$} ({reported_m:.reported_decimals$}){mark}", counted as f64 / 1e6)
}

/// `adwp zoo list`.
fn list(markdown: bool, as_json: bool, reporter: &mut dyn Reporter) -> Result {
    // The parser notices a conflict with a global flag only where that flag comes last.
    if markdown && as_json {
        return Err(Failure::input(
            "the table can be printed as Markdown or as JSON: --markdown or --json",
        ));
    }
    let listed: Vec<Listed> =
        Zoo::embedded().entries().iter().map(Listed::new).collect::<Result<_, _>>()?;
    if as_json {
        return output::json(&listed);
    }
    let rows: Vec<[String; COLUMNS]> = listed.iter().map(Listed::row).collect();
    if markdown {
        return output::data(&as_markdown(&rows));
    }
    output::data(&as_text(&rows))?;
    reporter.message(LEGEND);
    Ok(())
}

fn as_markdown(rows: &[[String; COLUMNS]]) -> String {
    let line = |cells: &[&str]| format!("| {} |\n", cells.join(" | "));
    let mut text = line(&HEADER) + &"|---".repeat(COLUMNS) + "|\n";
    for row in rows {
        let mut cells: Vec<&str> = row.iter().map(String::as_str).collect();
        let name = format!("`{}`", cells[0]);
        cells[0] = &name;
        // An asterisk alone could begin emphasis.
        text += &line(&cells).replace('*', "\\*");
    }
    text
}

fn as_text(rows: &[[String; COLUMNS]]) -> String {
    let header = HEADER.map(str::to_owned);
    let lines = || std::iter::once(&header).chain(rows);
    let widths: Vec<usize> = (0..COLUMNS)
        .map(|i| lines().map(|cells| cells[i].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for cells in lines() {
        let padded = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        text += padded.collect::<Vec<_>>().join("  ").trim_end();
        text += "\n";
    }
    text
}

/// All that is known of an architecture, with its genotype for a number of cells where it has
/// cells.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    entry: &'static ZooEntry,
    genotype: Option<Genotype>,
}

/// `adwp zoo show`.
fn show(name: &str, cells: Option<usize>, as_json: bool, reporter: &mut dyn Reporter) -> Result {
    let entry = published(name)?;
    let genotype = match (&entry.architecture, entry.stems().first()) {
        (Architecture::Cells(architecture), Some(&stem)) => {
            let published = entry.stack(stem).map(|stack| stack.cells);
            cells.or(published).map(|cells| architecture.genotype(cells)).transpose()?
        }
        _ if cells.is_some() => {
            return Err(Failure::input(format!("{name} has no genotype: --cells is not for it")));
        }
        _ => None,
    };
    if as_json {
        return output::json(&Shown { entry, genotype });
    }
    if let Some(genotype) = &genotype {
        output::json(genotype)?;
    }
    reporter.message(&about(entry));
    Ok(())
}

/// The publication, where the architecture is written, and the note.
fn about(entry: &ZooEntry) -> String {
    let (citation, source) = (&entry.citation, &entry.source);
    let mut text = format!("{}: {}\n", entry.title, citation.authors);
    text += &format!(
        "{}, {} {}, arXiv:{}\n",
        citation.paper, citation.venue, citation.year, citation.arxiv
    );
    let what = match entry.architecture {
        Architecture::Cells(_) | Architecture::WideCells(_) | Architecture::Member(_) => "cells",
        Architecture::Handmade(_) => "network",
    };
    text += &format!(
        "{what}: {} in {} of github.com/{} at {}",
        source.symbol,
        source.file,
        source.repository,
        &source.commit[..7]
    );
    if let Some(note) = &entry.note {
        text += &format!("\n{note}");
    }
    let name = &entry.name;
    let why = match entry.architecture {
        Architecture::Cells(_) => "",
        Architecture::WideCells(_) => {
            "Its cells have operations that the DARTS space lacks, so it has no genotype: "
        }
        Architecture::Member(_) => "It is of a space of its own, so it has no genotype: ",
        Architecture::Handmade(_) => "It is no stack of cells, so it has no genotype: ",
    };
    if !why.is_empty() {
        text += &format!("\n{why}`adwp cost zoo:{name} --layers` lists its layers.");
    }
    text += &format!("\n`adwp retrain --architecture zoo:{name}` trains it.");
    text
}

/// `adwp zoo export`.
fn export(args: &ZooExportArgs, reporter: &mut dyn Reporter) -> Result {
    check_writable(&args.out)?;
    let blueprint = network(&args.name, &args.sizes, reporter)?;
    let device = Device::cpu(0)?;
    let bare = match &args.weights {
        None => Bare::random(&blueprint, args.seed.unwrap_or(0), &device)?,
        Some(_) if args.seed.is_some() => {
            return Err(Failure::input("--seed draws weights, and --weights gives them"));
        }
        Some(file) => published_weights(file, &blueprint, reporter)?,
    };
    let net = &bare.network;
    let images = parity_images(args, &net.graph[net.images].shape)?;
    let library = find_library(args.ort.ort_lib.as_deref(), &[])?;
    let checks = Checks::of_bare(&bare, &images, library.as_ref(), &device)?;
    let model = bare.to_onnx(&args.name)?;
    let found = deliver(&args.out, &model, &checks, reporter, |_| Ok::<_, Failure>(None))?;
    let others: Vec<&str> = found.parity.iter().map(|row| row.b.as_str()).collect();
    let largest = found.parity.iter().map(|row| row.max_abs).fold(0.0, f64::max);
    reporter.message(&format!(
        "{}: engine, {} agree within {largest:.1e}",
        args.out.display(),
        others.join(", ")
    ));
    Ok(())
}

/// A network with the weights of a file, all of which it must have.
fn published_weights(
    file: &Path,
    blueprint: &Blueprint,
    reporter: &mut dyn Reporter,
) -> Result<Bare> {
    let weights = StateDict::read(file)?;
    let loaded = adwp_weights::load(&weights, blueprint, Classifier::Taken)?;
    let Blueprint::Handmade { network, .. } = blueprint else {
        return Err(Failure::input("--weights is for networks that are no stack of cells"));
    };
    say_loaded(&loaded, file, reporter);
    let Preparation { normalization, interpolation } = loaded.layout.preparation(*network);
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let said = format!("those of {name}, in the layout of {}", loaded.layout.name());
    Ok(Bare::published(blueprint, loaded.variables, said, normalization, interpolation)?)
}

/// What the executions of an exported network are compared on, `[count, channels, height, width]`.
fn parity_images(args: &ZooExportArgs, shape: &[usize]) -> Result<Vec<f32>> {
    let shape = ImageShape { channels: shape[1], height: shape[2], width: shape[3] };
    if args.images.is_empty() {
        return Ok(noise(
            &mut Streams::new(args.seed.unwrap_or(0)).once("untrained/images"),
            PARITY_IMAGES * shape.values(),
        ));
    }
    let normalization =
        Normalization { mean: vec![0.5; shape.channels], std: vec![0.25; shape.channels] };
    let mut images = vec![0.0; args.images.len() * shape.values()];
    for (path, image) in args.images.iter().zip(images.chunks_exact_mut(shape.values())) {
        normalization.apply(&decode_image_framed(path, shape, Framing::Evaluation)?, image)?;
    }
    Ok(images)
}
