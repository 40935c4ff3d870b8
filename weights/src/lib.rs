//! Weights that others have published: the state dicts of PyTorch that torchvision, timm and
//! EfficientNet-PyTorch give out, read from safetensors and pickled files, under the names of the
//! same network here.

mod error;
mod layout;
mod load;
mod pickled;
mod state_dict;
mod tensor;

pub use error::{Result, WeightsError};
pub use layout::{Layout, Preparation};
pub use load::{Classifier, Loaded, load};
pub use state_dict::StateDict;
pub use tensor::Tensor;
