use std::collections::BTreeMap;
use std::path::Path;

use adwp_base::read_bytes;
use safetensors::{Dtype, SafeTensors};

use crate::pickled;
use crate::tensor::{Element, Tensor};
use crate::{Layout, Result, WeightsError};

/// Most bytes of a file: many times what a network of the zoo has.
const MOST_BYTES: u64 = 2 << 30;

/// Names under which training scripts keep the weights among other things.
const NESTED: [&str; 5] =
    ["state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema"];

/// Names that a message has at most.
const SHOWN: usize = 5;

/// What wrappers put before every name.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

/// The tensors of floats that a file of weights holds, by the names that they have there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateDict(pub BTreeMap<String, Tensor>);

impl StateDict {
    /// Reads a `.safetensors` file, or what `torch.save` writes of a state dict, in the form of today
    /// or of before PyTorch 1.6. Which it is follows from the first bytes. No code of a pickled file
    /// is run.
    ///
    /// # Errors
    /// [`WeightsError::File`] where it cannot be read, [`WeightsError::Format`] where it holds
    /// something else.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = read_bytes(path, MOST_BYTES)?;
        Self::from_bytes(&bytes)
            .map_err(|detail| WeightsError::Format { path: path.to_owned(), detail })
    }

    /// Who gave its tensors their names.
    ///
    /// # Errors
    /// [`WeightsError::Unknown`] where nobody known did.
    pub fn layout(&self) -> Result<Layout> {
        let first = || self.0.keys().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        Layout::of(|name| self.0.contains_key(name))
            .ok_or_else(|| WeightsError::Unknown { first: first() })
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let tensors = match bytes {
            [b'P', b'K', 3, 4, ..] => pickled::zipped(bytes, &NESTED)?,
            _ if bytes.starts_with(&pickled::LEGACY) => pickled::legacy(bytes, &NESTED)?,
            [_, _, _, _, _, _, _, _, b'{', ..] => safe(bytes)?,
            _ => return Err("it is neither a safetensors file nor one of torch.save".to_owned()),
        };
        let mut found = Self(tensors);
        while let Some(wrapper) =
            WRAPPERS.iter().find(|wrapper| found.0.keys().all(|name| name.starts_with(**wrapper)))
            && !found.0.is_empty()
        {
            let bare = |(name, tensor): (String, _)| (name[wrapper.len()..].to_owned(), tensor);
            found.0 = found.0.into_iter().map(bare).collect();
        }
        match found.0.is_empty() {
            true => Err("it has no tensors of floats".to_owned()),
            false => Ok(found),
        }
    }
}

fn safe(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let tensor = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let element = match view.dtype() {
            Dtype::F32 => Element::F32,
            Dtype::F64 => Element::F64,
            Dtype::F16 => Element::F16,
            Dtype::BF16 => Element::Bf16,
            _ => return None,
        };
        Some((name, Tensor { shape: view.shape().to_vec(), data: element.floats(view.data()) }))
    };
    Ok(file.tensors().into_iter().filter_map(tensor).collect())
}
