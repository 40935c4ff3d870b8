//! Folders of photos that nobody has divided for training and testing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tempfile::tempdir;

use crate::program::{run, text};

/// A BMP of 20×16 pixels in gray cells of its own.
fn bmp(number: u32) -> Vec<u8> {
    let (width, height) = (20_u32, 16_u32);
    let mut file = b"BM".to_vec();
    let header =
        [54 + 3 * width * height, 0, 54, 40, width, height, 1 | 24 << 16, 0, 0, 0, 0, 0, 0];
    file.extend(header.iter().flat_map(|value| value.to_le_bytes()));
    for at in 0..width * height {
        let cell = at % width / 4 + at / width / 4 * 5;
        let gray = (cell + 31 * number).wrapping_mul(2_654_435_761) >> 24;
        file.extend([gray as u8; 3]);
    }
    file
}

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_folder_of_classes_is_divided_and_can_be_written_so() {
    let holder = tempdir().unwrap();
    let at = |name: &str| holder.path().join(name);
    let photos = at("photos");
    for number in 0..60 {
        let class = photos.join(if number < 30 { "cat" } else { "dog" });
        fs::create_dir_all(&class).unwrap();
        fs::write(class.join(format!("{number}.bmp")), bmp(number)).unwrap();
    }
    let split = |out: &str, more: &[&str]| {
        let out = at(out);
        run(["data", "split", text(&photos), text(&out)].iter().chain(more)).succeeds().stdout
    };
    let printed = split("links", &[]);
    let [train, val] = ["train", "val"].map(|part| {
        let of = |class| names(&at("links").join(part).join(class));
        of("cat").union(&of("dog")).cloned().collect::<BTreeSet<String>>()
    });
    assert_eq!((train.len() + val.len(), train.is_disjoint(&val)), (60, true));
    assert!((3..=24).contains(&val.len()), "{val:?}");
    assert_eq!(
        printed,
        format!("train {:>8} images\nval   {:>8} images\n", train.len(), val.len())
    );
    let link = at("links/train/cat").join(names(&at("links/train/cat")).first().unwrap());
    assert!(link.is_symlink() && fs::read(&link).unwrap().starts_with(b"BM"));
    split("copies", &["--copy", "--val-share", "0.5"]);
    let copies = names(&at("copies/val/dog"));
    assert!(copies.len() > names(&at("links/val/dog")).len(), "{copies:?}");
    assert!(!at("copies/val/dog").join(copies.first().unwrap()).is_symlink());
    run(["data", "split", text(&photos), text(&at("links"))]).refuses(&["links is there already"]);

    // A run divides it in the same way, and says so; what was written is no longer divided.
    let begin = |data: &Path| {
        let folder = at("run");
        let flags = ["--max-minutes", "0.000001", "--set", "image_size=16"];
        let start = ["space", "--run", text(&folder), "--data", text(data)];
        let ended = run(start.iter().chain(&flags)).with_code(130);
        fs::remove_dir_all(&folder).unwrap();
        ended.stderr
    };
    let counts = format!("{} are for training, {} for testing", train.len(), val.len());
    assert!(begin(&photos).contains(&counts));
    let said = begin(&at("links"));
    let counts = format!("{} training and {} test images", train.len(), val.len());
    assert!(said.contains(&counts) && !said.contains("are for training"), "{said}");
    let checked = run(["data", "check", text(&photos), "--dataset", "image-folder"]).succeeds();
    assert!(checked.stdout.contains("note: there are no parts for training and testing"));
}
