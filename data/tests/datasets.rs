//! Opening and checking each kind of data set, and what is said when something is wrong with it.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use adwp_data::{
    DataError, DatasetKind, Normalization, OpenOptions, Part, Splits, check, kind_of_folder, open,
    open_part, undivided,
};
use common::{
    fixture, idx, message, record, write_cifar10, write_fashion_mnist, write_image_folder,
};
use tempfile::tempdir;

fn read(kind: DatasetKind, dir: &Path) -> Result<Splits, DataError> {
    open(kind, Some(dir), &OpenOptions::default())
}

fn fails(kind: DatasetKind, dir: &Path) -> DataError {
    match read(kind, dir) {
        Ok(_) => panic!("{kind} was opened"),
        Err(error) => error,
    }
}

const FROM_FOLDERS: [DatasetKind; 4] = [
    DatasetKind::FashionMnist,
    DatasetKind::Cifar10,
    DatasetKind::Cifar100,
    DatasetKind::ImageFolder,
];

#[test]
fn the_sample_opens_without_a_folder() {
    let splits = open(DatasetKind::Sample, None, &OpenOptions::default()).unwrap();
    assert_eq!((splits.train.len(), splits.test.len()), (6000, 1000));
    assert_eq!(splits.train.classes(), splits.test.classes());
    let report = check(DatasetKind::Sample, None, &mut |_, _| ()).unwrap();
    assert!(report.is_ok() && report.notes.is_empty());
    assert_eq!(report.splits[1].per_class, [100; 10]);
}

#[test]
fn folders_that_are_not_there_are_explained() {
    let dir = tempdir().unwrap();
    let missing = dir.path().join("nowhere");
    let file = dir.path().join("file");
    let empty = dir.path().join("empty");
    fs::write(&file, "x").unwrap();
    fs::create_dir(&empty).unwrap();
    for kind in FROM_FOLDERS {
        let none = open(kind, None, &OpenOptions::default()).unwrap_err();
        assert!(message(&none, "--data DIR").starts_with(kind.name()));
        assert!(message(&fails(kind, &missing), "--data DIR").contains("nowhere: no such folder"));
        assert!(message(&fails(kind, &file), "give the folder").contains("file: not a folder"));
        assert!(message(&fails(kind, &empty), "--data DIR").contains("empty: the folder is empty"));
        for dir in [None, Some(missing.as_path()), Some(file.as_path()), Some(empty.as_path())] {
            assert!(check(kind, dir, &mut |_, _| ()).is_err());
        }
    }
}

#[test]
fn cifar10_is_read_in_file_order_from_the_folder_or_its_parent() {
    let dir = tempdir().unwrap();
    let folder = dir.path().join("cifar-10-batches-bin");
    write_cifar10(&folder);
    for path in [dir.path(), &folder] {
        let splits = read(DatasetKind::Cifar10, path).unwrap();
        assert_eq!(splits.train.labels(), [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]);
        assert_eq!(splits.test.labels(), [5, 6]);
        assert_eq!(splits.train.classes()[9], "truck");
        let mut image = vec![0; 3072];
        splits.train.read_image(3, &mut image).unwrap();
        assert_eq!(image, [11; 3072]);
        assert_eq!(splits.normalization, Normalization::of(DatasetKind::Cifar10));
    }
}

#[test]
fn class_names_come_from_the_file_where_there_is_one() {
    let dir = tempdir().unwrap();
    write_cifar10(dir.path());
    let names: Vec<String> = (0..10).map(|i| format!("n{i}")).collect();
    fs::write(dir.path().join("batches.meta.txt"), names.join("\r\n") + "\n\n").unwrap();
    assert_eq!(read(DatasetKind::Cifar10, dir.path()).unwrap().train.classes(), names);
    fs::write(dir.path().join("batches.meta.txt"), "one\ntwo\n").unwrap();
    let error = fails(DatasetKind::Cifar10, dir.path());
    assert!(
        message(&error, "remove it").ends_with("batches.meta.txt: 2 class names, expected 10"),
        "{error}"
    );
}

