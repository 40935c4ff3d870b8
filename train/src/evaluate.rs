use adwp_data::DataError;
use adwp_engine::{Device, Executor, Graph, NodeId, Program, Statistics, Variables};

use crate::{Batch, Result};

/// How a network did on a set of images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// For every image in order, the class of the largest logit; the first of equals.
    pub predictions: Vec<u32>,
    /// Images classified right.
    pub correct: usize,
    /// Logits of all images, `[images, classes]`.
    pub logits: Vec<f32>,
}

impl Evaluation {
    /// Share of images classified right.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.predictions.len().max(1) as f64
    }
}

/// How many images of a set a network classified right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Images classified right.
    pub correct: usize,
    /// Images in all.
    pub images: usize,
}

impl Score {
    /// Share of images classified right.
    pub fn accuracy(self) -> f64 {
        self.correct as f64 / self.images.max(1) as f64
    }
}

/// Runs the forward pass of a network over batches of images.
#[derive(Debug)]
pub struct Evaluator {
    score: Executor,
    recalibrate: Executor,
    images: NodeId,
    logits: NodeId,
    batch: usize,
    /// Of the images, in pixels.
    width: usize,
}

impl Evaluator {
    /// An evaluator of `graph`, whose input `images` fixes the batch size.
    pub fn new(graph: &Graph, images: NodeId, logits: NodeId, device: &Device) -> Result<Self> {
        let executor =
            |statistics| Executor::new(Program::inference(graph, &[logits], statistics)?, device);
        let (score, recalibrate) = (executor(Statistics::Running)?, executor(Statistics::Batch)?);
        Ok(Self {
            score,
            recalibrate,
            images,
            logits,
            batch: graph[images].shape[0],
            width: graph[images].shape[3],
        })
    }

    /// Images of a full batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Bytes that its executors hold in addition to the working memory of the device.
    pub fn own_bytes(&self) -> usize {
        self.score.own_bytes() + self.recalibrate.own_bytes()
    }

    /// Recomputes the BatchNorm statistics: their mean over the full batches given. A smaller last
    /// batch is left out.
    pub fn recalibrate(
        &mut self,
        variables: &mut Variables,
        batches: impl Iterator<Item = Result<Batch, DataError>>,
    ) -> Result<()> {
        let full = batches
            .filter(|batch| batch.as_ref().map_or(true, |batch| batch.labels.len() == self.batch));
        for (i, batch) in full.enumerate() {
            // With a share of 1/1, 1/2, 1/3, … the running value is the mean of all batches so far.
            self.recalibrate.set_statistics_momentum(1.0 / (i + 1) as f32);
            self.recalibrate.run(variables, &[(self.images, batch?.feed())])?;
        }
        Ok(())
    }

    /// Classifies all images with the running statistics. The last batch may be smaller.
    pub fn evaluate(
        &mut self,
        variables: &mut Variables,
        batches: impl Iterator<Item = Result<Batch, DataError>>,
    ) -> Result<Evaluation> {
        let mut result = Evaluation::default();
        let score = self.classify(variables, batches, |logits, predictions| {
            result.predictions.extend(predictions);
            result.logits.extend_from_slice(logits);
        })?;
        Ok(Evaluation { correct: score.correct, ..result })
    }

    /// [`Self::evaluate`] where only the count is wanted: of many images and classes, the logits
    /// alone are gigabytes.
    pub fn score(
        &mut self,
        variables: &mut Variables,
        batches: impl Iterator<Item = Result<Batch, DataError>>,
    ) -> Result<Score> {
        self.classify(variables, batches, |_, _| ())
    }

    /// [`Self::score`], and next to it that of the mean of the logits of each image and of its
    /// mirror image.
    pub fn score_with_flips(
        &mut self,
        variables: &mut Variables,
        batches: impl Iterator<Item = Result<Batch, DataError>>,
    ) -> Result<[Score; 2]> {
        let mut scores = [Score::default(); 2];
        for batch in batches {
            let mut batch = batch?;
            let count = batch.labels.len();
            batch.fill_up(self.batch);
            let mut logits = self.logits_of(variables, &batch)?;
            for (score, mirror) in scores.iter_mut().zip([false, true]) {
                if mirror {
                    // The sum has its largest value where the mean has it.
                    let mirrored = self.logits_of(variables, &batch.mirrored(self.width))?;
                    logits
                        .iter_mut()
                        .zip(mirrored)
                        .for_each(|(logit, mirrored)| *logit += mirrored);
                }
                let classes = logits.len() / self.batch;
                score.correct += correct_predictions(&logits[..count * classes], &batch.labels);
                score.images += count;
            }
        }
        Ok(scores)
    }

    /// Logits of a full batch.
    fn logits_of(&mut self, variables: &mut Variables, batch: &Batch) -> Result<Vec<f32>> {
        self.score.run(variables, &[(self.images, batch.feed())])?;
        Ok(self.score.value(self.logits)?.to_vec())
    }

    /// Hands logits and predictions of each batch to `keep`.
    fn classify(
        &mut self,
        variables: &mut Variables,
        batches: impl Iterator<Item = Result<Batch, DataError>>,
        mut keep: impl FnMut(&[f32], &[u32]),
    ) -> Result<Score> {
        let mut result = Score::default();
        for batch in batches {
            let mut batch = batch?;
            let count = batch.labels.len();
            batch.fill_up(self.batch);
            self.score.run(variables, &[(self.images, batch.feed())])?;
            let logits = self.score.value(self.logits)?;
            let classes = logits.len() / self.batch;
            let logits = &logits[..count * classes];
            let predictions: Vec<u32> = logits.chunks_exact(classes).map(argmax).collect();
            result.correct += predictions
                .iter()
                .zip(&batch.labels)
                .filter(|(prediction, label)| prediction == label)
                .count();
            result.images += count;
            keep(logits, &predictions);
        }
        Ok(result)
    }
}

fn argmax(logits: &[f32]) -> u32 {
    let mut best = 0;
    for (i, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = i;
        }
    }
    best as u32
}

/// How many rows of `logits` `[n, classes]` have their largest value at the label.
pub fn correct_predictions(logits: &[f32], labels: &[u32]) -> usize {
    let classes = logits.len() / labels.len().max(1);
    logits
        .chunks_exact(classes.max(1))
        .zip(labels)
        .filter(|(logits, label)| argmax(logits) == **label)
        .count()
}

/// Labels as the engine takes them: class indices stored as floats, exact up to 2²⁴ classes.
pub fn labels_as_floats(labels: &[u32]) -> Vec<f32> {
    labels.iter().map(|&label| label as f32).collect()
}
