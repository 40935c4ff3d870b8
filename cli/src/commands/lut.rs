//! The commands that measure operators and check what their latencies predict.

use std::path::Path;
use std::time::Duration;

use adwp_base::{Failure, Result, output};
use adwp_data::{DEFAULT_IMAGE_SIZE, DatasetKind};
use adwp_export::Trained;
use adwp_lut::{
    Check, HeldOut, LatencyTable, Networks, RuntimeStopwatch, Stopwatch, check as check_table,
};
use adwp_measure::runtime::{Runtime, find_library};
use adwp_models::space::find;
use adwp_models::{Skeleton, Stem};
use adwp_train::Reporter;
use serde_json::json;

use crate::args::{LutBuildArgs, LutCheckArgs, LutCommand, OrtArgs, RunArgs, SizeArgs, TimingArgs};
use crate::config::{Config, check_latency};
use crate::device::threads;
use crate::interrupt;
use crate::settings;

/// Measures a table, or checks one.
pub(crate) fn run(command: LutCommand, as_json: bool, reporter: &mut dyn Reporter) -> Result {
    match command {
        LutCommand::Build(args) => build(&args, as_json, reporter),
        LutCommand::Check(args) => check(&args, as_json, reporter),
    }
}

/// Networks, as far as their sizes are known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sizes {
    of: Networks,
    /// Whether the number of classes was found and not assumed.
    knows_classes: bool,
}

impl Sizes {
    fn known(of: Networks) -> Self {
        Self { of, knows_classes: true }
    }

    /// Those of `adwp cost`, with the cells of the default settings.
    fn usual() -> Self {
        let (cells, channels, image) = (8, 36, [3, 32, 32]);
        let skeleton = Skeleton { stem: Stem::Cifar, cells, channels, classes: 10, image };
        Self::known(Networks::darts(skeleton, 2))
    }

    /// What the flags ask for: a run or settings, `base` where neither is named, then single sizes.
    fn choose(args: &SizeArgs, base: Self, reporter: &mut dyn Reporter) -> Result<Self> {
        let Self { of, knows_classes } = match &args.run {
            Some(run) => Self::of_run(run, reporter)?,
            None if args.space.is_some() => Self::of_space(args)?,
            None if args.preset.is_some() || args.config.is_some() => {
                let wanted = RunArgs {
                    preset: args.preset.clone(),
                    config: args.config.clone(),
                    ..RunArgs::default()
                };
                Self::of_config(&Config::from_args(&wanted)?)
            }
            None => base,
        };
        if !knows_classes && args.classes.is_none() {
            return Err(Failure::input(
                "the settings do not say how many classes the image folder has",
            )
            .hint("add --classes N"));
        }
        let Networks { space, skeleton, keep } = of;
        let skeleton = Skeleton {
            stem: args.stem.unwrap_or(skeleton.stem),
            cells: args.cells.unwrap_or(skeleton.cells),
            channels: args.channels.unwrap_or(skeleton.channels),
            classes: args.classes.unwrap_or(skeleton.classes),
            image: args.image.map_or(skeleton.image, |image| image.0),
        };
        skeleton.validate()?;
        Ok(Self::known(Networks { space, skeleton, keep: args.keep.unwrap_or(keep) }))
    }

    /// Those that the publication of a space trained.
    fn of_space(args: &SizeArgs) -> Result<Self> {
        let named = find(args.space.as_deref().unwrap_or_default())?;
        Ok(Self::known(Networks::named(named.name, named.published)))
    }

    /// Those of a run's retrained network: from its weights where they are there, else from its
    /// settings.
    fn of_run(run: &Path, reporter: &mut dyn Reporter) -> Result<Self> {
        let file = run.join(Config::FILE);
        let (config, left_out) = settings::read(&file, &RunArgs::default())?;
        left_out.say(&file, reporter);
        let (sizes, weights) = (Self::of_config(&config), run.join("weights.safetensors"));
        if !weights.exists() {
            return Ok(sizes);
        }
        match Networks::of(&Trained::read(&weights)?.network.blueprint) {
            Some(of) => Ok(Self::known(of)),
            None => Err(Failure::input(format!(
                "{} holds no network of cells: a latency table is of cells",
                run.display()
            ))),
        }
    }

    /// Those of the retrained network of settings, whose data is not opened.
    fn of_config(config: &Config) -> Self {
        let (channels, side, classes) = match config.dataset {
            DatasetKind::Sample | DatasetKind::FashionMnist => (1, 28, Some(10)),
            DatasetKind::Cifar10 => (3, 32, Some(10)),
            DatasetKind::Cifar100 => (3, 32, Some(100)),
            DatasetKind::ImageFolder => (3, DEFAULT_IMAGE_SIZE, None),
        };
        let side = if config.image_size > 0 { config.image_size } else { side };
        let skeleton = Skeleton {
            stem: config.stem,
            cells: config.cells,
            channels: config.retrain.channels,
            classes: classes.unwrap_or(0),
            image: [channels, side, side],
        };
        let of = Networks::darts(skeleton, config.search.keep);
        Self { of, knows_classes: classes.is_some() }
    }
}

