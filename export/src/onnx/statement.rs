use adwp_data::{DatasetKind, Framing, ImageShape, Interpolation, Normalization};
use serde::Serialize;

use crate::Network;

/// Key of the metadata that says what becomes of a photo before the network sees it: a JSON object,
/// whose keys the README explains.
pub const PREPROCESSING: &str = "adwp.preprocessing";

/// The schema of that object. It fixes what the keys leave open, such as the order of the steps, so
/// that another way to do it needs another schema.
pub const PREPROCESSING_SCHEMA: &str = "adwp/preprocessing/1";

/// A program in Python that does to photos what a file states, and prints the logits of each. It is
/// the document string of files, and a part of the README.
pub const LOGITS: &str = include_str!("logits.py");

/// What becomes of a photo, in the order in which it is done.
#[derive(Serialize)]
pub(crate) struct Statement {
    schema: &'static str,
    orientation: &'static str,
    color: &'static str,
    resize: Resize,
    crop: Crop,
    divide_by: u8,
    mean: Vec<f32>,
    std: Vec<f32>,
    layout: &'static str,
    dtype: &'static str,
}

#[derive(Serialize)]
struct Resize {
    rule: &'static str,
    height: usize,
    width: usize,
    round: &'static str,
    interpolation: &'static str,
    antialias: bool,
    passes: [&'static str; 2],
}

#[derive(Serialize)]
struct Crop {
    rule: &'static str,
    height: usize,
    width: usize,
    round: &'static str,
}

impl Statement {
    /// What is done to the test images of the data set that a network was trained on; none where
    /// that is not a known one, or its images are neither gray nor coloured. A network that takes
    /// `pixels` does the end of it itself.
    pub(super) fn new(network: &Network, pixels: bool) -> Option<Self> {
        let kind: DatasetKind = network.dataset.parse().ok()?;
        let (framing, how) = (Framing::of(kind), Interpolation::Bilinear);
        Self::of(network.blueprint.image(), framing, how, &network.normalization, pixels)
    }

    /// That images are brought to the input `[channels, height, width]` by this; none where they are
    /// neither gray nor coloured.
    pub(crate) fn of(
        [channels, height, width]: [usize; 3],
        framing: Framing,
        interpolation: Interpolation,
        normalization: &Normalization,
        pixels: bool,
    ) -> Option<Self> {
        let color = match channels {
            1 => "L",
            3 => "RGB",
            _ => return None,
        };
        let [tall, wide] = framing.covered(ImageShape { channels, height, width });
        let as_they_are = || Normalization { mean: vec![0.0; channels], std: vec![1.0; channels] };
        let (divide_by, Normalization { mean, std }, layout, dtype) = if pixels {
            (1, as_they_are(), "NHWC", "uint8")
        } else {
            (255, normalization.clone(), "NCHW", "float32")
        };
        Some(Self {
            schema: PREPROCESSING_SCHEMA,
            orientation: "exif",
            color,
            resize: Resize {
                rule: "cover",
                height: tall,
                width: wide,
                round: "down",
                interpolation: interpolation.name(),
                antialias: true,
                passes: ["width", "height"],
            },
            crop: Crop { rule: "center", height, width, round: "half-even" },
            divide_by,
            mean,
            std,
            layout,
            dtype,
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use adwp_models::{Blueprint, Sizes, Zoo};
    use serde_json::json;

    use super::*;

    pub(in crate::onnx) fn network(dataset: &str, image: [usize; 3]) -> Network {
        let sizes =
            Sizes { image: Some(image), classes: Some(2), channels: Some(4), ..Sizes::default() };
        let blueprint: Blueprint =
            Zoo::embedded().find("darts-v2").unwrap().network(sizes).unwrap();
        Network {
            name: None,
            blueprint,
            dataset: dataset.to_owned(),
            classes: vec!["a".to_owned(), "b".to_owned()],
            normalization: Normalization { mean: vec![0.25; image[0]], std: vec![0.485; image[0]] },
        }
    }

    fn stated(dataset: &str, image: [usize; 3], pixels: bool) -> serde_json::Value {
        serde_json::to_value(Statement::new(&network(dataset, image), pixels)).unwrap()
    }

    #[test]
    fn photos_are_scaled_with_a_margin_and_images_of_fixed_sizes_without() {
        let folder = stated("image-folder", [3, 64, 32], false);
        assert_eq!(folder["resize"]["rule"], "cover");
        assert_eq!(
            (&folder["resize"]["height"], &folder["resize"]["width"]),
            (&json!(73), &json!(36))
        );
        assert_eq!((&folder["crop"]["height"], &folder["crop"]["width"]), (&json!(64), &json!(32)));
        for kind in ["sample", "fashion-mnist", "cifar10", "cifar100"] {
            let fixed = stated(kind, [3, 32, 32], false);
            for step in ["resize", "crop"] {
                assert_eq!(
                    (&fixed[step]["height"], &fixed[step]["width"]),
                    (&json!(32), &json!(32))
                );
            }
        }
    }

    #[test]
    fn the_end_is_stated_where_the_network_does_not_do_it() {
        let (floats, pixels) =
            (stated("sample", [1, 28, 28], false), stated("sample", [1, 28, 28], true));
        let end = |stated: &serde_json::Value| {
            ["color", "divide_by", "mean", "std", "layout", "dtype"]
                .map(|key| stated[key].to_string())
        };
        assert_eq!(
            end(&floats),
            ["\"L\"", "255", "[0.25]", "[0.48500001430511475]", "\"NCHW\"", "\"float32\""]
        );
        assert_eq!(end(&pixels), ["\"L\"", "1", "[0.0]", "[1.0]", "\"NHWC\"", "\"uint8\""]);
        let text = serde_json::to_string(&Statement::new(&network("sample", [1, 28, 28]), false));
        assert!(text.unwrap().contains("\"std\":[0.485]"), "the shortest text of each float");
    }

    #[test]
    fn what_is_not_known_is_not_stated() {
        assert!(Statement::new(&network("photos", [3, 32, 32]), false).is_none());
        assert!(Statement::new(&network("cifar10", [2, 32, 32]), false).is_none());
    }

    #[test]
    fn the_program_is_the_ten_lines_of_the_readme() {
        let readme =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
        assert!(readme.contains(&format!("```python\n{LOGITS}```\n")));
        assert_eq!(LOGITS.lines().count(), 10);
    }
}
