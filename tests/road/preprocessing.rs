//! The lines of Python in the README, which get the logits of photos from what a file says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::folder::json;
use crate::program::{run, text};
use crate::recipe::{transfer, write_images};
use crate::reference::{copy_of_run, reference};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");

/// Photos in a folder: odd sizes and proportions, every orientation, gray, transparent, with a
/// palette, of four inks, chroma of several resolutions. Smooth with some noise, as photos are.
const PHOTOS: &str = r#"
import io, sys, numpy, PIL.Image
rng = numpy.random.default_rng(5)
def photo(width, height):
    y, x = numpy.mgrid[0:height, 0:width]
    waves = [rng.uniform(0.5, 6, 2) * 6.3 / max(width, height) for _ in range(3)]
    image = [127 + 90 * numpy.sin(a * x + b * y + rng.uniform(0, 6)) for a, b in waves]
    image = numpy.stack(image, -1) + rng.normal(0, 12, (height, width, 3))
    return PIL.Image.fromarray(image.clip(0, 255).astype(numpy.uint8))
def save(name, image, **options):
    image.save(f"{sys.argv[1]}/{name}", **options)
for width, height in [(16, 16), (28, 28), (17, 41), (400, 300), (301, 997), (1203, 211), (9, 7), (1, 5), (640, 63)]:
    save(f"size-{width}x{height}.png", photo(width, height))
for width, height in [(500, 375), (333, 479), (90, 800)]:
    save(f"size-{width}x{height}.jpg", photo(width, height), quality=85)
for orientation in range(1, 9):
    exif = PIL.Image.Exif()
    exif[0x112] = orientation
    save(f"turned-{orientation}.jpg", photo(123, 77), exif=exif)
    save(f"turned-{orientation}.png", photo(60, 110), exif=exif)
for subsampling in range(3):
    save(f"chroma-{subsampling}.jpg", photo(111, 95), subsampling=subsampling, progressive=True)
save("gray.jpg", photo(101, 64).convert("L"))
save("gray.png", photo(64, 101).convert("L"))
save("gray-alpha.png", photo(50, 40).convert("LA"))
save("alpha.png", photo(70, 40).convert("RGBA"))
save("palette.png", photo(70, 40).quantize(40))
save("bilevel.png", photo(70, 40).convert("1"))
save("inks.jpg", photo(70, 90).convert("CMYK"))
"#;

fn python() -> Option<std::ffi::OsString> {
    let python = std::env::var_os("ADWP_PYTHON");
    if python.is_none() {
        assert!(
            std::env::var_os("ADWP_REQUIRE_ORT").is_none(),
            "ADWP_PYTHON must name a Python that has Pillow, NumPy and ONNX Runtime"
        );
        println!("skipped: ADWP_PYTHON names no Python that has Pillow, NumPy and ONNX Runtime");
    }
    python
}

/// What a program in Python prints.
fn printed(program: &str, args: &[&str]) -> String {
    let mut command = Command::new(std::env::var_os("ADWP_PYTHON").unwrap());
    let ended = command.arg("-c").arg(program).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "{args:?}: {said}");
    String::from_utf8(ended.stdout).unwrap()
}

fn lines_of_the_readme() -> String {
    let readme = fs::read_to_string(README).unwrap();
    let blocks: Vec<&str> = readme.split("```python\n").collect();
    let [_, after] = blocks[..] else { panic!("{} blocks of Python", blocks.len() - 1) };
    after.split_once("```").unwrap().0.to_owned()
}

/// Logarithms of the probabilities that these logits mean.
fn logarithms(logits: &[f64]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    logits.iter().map(|logit| logit - largest - sum.ln()).collect()
}

/// Compares the program and the lines on photos. Returns how far logits were apart at most.
#[track_caller]
fn compare(model: &Path, lines: &str, photos: &[&str]) -> f64 {
    let all = ["predict", text(model), "--json", "--top", "10", "--runtime", "ort"];
    let ended = run(all.iter().chain(photos)).succeeds();
    assert!(!ended.stderr.contains("does not say"), "{ended:?}");
    let answers = ended.json();
    let out = printed(lines, &[&[text(model)], photos].concat());
    let rows: Vec<&str> = out.lines().collect();
    assert_eq!(rows.len(), photos.len());
    let mut farthest: f64 = 0.0;
    for ((photo, row), answer) in photos.iter().zip(rows).zip(answers.as_array().unwrap()) {
        let logits: Vec<f64> = row.split(' ').map(|logit| logit.parse().unwrap()).collect();
        let found = logarithms(&logits);
        let top = answer["top"].as_array().unwrap();
        assert_eq!(top.len(), found.len(), "{photo}");
        let class = |entry: &Value| entry["class"].as_u64().unwrap() as usize;
        // The first of equals.
        let best = (0..found.len()).rev().max_by(|&a, &b| found[a].total_cmp(&found[b])).unwrap();
        assert_eq!(class(&top[0]), best, "{}: {photo}: {answer} {row}", model.display());
        for entry in top {
            let probability = entry["probability"].as_f64().unwrap();
            // What a 32-bit float holds of one that is nearly nothing says little of its logit.
            if probability > 1e-6 {
                farthest = farthest.max((probability.ln() - found[class(entry)]).abs());
            }
        }
    }
    farthest
}

#[test]
fn the_lines_of_the_readme_get_the_logits_of_any_photo() {
    if python().is_none() {
        return;
    }
    let (holder, from) = copy_of_run();
    let [photos, data, coloured] =
        ["photos", "data", "coloured"].map(|name| holder.path().join(name));
    fs::create_dir(&photos).unwrap();
    printed(PHOTOS, &[text(&photos)]);
    let mut files: Vec<PathBuf> =
        fs::read_dir(&photos).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 38);
    let files: Vec<&str> = files.iter().map(|path| text(path)).collect();

    // Coloured images that are scaled with a margin, and gray ones of a size of their own.
    write_images(&data, 4);
    let small = ["--set", "image_size=20", "--set", "retrain.epochs=3", "--run", text(&coloured)];
    run(transfer(&from, &data, &small)).succeeds();
    run(["export", "--run", text(&coloured)]).succeeds();
    let lines = lines_of_the_readme();
    for folder in [&from, &coloured] {
        for flags in [&["--preprocess"][..], &["--int8"], &["--preprocess", "--int8"], &["--fp16"]]
        {
            run(["export", "--run", text(folder)].iter().chain(flags)).succeeds();
        }
        // Fewer bits make a step of their own of the last bit of a float.
        for (form, allowed) in
            [("", 1e-4), (".pixels", 1e-4), (".fp16", 0.02), (".int8", 0.1), (".pixels.int8", 0.1)]
        {
            let apart = compare(&folder.join(format!("model{form}.onnx")), &lines, &files);
            println!("{}{form}: {apart:.1e}", folder.display());
            assert!(apart < allowed, "{}{form}: {apart}", folder.display());
        }
    }
}

#[test]
fn eval_and_bench_do_what_the_file_says() {
    let model = reference().folder.join("model.onnx");
    for ended in [
        run(["eval", text(&model), "--dataset", "sample"]).succeeds(),
        run(["predict", text(&model), crate::reference::PICTURE]).succeeds(),
        run([
            ["bench", text(&model), "--images", crate::reference::PICTURE],
            ["--min-time", "0.01", "--repeat", "1"],
        ]
        .concat())
        .succeeds(),
    ] {
        assert!(!ended.stderr.contains("does not say"), "{ended:?}");
    }
    assert!(json(&reference().folder.join("report.json"))["dataset"] == "sample");
}
