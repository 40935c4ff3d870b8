use super::named::NamedSpace;
use super::{darts, nas_bench_201, nas_bench_macro};
use crate::ModelError;

/// Every space that has a name.
pub static SPACES: &[&NamedSpace] =
    &[&darts::SPACE, &nas_bench_201::SPACE, &nas_bench_macro::SPACE];

/// The space of a name.
///
/// # Errors
/// When there is none of this name; the error lists those there are.
pub fn find(name: &str) -> Result<&'static NamedSpace, ModelError> {
    SPACES.iter().copied().find(|space| space.name == name).ok_or_else(|| {
        let known: Vec<&str> = SPACES.iter().map(|space| space.name).collect();
        ModelError::Invalid(format!("unknown space {name:?}; known are {}", known.join(", ")))
    })
}
