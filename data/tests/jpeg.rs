//! Every layout of scans and every sampling of JPEG, held against the pixels of Pillow.

use std::path::PathBuf;

use adwp_data::{ImageShape, decode_image};

const SAMPLINGS: [&str; 8] = ["444", "422", "420", "440", "411", "410", "finer", "mixed"];
const LAYOUTS: [&str; 5] = ["interleaved", "apart", "chroma-together", "progressive", "restarts"];

fn pixels(name: &str) -> Result<Vec<u8>, String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/jpeg").join(name);
    let shape = ImageShape { channels: 3, height: 38, width: 45 };
    decode_image(&path, shape).map_err(|e| e.to_string())
}

#[test]
fn every_layout_and_sampling_gives_the_pixels_of_pillow() {
    let mut wrong = Vec::new();
    for sampling in SAMPLINGS {
        let expected = pixels(&format!("{sampling}.png")).unwrap();
        for layout in LAYOUTS {
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
        let error = pixels(&format!("{sampling}-arithmetic.jpg")).unwrap_err();
        assert!(error.contains("arithmetic"), "{error}");
    }
}