#[test]
fn damaged_cifar_files_say_where() {
    let dir = tempdir().unwrap();
    write_cifar10(dir.path());
    let file = dir.path().join("data_batch_3.bin");
    let whole = fs::read(&file).unwrap();

    fs::write(&file, &whole[..6000]).unwrap();
    let text = message(&fails(DatasetKind::Cifar10, dir.path()), "truncated");
    assert!(
        text.contains("data_batch_3.bin: 6000 bytes")
            && text.contains("3073 bytes: 1 records and 2927"),
        "{text}"
    );

    fs::write(&file, "").unwrap();
    assert!(matches!(fails(DatasetKind::Cifar10, dir.path()), DataError::EmptyFile { .. }));

    fs::write(&file, [record(&[1], 0), record(&[10], 0)].concat()).unwrap();
    let text = message(&fails(DatasetKind::Cifar10, dir.path()), "fetch it again");
    assert!(
        text.contains("record 1 (byte 3073) has the label 10, which must be below 10"),
        "{text}"
    );

    fs::remove_file(&file).unwrap();
    let text = message(&fails(DatasetKind::Cifar10, dir.path()), "~kriz/cifar.html");
    assert!(text.contains("there is no data_batch_3.bin"), "{text}");
    fs::write(dir.path().join("data_batch_3"), "pickle").unwrap();
    message(&fails(DatasetKind::Cifar10, dir.path()), "Python version");
}

#[test]
fn a_cifar_check_lists_every_damaged_file() {
    let dir = tempdir().unwrap();
    write_cifar10(dir.path());
    fs::write(dir.path().join("data_batch_2.bin"), "x").unwrap();
    fs::write(dir.path().join("data_batch_4.bin"), record(&[77], 0)).unwrap();
    fs::remove_file(dir.path().join("test_batch.bin")).unwrap();
    let report = check(DatasetKind::Cifar10, Some(dir.path()), &mut |_, _| ()).unwrap();
    let files: Vec<bool> = ["data_batch_2.bin", "data_batch_4.bin", "test_batch.bin"]
        .iter()
        .zip(&report.problems)
        .map(|(file, problem)| problem.message.contains(file) && problem.hint.is_some())
        .collect();
    assert_eq!(files, [true; 3], "{report:?}");
    assert!(!report.is_ok());
    assert_eq!(report.splits[0].per_class, [1, 1, 1, 1, 1, 1, 0, 0, 0, 0]);
    assert!(
        report.notes[0].contains("data_batch_1.bin: 2 images, the published file has 10000"),
        "{report:?}"
    );
}

#[test]
fn cifar100_takes_the_fine_label() {
    let dir = tempdir().unwrap();
    let folder = dir.path().join("cifar-100-binary");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("train.bin"), [record(&[4, 72], 1), record(&[19, 99], 2)].concat())
        .unwrap();
    fs::write(folder.join("test.bin"), record(&[0, 0], 3)).unwrap();
    let splits = read(DatasetKind::Cifar100, dir.path()).unwrap();
    assert_eq!(splits.train.labels(), [72, 99]);
    assert_eq!((splits.train.classes().len(), splits.train.classes()[72].as_str()), (100, "seal"));
    let mut image = vec![0; 3072];
    splits.train.read_image(1, &mut image).unwrap();
    assert_eq!(image, [2; 3072]);

    fs::write(folder.join("test.bin"), record(&[0, 100], 3)).unwrap();
    assert!(matches!(
        fails(DatasetKind::Cifar100, dir.path()),
        DataError::LabelOutOfRange { record: 0, offset: 1, value: 100, classes: 100, .. }
    ));
}

