//! The same seed gives the same bytes on any number of threads; another seed gives others.

use std::fs;

use crate::folder::{RESULTS, assert_same_results};
use crate::program::{run, text};
use crate::reference::{SETTINGS, fresh, reference};

#[test]
fn two_threads_give_the_bytes_of_one() {
    let (_holder, folder) = fresh();
    run(["run", "--config", SETTINGS, "--run", text(&folder), "--threads", "2"]).succeeds();
    assert_same_results(&folder, &reference().folder);
}

#[test]
fn another_seed_gives_another_network() {
    let (_holder, folder) = fresh();
    run(["run", "--config", SETTINGS, "--run", text(&folder), "--threads", "2", "--seed", "1"])
        .succeeds();
    for name in RESULTS {
        assert_ne!(
            fs::read(folder.join(name)).unwrap(),
            fs::read(reference().folder.join(name)).unwrap(),
            "{name}"
        );
    }
}
