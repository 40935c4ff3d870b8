use std::{fs, path::Path};

use adwp_measure::{
    DeployError,
    ort_library::{LibrarySource, Places},
};
use tempfile::TempDir;

fn library_name(version: &str) -> String {
    match std::env::consts::OS {
        "windows" => "onnxruntime.dll".to_owned(),
        "macos" => format!("libonnxruntime.{version}.dylib"),
        _ => format!("libonnxruntime.so.{version}"),
    }
}

fn put(dir: &Path, name: &str) -> std::path::PathBuf {
    fs::create_dir_all(dir).unwrap();
    let path = dir.join(name);
    fs::write(&path, "").unwrap();
    path
}

#[test]
fn places_are_searched_in_order() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    let newest = library_name("1.31.1");
    let explicit = put(&at("explicit"), &newest);
    let environment = put(&at("environment"), &newest);
    let beside = put(&at("install/lib"), &newest);
    let runtime = put(&at(".runtime/wheel/onnxruntime/capi"), &newest);
    let python = put(&at("venv/lib/python3.11/site-packages/onnxruntime/capi"), &newest);
    let system = put(&at("usr/lib"), &newest);
    fs::create_dir_all(at("install/bin")).unwrap();
    let mut places = Places {
        explicit: Some(explicit.clone()),
        environment: Some(at("environment")),
        program_dir: Some(at("install/bin")),
        python_prefixes: vec![at("nothing"), at("venv")],
        system_dirs: vec![at("usr/lib")],
    };
    let found: Vec<_> =
        places.candidates().into_iter().map(|library| (library.path, library.source)).collect();
    let expected = [
        (explicit, LibrarySource::Explicit),
        (environment, LibrarySource::Environment),
        (beside, LibrarySource::BesideProgram),
        (runtime, LibrarySource::RuntimeDir),
        (python, LibrarySource::PythonPackage),
        (system, LibrarySource::System),
    ];
    assert_eq!(found, expected);
    for (path, source) in expected {
        let library = places.find().unwrap();
        assert_eq!((&library.path, library.source), (&path, source));
        match source {
            LibrarySource::Explicit => places.explicit = None,
            LibrarySource::Environment => places.environment = None,
            _ => fs::remove_file(path).unwrap(),
        }
    }
    let error = places.find().unwrap_err();
    assert!(
        matches!(&error, DeployError::OrtNotFound { searched } if searched.contains(&at("usr/lib")))
    );
    assert!(error.hint().unwrap().contains("pip install onnxruntime"));
}

#[test]
fn a_named_place_without_a_library_is_an_error() {
    let dir = TempDir::new().unwrap();
    put(&dir.path().join("lib"), &library_name("1.31.1"));
    let system_dirs = vec![dir.path().join("lib")];
    for (places, name) in [
        (Places { explicit: Some(dir.path().join("no")), ..Default::default() }, "--ort-lib"),
        (
            Places { environment: Some(dir.path().join("no")), ..Default::default() },
            "ORT_DYLIB_PATH",
        ),
    ] {
        let error = Places { system_dirs: system_dirs.clone(), ..places }.find().unwrap_err();
        assert!(matches!(&error, DeployError::OrtNotThere { .. }));
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[cfg(not(windows))]
#[test]
fn the_highest_version_wins_and_plug_ins_are_no_library() {
    let dir = TempDir::new().unwrap();
    let place = Places { system_dirs: vec![dir.path().to_owned()], ..Default::default() };
    put(dir.path(), "libonnxruntime_providers_shared.so");
    put(dir.path(), "libonnxruntime.so.txt");
    assert!(place.candidates().is_empty());
    put(dir.path(), &library_name("1.16.3"));
    assert!(matches!(
        place.find(),
        Err(DeployError::OrtLoad { detail, .. }) if detail.contains("1.16.3")
    ));
    let older = Places {
        system_dirs: vec![dir.path().to_owned(), dir.path().join("new")],
        ..Default::default()
    };
    put(&dir.path().join("new"), &library_name("1.17.0"));
    assert_eq!(older.find().unwrap().version.as_deref(), Some("1.17.0"));
    for version in ["1.9.0", "1.18.1", "1.31.1"] {
        put(dir.path(), &library_name(version));
    }
    assert_eq!(place.find().unwrap().version.as_deref(), Some("1.31.1"));
}

#[cfg(target_os = "linux")]
#[test]
fn the_version_comes_from_links_and_packages_too() {
    let dir = TempDir::new().unwrap();
    let real = put(dir.path(), "libonnxruntime.so.1.20.0");
    let links = dir.path().join("links");
    fs::create_dir(&links).unwrap();
    std::os::unix::fs::symlink(&real, links.join("libonnxruntime.so")).unwrap();
    let place = Places { system_dirs: vec![links], ..Default::default() };
    assert_eq!(place.find().unwrap().version.as_deref(), Some("1.20.0"));
    let packages = dir.path().join("venv/lib/python3.12/site-packages");
    put(&packages.join("onnxruntime/capi"), "libonnxruntime.so");
    fs::create_dir(packages.join("onnxruntime-1.22.0.dist-info")).unwrap();
    let place = Places { python_prefixes: vec![dir.path().join("venv")], ..Default::default() };
    assert_eq!(place.find().unwrap().version.as_deref(), Some("1.22.0"));
}
