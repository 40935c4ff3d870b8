use adwp_measure::{
    DeployError,
    accuracy::{Batch, evaluate},
    runtime::{Session, SessionOptions},
};
use tempfile::TempDir;

use crate::{models::Builder, runtimes::runtimes};

/// A model whose logits are its pixels: `[batch, 6, 1, 1]` to 6 classes.
fn pixels_are_logits(dir: &TempDir) -> std::path::PathBuf {
    let mut model = Builder::new([-1, 6, 1, 1]);
    model.node("Flatten", &["x"], "y", vec![]).output("y", &[-1, 6]).write(dir, "identity.onnx")
}

#[test]
fn images_are_judged_one_by_one() {
    let dir = TempDir::new().unwrap();
    let path = pixels_are_logits(&dir);
    let rising = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
    let falling = [5.0, 4.0, 3.0, 2.0, 1.0, 0.0];
    for runtime in runtimes() {
        let mut session = Session::load(runtime, &path, &SessionOptions::default()).unwrap();
        let batches = [
            Batch { images: [rising, falling].concat(), labels: vec![5, 5] },
            Batch { images: rising.to_vec(), labels: vec![1] },
            Batch::default(),
        ];
        let accuracy = evaluate(&mut session, batches.map(Ok)).unwrap();
        assert_eq!((accuracy.n, accuracy.top1, accuracy.top5), (3, 1, 2), "{runtime}");
        assert_eq!(accuracy.predictions, [5, 0, 5]);
    }
}

#[test]
fn batches_that_do_not_fit_are_errors() {
    let dir = TempDir::new().unwrap();
    let mut session = Session::load(
        adwp_measure::runtime::Runtime::Tract,
        pixels_are_logits(&dir),
        &SessionOptions::default(),
    )
    .unwrap();
    let good = || Batch { images: vec![0.0; 6], labels: vec![0] };
    let wrong_label = evaluate(&mut session, [Ok(good()), Ok(Batch { labels: vec![6], ..good() })]);
    assert!(matches!(wrong_label, Err(DeployError::Images { batch: 1, .. })));
    let wrong_length = evaluate(&mut session, [Ok(Batch { labels: vec![0, 0], ..good() })]);
    assert!(matches!(wrong_length, Err(DeployError::Length { .. })));
    let unreadable = evaluate(&mut session, [Err("record 7 is cut off".into())]);
    assert!(unreadable.unwrap_err().to_string().contains("record 7"));
}
