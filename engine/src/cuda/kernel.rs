//! The kernels by name, and their sources.

/// A kernel of `engine/kernels`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kernel {
    Combine,
    Send,
    Activate,
    ActivateBackward,
    ConvForward,
    ConvBackwardInput,
    ConvBackwardWeight,
    ConvBackwardBias,
    DepthwiseForward,
    DepthwiseBackwardInput,
    DepthwiseBackwardWeight,
    Reduce,
    MaxPoolForward,
    MaxPoolBackward,
    AvgPoolForward,
    AvgPoolBackward,
    GlobalAvgPoolForward,
    GlobalAvgPoolBackward,
    NormMoments,
    NormRunning,
    NormBackward,
    LinearForward,
    LinearBackwardInput,
    LinearBackwardWeight,
    LinearBackwardBias,
    CropForward,
    CropBackward,
    ChannelsForward,
    ChannelsBackward,
    SelectForward,
    SelectBackward,
    SoftmaxForward,
    SoftmaxBackward,
    CrossEntropyForward,
    CrossEntropyBackward,
    MaskBackward,
    Products,
    ScatterProducts,
    Fill,
    SumOfSquares,
    ClipFactor,
    Sgd,
    Adam,
    MovingAverage,
    Images,
}

impl Kernel {
    /// Every kernel.
    pub(crate) const ALL: [Self; 45] = [
        Self::Combine,
        Self::Send,
        Self::Activate,
        Self::ActivateBackward,
        Self::ConvForward,
        Self::ConvBackwardInput,
        Self::ConvBackwardWeight,
        Self::ConvBackwardBias,
        Self::DepthwiseForward,
        Self::DepthwiseBackwardInput,
        Self::DepthwiseBackwardWeight,
        Self::Reduce,
        Self::MaxPoolForward,
        Self::MaxPoolBackward,
        Self::AvgPoolForward,
        Self::AvgPoolBackward,
        Self::GlobalAvgPoolForward,
        Self::GlobalAvgPoolBackward,
        Self::NormMoments,
        Self::NormRunning,
        Self::NormBackward,
        Self::LinearForward,
        Self::LinearBackwardInput,
        Self::LinearBackwardWeight,
        Self::LinearBackwardBias,
        Self::CropForward,
        Self::CropBackward,
        Self::ChannelsForward,
        Self::ChannelsBackward,
        Self::SelectForward,
        Self::SelectBackward,
        Self::SoftmaxForward,
        Self::SoftmaxBackward,
        Self::CrossEntropyForward,
        Self::CrossEntropyBackward,
        Self::MaskBackward,
        Self::Products,
        Self::ScatterProducts,
        Self::Fill,
        Self::SumOfSquares,
        Self::ClipFactor,
        Self::Sgd,
        Self::Adam,
        Self::MovingAverage,
        Self::Images,
    ];

    /// Its name in the sources.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Combine => "combine",
            Self::Send => "send",
            Self::Activate => "activate",
            Self::ActivateBackward => "activate_backward",
            Self::ConvForward => "conv_forward",
            Self::ConvBackwardInput => "conv_backward_input",
            Self::ConvBackwardWeight => "conv_backward_weight",
            Self::ConvBackwardBias => "conv_backward_bias",
            Self::DepthwiseForward => "depthwise_forward",
            Self::DepthwiseBackwardInput => "depthwise_backward_input",
            Self::DepthwiseBackwardWeight => "depthwise_backward_weight",
            Self::Reduce => "reduce",
            Self::MaxPoolForward => "max_pool_forward",
            Self::MaxPoolBackward => "max_pool_backward",
            Self::AvgPoolForward => "avg_pool_forward",
            Self::AvgPoolBackward => "avg_pool_backward",
            Self::GlobalAvgPoolForward => "global_avg_pool_forward",
            Self::GlobalAvgPoolBackward => "global_avg_pool_backward",
            Self::NormMoments => "norm_moments",
            Self::NormRunning => "norm_running",
            Self::NormBackward => "norm_backward",
            Self::LinearForward => "linear_forward",
            Self::LinearBackwardInput => "linear_backward_input",
            Self::LinearBackwardWeight => "linear_backward_weight",
            Self::LinearBackwardBias => "linear_backward_bias",
            Self::CropForward => "crop_forward",
            Self::CropBackward => "crop_backward",
            Self::ChannelsForward => "channels_forward",
            Self::ChannelsBackward => "channels_backward",
            Self::SelectForward => "select_forward",
            Self::SelectBackward => "select_backward",
            Self::SoftmaxForward => "softmax_forward",
            Self::SoftmaxBackward => "softmax_backward",
            Self::CrossEntropyForward => "cross_entropy_forward",
            Self::CrossEntropyBackward => "cross_entropy_backward",
            Self::MaskBackward => "mask_backward",
            Self::Products => "products",
            Self::ScatterProducts => "scatter_products",
            Self::Fill => "fill",
            Self::SumOfSquares => "sum_of_squares",
            Self::ClipFactor => "clip_factor",
            Self::Sgd => "sgd",
            Self::Adam => "adam",
            Self::MovingAverage => "moving_average",
            Self::Images => "images",
        }
    }

    /// Whether it is part of a backward pass alone.
    pub(crate) fn is_backward(self) -> bool {
        let name = self.name();
        name.ends_with("backward")
            || name.contains("_backward_")
            || matches!(self, Self::Send | Self::Reduce | Self::Products | Self::ScatterProducts)
    }

    /// The file it is in.
    pub(crate) fn source(self) -> &'static str {
        match self {
            Self::Combine
            | Self::Send
            | Self::Activate
            | Self::ActivateBackward
            | Self::Fill
            | Self::MaskBackward
            | Self::Products
            | Self::ScatterProducts => "elementwise.cu",
            Self::ConvForward
            | Self::ConvBackwardInput
            | Self::ConvBackwardWeight
            | Self::ConvBackwardBias => "conv.cu",
            Self::DepthwiseForward
            | Self::DepthwiseBackwardInput
            | Self::DepthwiseBackwardWeight => "depthwise.cu",
            Self::Reduce => "reduce.cu",
            Self::MaxPoolForward
            | Self::MaxPoolBackward
            | Self::AvgPoolForward
            | Self::AvgPoolBackward
            | Self::GlobalAvgPoolForward
            | Self::GlobalAvgPoolBackward => "pool.cu",
            Self::NormMoments | Self::NormRunning | Self::NormBackward => "norm.cu",
            Self::LinearForward
            | Self::LinearBackwardInput
            | Self::LinearBackwardWeight
            | Self::LinearBackwardBias => "linear.cu",
            Self::CropForward
            | Self::CropBackward
            | Self::ChannelsForward
            | Self::ChannelsBackward
            | Self::SelectForward
            | Self::SelectBackward => "layout.cu",
            Self::SoftmaxForward
            | Self::SoftmaxBackward
            | Self::CrossEntropyForward
            | Self::CrossEntropyBackward => "loss.cu",
            Self::SumOfSquares
            | Self::ClipFactor
            | Self::Sgd
            | Self::Adam
            | Self::MovingAverage => "optim.cu",
            Self::Images => "images.cu",
        }
    }
}
