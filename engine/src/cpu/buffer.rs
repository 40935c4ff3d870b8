use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

use crate::aligned::Aligned;

/// From this size on a buffer is mapped by itself, in large pages where the system has them: a pass
/// over many small pages waits for their addresses more than for their content.
const MAPPED_FROM: usize = 4 << 20;

/// Zeroed `f32` values at the start; memory is taken as they are first touched.
#[derive(Debug)]
pub(crate) enum Buffer {
    Heap(Aligned),
    Mapped(MmapMut),
}

impl Buffer {
    /// A buffer of `length` values.
    pub(crate) fn new(length: usize) -> Self {
        let bytes = length * size_of::<f32>();
        if bytes >= MAPPED_FROM
            && let Ok(map) = MmapMut::map_anon(bytes)
        {
            // Where large pages are refused, small ones serve.
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage);
            return Self::Mapped(map);
        }
        Self::Heap(Aligned::zeros(length))
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::Heap(Aligned::default())
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Heap(values) => values,
            Self::Mapped(map) => bytemuck::cast_slice(map),
        }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        match self {
            Self::Heap(values) => values,
            Self::Mapped(map) => bytemuck::cast_slice_mut(map),
        }
    }
}
