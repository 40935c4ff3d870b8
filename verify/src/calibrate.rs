use std::path::Path;

use adwp_base::Draft;
use adwp_export::Trained;
use adwp_export::onnx::{Numbers, quantizer};
use adwp_measure::onnx::OnnxModel;
use adwp_measure::ort_library::OrtLibrary;
use adwp_measure::runtime::Probe;
use adwp_train::{BatchSource, Reporter, watched};

use crate::Result;

/// The 8-bit numbers of a network: its quantiser after ONNX Runtime has shown it `count` of the
/// `train` images, evenly from all of them, or all where there are fewer. `folder` has room for a
/// file that is removed again.
///
/// # Errors
/// When ONNX Runtime fails, or an image or the file does.
pub fn calibrate(
    trained: &Trained,
    train: &BatchSource,
    count: usize,
    library: &OrtLibrary,
    folder: &Path,
    reporter: &mut dyn Reporter,
) -> Result<Numbers> {
    let mut quantizer = quantizer(trained)?;
    let (all, images) = (train.indices.len(), count.min(train.indices.len()));
    let indices = (0..images).map(|i| train.indices[i * all / images]).collect();
    let source = BatchSource { indices, stored: None, ..train.clone() };
    let float = Draft::write(&folder.join("calibration.onnx"), &quantizer.calibration_model())?;
    let model = OnnxModel::load(float.path())?;
    let mut probe = Probe::load(&model, Some(library))?;
    for batch in watched(reporter, "calibration batch", source.arrays(0)?) {
        let batch = batch?;
        quantizer.observe(&model.input().name, &batch.images)?;
        let mut observed = Ok(());
        probe.run(&batch.images, batch.labels.len(), |tensor, values| {
            if observed.is_ok() {
                observed = quantizer.observe(tensor, values);
            }
        })?;
        observed?;
    }
    reporter.phase_end();
    Ok(Numbers::Int8 { quantizer: Box::new(quantizer), images })
}