#[test]
fn fashion_mnist_is_read_plain() {
    let dir = tempdir().unwrap();
    write_fashion_mnist(dir.path());
    let splits = read(DatasetKind::FashionMnist, dir.path()).unwrap();
    assert_eq!((splits.train.labels(), splits.test.labels()), (&[3, 9, 0][..], &[1, 2][..]));
    let mut image = vec![0; 784];
    splits.train.read_image(2, &mut image).unwrap();
    assert_eq!(image, [100; 784]);
    let report = check(DatasetKind::FashionMnist, Some(dir.path()), &mut |_, _| ()).unwrap();
    assert!(report.is_ok());
    assert_eq!(report.splits[0].per_class, [1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    assert!(
        report.notes[1].contains("test: 2 images, the published data set has 10000"),
        "{report:?}"
    );
}

#[test]
fn fashion_mnist_is_read_compressed() {
    let dir = tempdir().unwrap();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample");
    for stem in ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"] {
        let name = format!("{stem}-ubyte.gz");
        fs::copy(sample.join(&name), dir.path().join(&name)).unwrap();
    }
    assert_eq!(read(DatasetKind::FashionMnist, dir.path()).unwrap().train.len(), 6000);

    let images = dir.path().join("train-images-idx3-ubyte.gz");
    let bytes = fs::read(&images).unwrap();
    fs::write(&images, &bytes[..bytes.len() / 2]).unwrap();
    let text = message(&fails(DatasetKind::FashionMnist, dir.path()), "damaged");
    assert!(text.contains("train-images-idx3-ubyte.gz: cannot decompress the file"), "{text}");
}

#[test]
fn damaged_idx_files_say_what_was_found() {
    let dir = tempdir().unwrap();
    write_fashion_mnist(dir.path());
    let labels = dir.path().join("train-labels-idx1-ubyte");
    fs::write(&labels, idx(0x801, &[2], &[0, 1])).unwrap();
    let text = message(&fails(DatasetKind::FashionMnist, dir.path()), "different data sets");
    assert!(text.contains("has 3 images") && text.contains("has 2 labels"), "{text}");

    fs::copy(dir.path().join("train-images-idx3-ubyte"), &labels).unwrap();
    let text = message(&fails(DatasetKind::FashionMnist, dir.path()), "swapped");
    assert!(text.contains("train-labels-idx1-ubyte: starts with 0x00000803"), "{text}");

    fs::remove_file(&labels).unwrap();
    let text = message(&fails(DatasetKind::FashionMnist, dir.path()), "dataset-fashion-mnist");
    assert!(text.contains("there is no train-labels-idx1-ubyte[.gz]"), "{text}");
    let report = check(DatasetKind::FashionMnist, Some(dir.path()), &mut |_, _| ()).unwrap();
    assert_eq!((report.problems.len(), report.splits.len()), (1, 1), "the test part is still read");
}

#[test]
fn an_image_folder_is_read_by_class() {
    let dir = tempdir().unwrap();
    write_image_folder(dir.path());
    fs::copy(fixture("gray.jpg"), dir.path().join("train/dog/a.png")).unwrap();
    fs::write(dir.path().join("train/dog/notes.txt"), "x").unwrap();
    fs::write(dir.path().join("train/dog/.hidden.jpg"), "x").unwrap();
    fs::create_dir(dir.path().join("train/dog/more.jpg")).unwrap();
    let splits = open(
        DatasetKind::ImageFolder,
        Some(dir.path()),
        &OpenOptions { image_size: Some(24), ..OpenOptions::default() },
    )
    .unwrap();
    assert_eq!(splits.train.classes(), ["cat", "dog"]);
    assert_eq!(splits.train.labels(), [0, 0, 1, 1, 1]);
    assert_eq!(splits.test.labels(), [0, 1]);
    assert_eq!(splits.train.shape().to_string(), "3x24x24");
    assert!(splits.train.path(4).unwrap().ends_with("train/dog/a.png"), "sorted by name");

    let mut image = vec![0; splits.train.shape().values()];
    splits.train.read_image(4, &mut image).unwrap();
    assert!(
        image[0].abs_diff(40) < 4 && image[0] == image[24 * 24],
        "gray in three channels: {}",
        image[0]
    );
    assert!(matches!(
        splits.train.read_image(5, &mut image),
        Err(DataError::NoSuchImage { index: 5, .. })
    ));

    let default = read(DatasetKind::ImageFolder, dir.path()).unwrap();
    assert_eq!(default.test.shape().to_string(), "3x224x224");
    let report = check(DatasetKind::ImageFolder, Some(dir.path()), &mut |_, _| ()).unwrap();
    assert!(report.is_ok(), "{report:?}");
    assert_eq!(report.splits[0].per_class, [2, 3]);
    assert_eq!(
        report.notes,
        [format!(
            "{}: left out: 1 hidden (such as dog/.hidden.jpg), 1 not named like an image \
             (dog/notes.txt), 1 folder that is not looked into (dog/more.jpg)",
            dir.path().join("train").display()
        )]
    );
    assert_eq!(splits.train.left_out().unwrap().to_string(), report.notes[0]);
    assert!(splits.test.left_out().unwrap().is_empty());
}

#[test]
fn an_image_folder_that_is_not_one_is_explained() {
    let dir = tempdir().unwrap();
    let path = dir.path();
    fs::write(path.join("stray.jpg"), "x").unwrap();
    let text = message(&fails(DatasetKind::ImageFolder, path), "train/CLASS");
    assert!(text.contains("there is no folder `train`"), "{text}");

    fs::create_dir(path.join("train")).unwrap();
    message(&fails(DatasetKind::ImageFolder, path), "folder of their own");

    write_image_folder(path);
    fs::rename(path.join("val"), path.join("elsewhere")).unwrap();
    let text = message(&fails(DatasetKind::ImageFolder, path), "val/CLASS");
    // Divided, these few are on one side.
    assert!(text.contains("none of its 4 images is on the side of the test images"), "{text}");
    fs::rename(path.join("elsewhere"), path.join("test")).unwrap();
    assert_eq!(read(DatasetKind::ImageFolder, path).unwrap().test.len(), 2);

    fs::create_dir(path.join("train/emu")).unwrap();
    fs::write(path.join("train/emu/readme.txt"), "x").unwrap();
    let text = message(&fails(DatasetKind::ImageFolder, path), ".jpg");
    assert!(text.contains("emu: the class folder has no image"), "{text}");

    fs::copy(fixture("rgb.jpg"), path.join("train/emu/1.jpg")).unwrap();
    fs::rename(path.join("test/cat"), path.join("test/cow")).unwrap();
    let text = message(&fails(DatasetKind::ImageFolder, path), "same class folders");
    assert!(text.contains("only the first has `cat`, `emu`; only the second has `cow`"), "{text}");
}

#[test]
#[cfg(unix)]
fn linked_class_folders_count_and_their_names_must_be_text() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempdir().unwrap();
    write_image_folder(dir.path());
    for split in ["train", "val"] {
        let folder = dir.path().join(split);
        std::os::unix::fs::symlink(folder.join("cat"), folder.join("lynx")).unwrap();
    }
    let splits = read(DatasetKind::ImageFolder, dir.path()).unwrap();
    assert_eq!(splits.train.class_counts(), [2, 2, 2]);

    // Some file systems take only text as a name.
    let odd = dir.path().join("train/cat").join(std::ffi::OsStr::from_bytes(b"\xff\xfe.jpg"));
    if fs::write(&odd, "no image").is_ok() {
        let splits = read(DatasetKind::ImageFolder, dir.path()).unwrap();
        let error = splits.train.read_image(2, &mut vec![0; 3 * 224 * 224]).unwrap_err();
        assert!(matches!(&error, DataError::UnknownFormat { path, .. } if *path == odd), "{error}");
        fs::copy(fixture("rgb.jpg"), &odd).unwrap();
        splits.train.read_image(2, &mut vec![0; 3 * 224 * 224]).unwrap();
    }

    let odd = dir.path().join("train").join(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    if fs::create_dir(&odd).is_ok() {
        let text = message(&fails(DatasetKind::ImageFolder, dir.path()), "rename");
        assert!(text.contains("not valid UTF-8"), "{text}");
    }
}

#[test]
fn an_image_folder_check_names_every_bad_file() {
    let dir = tempdir().unwrap();
    let path = dir.path();
    write_image_folder(path);
    let jpeg = fs::read(fixture("rgb.jpg")).unwrap();
    fs::write(path.join("train/cat/0.JPEG"), &jpeg[..jpeg.len() - 30]).unwrap();
    fs::write(path.join("val/dog/0.JPEG"), "text").unwrap();
    fs::write(path.join("val/dog/1.png"), "").unwrap();
    fs::create_dir(path.join("val/empty")).unwrap();
    let report = check(DatasetKind::ImageFolder, Some(path), &mut |_, _| ()).unwrap();
    let messages: Vec<&str> =
        report.problems.iter().map(|problem| problem.message.as_str()).collect();
    for part in [
        "val/empty: the class folder has no image",
        "only the second has `empty`",
        "train/cat/0.JPEG: cannot be read as an image: the JPEG data end",
        "val/dog/0.JPEG: cannot be read as an image: it is a text",
        "val/dog/1.png: cannot be read as an image: the file is empty",
    ] {
        assert!(
            messages.iter().any(|message| message.contains(part)),
            "{part} is not in {messages:#?}"
        );
    }
    assert_eq!(messages.len(), 5);
    assert_eq!(report.splits[0].per_class, [1, 2]);
    assert_eq!(report.splits[1].images, 1);
}

#[test]
fn a_half_is_read_without_the_files_of_the_other() {
    let dir = tempdir().unwrap();
    let folder = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let (cifar, fashion, images) = (folder("cifar"), folder("fashion"), folder("images"));
    write_cifar10(&cifar);
    write_fashion_mnist(&fashion);
    write_image_folder(&images);
    for (kind, path, train) in [
        (DatasetKind::Cifar10, &cifar, &cifar.join("data_batch_2.bin")),
        (DatasetKind::FashionMnist, &fashion, &fashion.join("train-images-idx3-ubyte")),
        (DatasetKind::ImageFolder, &images, &images.join("train")),
    ] {
        let part = |part| open_part(kind, Some(path), part, &OpenOptions::default());
        let whole = part(Part::Train).unwrap();
        if train.is_dir() { fs::remove_dir_all(train) } else { fs::write(train, "cut") }.unwrap();
        let test = part(Part::Test).unwrap();
        assert_eq!(test.name(), format!("{kind} test"));
        assert_eq!((whole.name(), test.len()), (format!("{kind} train").as_str(), 2));
        assert!(part(Part::Train).is_err() && read(kind, path).is_err());
    }
    let error = open_part(
        DatasetKind::Cifar10,
        Some(&cifar),
        Part::Test,
        &OpenOptions { image_size: Some(0), ..OpenOptions::default() },
    );
    assert!(matches!(error, Err(DataError::ImageSize { .. })));
}

#[test]
fn a_check_finds_test_images_that_are_training_images() {
    let dir = tempdir().unwrap();
    let path = dir.path();
    write_image_folder(path);
    let checked = || check(DatasetKind::ImageFolder, Some(path), &mut |_, _| ()).unwrap();
    assert!(checked().is_ok() && checked().notes.is_empty());

    // The same pixels in another format, under another name.
    let rgb = image::open(fixture("rgb.jpg")).unwrap();
    rgb.save(path.join("val/cat/again.png")).unwrap();
    let report = checked();
    assert!(report.is_ok(), "{report:?}");
    let expected = format!(
        "1 of the 3 test images are training images as well, such as {}, which is {}",
        path.join("val/cat/again.png").display(),
        path.join("train/cat/0.JPEG").display()
    );
    assert_eq!(report.notes, [expected]);

    for class in ["cat", "dog"] {
        rgb.save(path.join(format!("val/{class}/0.JPEG")).with_extension("png")).unwrap();
        fs::remove_file(path.join(format!("val/{class}/0.JPEG"))).unwrap();
    }
    let report = checked();
    let [problem] = report.problems.as_slice() else { panic!("{report:?}") };
    assert!(problem.message.starts_with("each of the 3 test images is a training image"));
    assert!(problem.hint.as_ref().unwrap().contains("not trained with"));

    let cifar = path.join("cifar");
    write_cifar10(&cifar);
    fs::copy(cifar.join("data_batch_4.bin"), cifar.join("test_batch.bin")).unwrap();
    let report = check(DatasetKind::Cifar10, Some(&cifar), &mut |_, _| ()).unwrap();
    let [problem] = report.problems.as_slice() else { panic!("{report:?}") };
    assert!(
        problem.message.contains("image 0 of test_batch.bin, which is image 0 of data_batch_4")
    );
}

#[test]
fn a_check_looks_at_the_classes() {
    let dir = tempdir().unwrap();
    let path = dir.path();
    write_image_folder(path);
    let checked = || check(DatasetKind::ImageFolder, Some(path), &mut |_, _| ()).unwrap();
    // 40 of one class and 2 of the other are not yet very different.
    let add = |number: usize| {
        fs::copy(fixture("rgb.jpg"), path.join(format!("train/dog/more{number}.jpg"))).unwrap();
    };
    (2..40).for_each(add);
    assert!(checked().is_ok() && checked().notes.is_empty());
    add(40);
    let report = checked();
    assert!(report.is_ok());
    assert!(report.notes[0].starts_with("train: `dog` has 41 images and `cat` 2: "), "{report:?}");

    // Other classes for the test: each split has the names that its numbers belong to.
    fs::rename(path.join("val/dog"), path.join("val/ant")).unwrap();
    fs::copy(fixture("gray.jpg"), path.join("val/ant/1.jpg")).unwrap();
    let report = checked();
    assert_eq!(report.splits[0].classes, ["cat", "dog"]);
    assert_eq!(report.splits[1].classes, ["ant", "cat"]);
    assert_eq!(report.splits[1].per_class, [2, 1]);
    assert!(report.problems[0].message.contains("only the second has `ant`"), "{report:?}");

    for class in ["train/dog", "val/ant"] {
        fs::remove_dir_all(path.join(class)).unwrap();
    }
    let report = checked();
    assert_eq!(report.problems.len(), 1, "{report:?}");
    assert!(report.problems[0].message.starts_with("there is one class only, `cat`"));
}

#[test]
fn a_report_is_json() {
    let dir = tempdir().unwrap();
    write_cifar10(dir.path());
    let json = serde_json::to_value(
        check(DatasetKind::Cifar10, Some(dir.path()), &mut |_, _| ()).unwrap(),
    )
    .unwrap();
    assert_eq!(json["kind"], "cifar10");
    assert_eq!(json["shape"]["channels"], 3);
    assert_eq!(json["splits"][0]["images"], 10);
}

/// Reads the published files where they are: ADWP_CIFAR10 and ADWP_FASHION_MNIST name their
/// folders.
#[test]
fn the_constants_are_those_of_the_published_files() {
    for (variable, kind, tolerance) in
        // DARTS' constants differ from exact ones in the seventh digit.
        [
            ("ADWP_CIFAR10", DatasetKind::Cifar10, 4e-7),
            ("ADWP_FASHION_MNIST", DatasetKind::FashionMnist, 0.0),
        ]
    {
        let Some(dir) = std::env::var_os(variable) else {
            continue;
        };
        let splits = read(kind, Path::new(&dir)).unwrap();
        assert_eq!((splits.train.len() % 10_000, splits.test.len()), (0, 10_000));
        let measured = Normalization::measure(&splits.train).unwrap();
        let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= tolerance);
        let stated = &splits.normalization;
        assert!(
            close(&measured.mean, &stated.mean) && close(&measured.std, &stated.std),
            "measured {measured:?}, stated {stated:?}"
        );
        let report = check(kind, Some(Path::new(&dir)), &mut |_, _| ()).unwrap();
        assert!(report.is_ok() && report.notes.is_empty(), "{report:?}");
    }
}

