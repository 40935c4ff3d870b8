/// A step of a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// Epoch, from 0.
    pub epoch: usize,
    /// Step of the epoch, from 0.
    pub step: usize,
}

/// The loss and the predictions of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// The loss that was lowered.
    pub loss: f32,
    /// Training images of the step.
    pub images: usize,
    /// How many of them were classified right.
    pub correct: usize,
}
