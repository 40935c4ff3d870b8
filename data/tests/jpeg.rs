//! Every layout of scans and every sampling of JPEG, held against the pixels of Pillow.

use std::path::PathBuf;

use adwp_data::{DataError, ImageShape, decode_image};

const SAMPLINGS: [&str; 16] = [
    "444",
    "422",
    "420",
    "440",
    "411",
    "410",
    "finer",
    "mixed",
    "3x1",
    "1x3",
    "3x2",
    "2x3",
    "1x4",
    "2x4",
    "3x1-mixed",
    "3x1-finer",
];
/// Those of more blocks than a scan of all components may have.
const APART_ALONE: [&str; 2] = ["3x3", "4x4"];
const LAYOUTS: [&str; 5] = ["interleaved", "apart", "chroma-together", "progressive", "restarts"];

fn decode(name: &str) -> Result<Vec<u8>, DataError> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/jpeg").join(name);
    decode_image(&path, ImageShape { channels: 3, height: 38, width: 45 })
}

fn pixels(name: &str) -> Result<Vec<u8>, String> {
    decode(name).map_err(|e| e.to_string())
}

#[test]
fn every_layout_and_sampling_gives_the_pixels_of_pillow() {
    let mut wrong = Vec::new();
    let all = SAMPLINGS.iter().map(|sampling| (sampling, &LAYOUTS[..]));
    let apart = APART_ALONE.iter().map(|sampling| (sampling, &LAYOUTS[1..2]));
    for (sampling, layouts) in all.chain(apart) {
        let expected = pixels(&format!("{sampling}.png")).unwrap();
        for layout in layouts {
            let name = format!("{sampling}-{layout}.jpg");
            match pixels(&name) {
                Ok(found) => {
                    let differ = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
                    if differ > 0 {
                        wrong.push(format!("{name}: {differ} values differ"));
                    }
                }
                Err(error) => wrong.push(error),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn arithmetic_coding_is_refused_by_its_name() {
    for sampling in SAMPLINGS {
        let name = format!("{sampling}-arithmetic.jpg");
        let error = decode(&name).unwrap_err();
        let expected = format!(
            "{name}: cannot be read as an image: it is a JPEG with arithmetic coding, which is not read"
        );
        assert!(error.to_string().ends_with(&expected), "{error}");
        assert!(error.hint().unwrap().contains("convert it to JPEG or PNG"));
    }
}
