/// A way to score an architecture before it is retrained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// Weights predicted from the architecture itself.
    PredictedDiscrete,
    /// Weights predicted from the α it was drawn as.
    PredictedDrawn,
    /// Weights shared by all architectures.
    OneShot,
    /// No training.
    Naswot,
    /// Its number of parameters.
    Params,
    /// Its number of multiply-adds.
    Madds,
}

impl Method {
    pub(crate) const ALL: [Self; 6] = [
        Self::PredictedDiscrete,
        Self::PredictedDrawn,
        Self::OneShot,
        Self::Naswot,
        Self::Params,
        Self::Madds,
    ];

    /// Its name in files and tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PredictedDiscrete => "predicted-discrete",
            Self::PredictedDrawn => "predicted-as-drawn",
            Self::OneShot => "one-shot",
            Self::Naswot => "naswot",
            Self::Params => "params",
            Self::Madds => "madds",
        }
    }
}