/// Something to measure with.
fn stopwatch(
    runtime: Option<Runtime>,
    threads: usize,
    yardstick: Networks,
    timing: &TimingArgs,
) -> Result<RuntimeStopwatch> {
    check_latency(&[threads], timing.min_time, 1, |name| format!("--{}", name.replace('_', "-")))?;
    let library = find_library(timing.ort.ort_lib.as_deref(), runtime.as_slice())?;
    let runtime = runtime.unwrap_or(if library.is_some() { Runtime::Ort } else { Runtime::Tract });
    Ok(RuntimeStopwatch::new(
        runtime,
        threads,
        library,
        Duration::from_secs_f64(timing.min_time),
        yardstick,
    )?)
}

/// Mean relative error up to which a table is worth searching with: random networks of one skeleton
/// differ by about as much.
const MOST_ERROR: f64 = 0.1;

/// `adwp lut build`.
fn build(args: &LutBuildArgs, as_json: bool, reporter: &mut dyn Reporter) -> Result {
    let Sizes { of, .. } = Sizes::choose(&args.sizes, Sizes::usual(), reporter)?;
    let stored = if args.out.exists() {
        if !args.resume {
            let failure = Failure::input(format!("{} is there already", args.out.display()));
            return Err(failure
                .hint("add --resume to measure what it lacks, or name another file with --out"));
        }
        Some(LatencyTable::read(&args.out)?)
    } else {
        None
    };
    // A table that is there says what it is measured with.
    let setup = stored.as_ref().map(LatencyTable::setup);
    let runtime = args.runtime.or(setup.map(|setup| setup.runtime));
    let asked = args.threads.map(|asked| match asked {
        0 => 0,
        asked => threads(asked, reporter),
    });
    let threads = asked.or(setup.map(|setup| setup.threads)).unwrap_or(1);
    let yardstick = setup.map_or_else(|| of.clone(), |setup| setup.yardstick.clone());
    let mut stopwatch = stopwatch(runtime, threads, yardstick, &args.timing)?;
    let setup = stopwatch.setup();
    let mut table = match stored {
        Some(table) => table,
        None => {
            let table = LatencyTable::new(&stopwatch);
            // A folder that cannot be written to is reported before the measuring.
            table.write(&args.out)?;
            table
        }
    };
    interrupt::resume_with(continuing(args, &of.flags(), setup.runtime, threads));
    interrupt::listen()?;
    reporter.message(&format!(
        "{} on {} {}, threads: {threads}",
        setup.machine.cpu, setup.runtime, setup.runtime_version
    ));
    let mut progress = |done: usize, all: usize| reporter.aside("network", done, all);
    let measured =
        table.measure(&of, &mut stopwatch, &mut |table| table.write(&args.out), &mut progress);
    reporter.phase_end();
    let measured = measured?;
    let calibration = table.calibration(&of)?;
    let (factor, offset, error) = (calibration.factor, calibration.offset_ms, calibration.error());
    let networks = calibration.networks.len();
    let held_out = calibration.held_out.as_ref();
    let disturbed = table.disturbed();
    reporter.message(&format!(
        "{measured} operators measured, {} in all; on a machine that was not quiet: {disturbed}",
        table.entries().len()
    ));
    reporter.message(&format!(
        "calibrated on {networks} networks: {factor:.3} · sum {offset:+.4} ms, mean error {:.1}%",
        100.0 * error
    ));
    if let Some(HeldOut { networks, mean_error, worst_error }) = held_out {
        let (mean, worst) = (100.0 * mean_error, 100.0 * worst_error);
        reporter.message(&format!(
            "held against {networks} other random networks: mean error \
             {mean:.1}%, worst {worst:.1}%"
        ));
        if *mean_error > MOST_ERROR {
            reporter.message(
                "do not rely on this table: remove it, and measure again when the machine \
                 is not busy with other work",
            );
        }
    }
    if as_json {
        return output::json(&json!({
            "file": args.out,
            "entries": table.entries().len(),
            "measured": measured,
            "disturbed": disturbed,
            "calibration": {
                "factor": factor,
                "offset_ms": offset,
                "networks": networks,
                "mean_error": error,
            },
            "held_out": held_out,
        }));
    }
    output::data(&format!("{}\n", args.out.display()))
}