#[test]
fn a_folder_tells_its_kind_by_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    let kind = |path: &Path| kind_of_folder(path);
    assert_eq!(kind(&folder("empty")), None);
    assert_eq!(kind(&dir.path().join("missing")), None);
    let photos = folder("photos");
    folder("photos/train/cat");
    assert_eq!(kind(&photos), Some(DatasetKind::ImageFolder), "what there is is divided");
    folder("photos/test");
    assert_eq!(kind(&photos), None, "no class to test on");
    folder("photos/test/cat");
    assert_eq!(kind(&photos), Some(DatasetKind::ImageFolder));
    let cifar = folder("cifar/cifar-10-batches-bin");
    for i in 1..=5 {
        fs::write(cifar.join(format!("data_batch_{i}.bin")), "").unwrap();
    }
    assert_eq!(kind(&cifar), None);
    fs::write(cifar.join("test_batch.bin"), "").unwrap();
    for path in [&cifar, &dir.path().join("cifar")] {
        assert_eq!(kind(path), Some(DatasetKind::Cifar10));
    }
    let hundred = folder("hundred");
    ["train.bin", "test.bin"].iter().for_each(|file| fs::write(hundred.join(file), "").unwrap());
    assert_eq!(kind(&hundred), Some(DatasetKind::Cifar100));
    let fashion = folder("fashion");
    for file in ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"] {
        fs::write(fashion.join(format!("{file}-ubyte.gz")), "").unwrap();
    }
    assert_eq!(kind(&fashion), Some(DatasetKind::FashionMnist));
}

