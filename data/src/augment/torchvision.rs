//! Policies, magnitudes and results of operations are those of torchvision, which
//! `tests/fixtures/make_torchvision.py` wrote down.

use std::fs;
use std::path::{Path, PathBuf};

use super::auto_augment::{AutoAugment, Operation, Step};
use super::canvas::Canvas;
use crate::decode::decode_for;
use crate::resize::{Picture, Region, resize_region};
use crate::shape::ImageShape;

const OPERATIONS: [Operation; 14] = [
    Operation::ShearX,
    Operation::ShearY,
    Operation::TranslateX,
    Operation::TranslateY,
    Operation::Rotate,
    Operation::Brightness,
    Operation::Color,
    Operation::Contrast,
    Operation::Sharpness,
    Operation::Posterize,
    Operation::Solarize,
    Operation::AutoContrast,
    Operation::Equalize,
    Operation::Invert,
];
/// Of the images.
const WIDTH: usize = 20;
const HEIGHT: usize = 14;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The words behind `key` of every line that starts with it.
fn lines(key: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(fixture("torchvision.txt")).unwrap();
    let words = text.lines().map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>());
    words.filter(|words| words[0] == key).map(|words| words[1..].to_vec()).collect()
}

fn named(name: &str) -> Option<Operation> {
    OPERATIONS.into_iter().find(|operation| format!("{operation:?}") == name)
}

fn picture(name: &str, channels: usize) -> Picture {
    decode_for(&fixture(name), ImageShape { channels, height: 1, width: 1 }).unwrap()
}

/// A part of a picture as it is.
fn cut(picture: &Picture, top: usize) -> Canvas {
    let shape = ImageShape { channels: picture.channels, height: HEIGHT, width: WIDTH };
    let mut canvas = Canvas::new(shape);
    resize_region(
        picture,
        Region { top, left: 0, height: HEIGHT, width: WIDTH },
        shape,
        canvas.pixels_mut(),
    );
    canvas
}

/// Does what a line says to the canvas.
fn act(words: &[String], canvas: &mut Canvas, other: &Picture) {
    let number = |at: usize| words[at].parse::<f64>().unwrap();
    let position = |at: usize| words[at].parse::<usize>().unwrap();
    match words[0].as_str() {
        "brightness" => canvas.brightness(number(1) as f32),
        "contrast" => canvas.contrast(number(1) as f32),
        "saturation" => canvas.saturation(number(1) as f32),
        "hue" => canvas.hue(number(1)),
        "crop" => {
            let region = Region {
                top: position(1),
                left: position(2),
                height: position(3),
                width: position(4),
            };
            let shape = canvas.shape;
            resize_region(other, region, shape, canvas.pixels_mut());
        }
        name => named(name).expect(name).apply(position(1) as u8, number(2) < 0.0, canvas),
    }
}

#[test]
fn every_operation_gives_the_bytes_of_pillow() {
    let lines = lines("result");
    for (name, channels) in [("rgb", 3), ("gray", 1)] {
        let source = picture(&format!("augment-{name}.png"), channels);
        let results = picture(&format!("augment-{name}-results.png"), channels);
        let other = picture("resize-37x53.png", channels);
        assert_eq!(results.height, lines.len() * HEIGHT);
        for (number, words) in lines.iter().enumerate() {
            let mut canvas = cut(&source, 0);
            act(words, &mut canvas, &other);
            assert_eq!(
                canvas.pixels(),
                cut(&results, number * HEIGHT).pixels(),
                "{words:?} of {name}"
            );
        }
    }
    assert!(
        OPERATIONS
            .iter()
            .all(|operation| lines.iter().any(|words| words[0] == format!("{operation:?}")))
    );
}

#[test]
fn magnitudes_have_the_bits_of_torchvision() {
    let mut compared = 0;
    for words in lines("magnitude") {
        let operation = named(&words[0]).unwrap();
        for (level, magnitude) in (0..).zip(&words[1..]) {
            assert_eq!(
                f64::from(operation.magnitude(level, WIDTH, HEIGHT)),
                magnitude.parse::<f64>().unwrap(),
                "{operation:?} {level}"
            );
            compared += 1;
        }
    }
    assert_eq!(compared, 11 * 10 + 3);
}

#[test]
fn policies_are_those_of_torchvision() {
    let all = lines("policy");
    for (policy, name) in [(AutoAugment::Cifar10, "cifar10"), (AutoAugment::Imagenet, "imagenet")] {
        let step = |words: &[String]| -> Step {
            (named(&words[0]).unwrap(), words[1].parse().unwrap(), words[2].parse().unwrap())
        };
        let pairs: Vec<[Step; 2]> = all
            .iter()
            .filter(|words| words[0] == name)
            .map(|words| [step(&words[1..4]), step(&words[4..7])])
            .collect();
        assert_eq!(policy.pairs(), pairs);
    }
    assert_eq!(all.len(), 50);
}