/// The command that goes on with a table.
fn continuing(args: &LutBuildArgs, sizes: &str, runtime: Runtime, threads: usize) -> String {
    let TimingArgs { min_time, ort: OrtArgs { ort_lib } } = &args.timing;
    let library =
        ort_lib.as_ref().map_or_else(String::new, |path| format!(" --ort-lib {}", path.display()));
    format!(
        "adwp lut build {sizes} --runtime {runtime} --threads {threads} --min-time \
         {min_time}{library} --out {} --resume",
        args.out.display()
    )
}

/// `adwp lut check`.
fn check(args: &LutCheckArgs, as_json: bool, reporter: &mut dyn Reporter) -> Result {
    let table = LatencyTable::read(&args.table)?;
    let first = table.calibrations().first();
    let base = first.map_or_else(Sizes::usual, |fitted| Sizes::known(fitted.of.clone()));
    let Sizes { of, .. } = Sizes::choose(&args.sizes, base, reporter)?;
    // What the table lacks is reported before anything is measured.
    table.calibration(&of)?;
    let mut stopwatch = stopwatch(
        Some(table.setup().runtime),
        table.setup().threads,
        table.setup().yardstick.clone(),
        &args.timing,
    )?;
    if let Err(elsewhere) = table.setup().check_same(&stopwatch.setup()) {
        reporter.message(&format!("going on, although {elsewhere}"));
    }
    let mut progress = |done: usize| reporter.aside("network", done, args.networks.get());
    let result = check_table(&table, &of, args.networks, args.seed, &mut stopwatch, &mut progress);
    reporter.phase_end();
    let result = result?;
    if as_json {
        return output::json(&result);
    }
    output::data(&text(&result))
}

fn text(check: &Check) -> String {
    let mut text = String::from("network  predicted ms  measured ms    error\n");
    for (index, network) in check.networks.iter().enumerate() {
        let (predicted, measured, error) =
            (network.predicted_ms, network.measured.ms, 100.0 * network.error);
        text += &format!("{:>7} {predicted:>13.4} {measured:>12.4} {error:>+7.1}%\n", index + 1);
    }
    text += &format!(
        "\nmean error {:.1}%, worst {:.1}%\n",
        100.0 * check.mean_error,
        100.0 * check.worst_error
    );
    text += &format!(
        "who knows only the mean of the measured is wrong by {:.1}%\n",
        100.0 * check.mean_error_of_mean
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use adwp_train::Quiet;
    use clap::Parser;

    fn args(flags: &[&str]) -> LutBuildArgs {
        let line = ["adwp", "lut", "build", "--out", "lut.json"];
        let Command::Lut { command: LutCommand::Build(args) } =
            Args::parse_from(line.iter().chain(flags)).command
        else {
            unreachable!()
        };
        args
    }

    fn sizes(flags: &[&str]) -> Result<Sizes> {
        Sizes::choose(&args(flags).sizes, Sizes::usual(), &mut Quiet)
    }

    #[test]
    fn sizes_are_the_settings_and_flags_override_them() {
        assert_eq!(sizes(&[]).unwrap(), Sizes::usual());
        let preset = sizes(&["--preset", "cifar10-14", "--channels", "20"]).unwrap().of;
        assert_eq!(
            (preset.skeleton.cells, preset.skeleton.channels, preset.skeleton.image),
            (14, 20, [3, 32, 32])
        );
        let folder = sizes(&["--preset", "imagenet-14"]).unwrap_err();
        assert!(
            folder.message.contains("classes")
                && folder.hint.is_some_and(|hint| hint.contains("--classes"))
        );
        let folder = sizes(&["--preset", "imagenet-14", "--classes", "1000"]).unwrap().of;
        assert_eq!(
            (folder.skeleton.stem, folder.skeleton.image, folder.skeleton.classes),
            (Stem::Imagenet, [3, 224, 224], 1000)
        );
        let staged = sizes(&["--space", "nas-bench-201", "--channels", "8"]).unwrap().of;
        assert_eq!((staged.skeleton.cells, staged.skeleton.channels), (15, 8));
        assert!(staged.flags().starts_with("--space nas-bench-201 --cells 15 --channels 8 "));
        assert!(sizes(&["--image", "3x30x30"]).unwrap_err().message.contains("30×30"));
    }

    #[test]
    fn a_table_is_continued_as_it_was_begun() {
        let args = args(&["--cells", "4", "--min-time", "0.5", "--ort-lib", "ort.so"]);
        let Sizes { of, .. } = Sizes::choose(&args.sizes, Sizes::usual(), &mut Quiet).unwrap();
        let expected = "adwp lut build --cells 4 --channels 36 --image 3x32x32 --classes 10 \
                        --stem cifar --keep 2 \
                        --runtime ort --threads 2 --min-time 0.5 --ort-lib ort.so --out lut.json \
                        --resume";
        assert_eq!(continuing(&args, &of.flags(), Runtime::Ort, 2), expected);
    }
}