fn is_divided_here(dir: &Path) -> bool {
    undivided(DatasetKind::ImageFolder, Some(dir)).is_some()
}

/// A picture that no other number gives: sixteen cells of their own brightness.
fn picture(number: u32, side: u32) -> image::GrayImage {
    image::GrayImage::from_fn(side, side, |x, y| {
        let cell = (x * 5 / side) * 7 + (y * 4 / side) * 13;
        image::Luma([(cell.wrapping_mul(number * 2 + 1).wrapping_mul(2_654_435_761) >> 24) as u8])
    })
}

#[test]
fn a_folder_without_parts_is_divided_by_what_its_images_show() {
    let dir = tempdir().unwrap();
    let write = |folder: &str, name: String, number: u32, side: u32| {
        let folder = dir.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        picture(number, side).save(folder.join(name)).unwrap();
    };
    for number in 0..60 {
        let class = if number % 2 == 0 { "photos/cat" } else { "photos/dog" };
        write(class, format!("{number}.png"), number, 40);
    }
    let photos = dir.path().join("photos");
    assert!(is_divided_here(&photos));
    assert_eq!(kind_of_folder(&photos), Some(DatasetKind::ImageFolder));
    let sides = |path: &Path, val_share| {
        let options = OpenOptions { val_share, ..OpenOptions::default() };
        let splits = open(DatasetKind::ImageFolder, Some(path), &options).unwrap();
        [splits.train, splits.test].map(|images| {
            let name =
                |i| images.path(i).unwrap().file_stem().unwrap().to_str().unwrap().to_owned();
            (0..images.len()).map(name).collect::<BTreeSet<String>>()
        })
    };
    let [train, test] = sides(&photos, None);
    assert_eq!(train.len() + test.len(), 60);
    assert!((4..=22).contains(&test.len()), "{test:?}");
    assert_eq!(sides(&photos, None), [train.clone(), test.clone()]);
    let part =
        open_part(DatasetKind::ImageFolder, Some(&photos), Part::Test, &OpenOptions::default());
    assert_eq!(part.unwrap().len(), test.len());
    // A larger share keeps those that were for testing.
    let [fewer, more] = sides(&photos, Some(0.5));
    assert!(more.is_superset(&test) && more.len() > test.len() && fewer.len() < train.len());

    // More images, and the same in another size and format, move none to the other side.
    for number in 0..90 {
        let class = if number % 2 == 0 { "photos/cat" } else { "photos/dog" };
        write(class, format!("{number}.bmp"), number, 100);
    }
    let [train2, test2] = sides(&photos, None);
    assert!(train2.is_superset(&train) && test2.is_superset(&test));
    assert!(train2.is_disjoint(&test2), "an image is on both sides");

    // So is `train` where it is alone; what has its parts is left as it is.
    fs::create_dir(dir.path().join("whole")).unwrap();
    fs::rename(&photos, dir.path().join("whole/train")).unwrap();
    assert_eq!(sides(&dir.path().join("whole"), None), [train2, test2]);
    write("whole/valid/cat", "a.png".into(), 3, 40);
    write("whole/valid/dog", "b.png".into(), 4, 40);
    assert!(!is_divided_here(&dir.path().join("whole")));
    assert_eq!(sides(&dir.path().join("whole"), None)[1].len(), 2);
    // Images that lie in `train` and `val` without classes are no two classes.
    write("loose/train", "a.png".into(), 3, 40);
    write("loose/val", "b.png".into(), 3, 40);
    assert!(!is_divided_here(&dir.path().join("loose")));
    let share = |share| {
        let options = OpenOptions { val_share: Some(share), ..OpenOptions::default() };
        open(DatasetKind::ImageFolder, Some(&dir.path().join("whole")), &options)
    };
    for wrong in [0.0, 1.0, f64::NAN, -0.2] {
        assert!(matches!(share(wrong), Err(DataError::ValShare(_))), "{wrong}");
    }
}
