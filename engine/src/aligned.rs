use std::ops::{Deref, DerefMut};

/// Values in a line of the cache.
pub(crate) const LINE: usize = 16;

/// Values that begin at a line of the cache: a vector that lies across two lines costs two.
#[derive(Debug, Default)]
pub(crate) struct Aligned {
    data: Vec<f32>,
    start: usize,
    length: usize,
}

impl Aligned {
    pub(crate) fn zeros(length: usize) -> Self {
        let mut zeros = Self::default();
        zeros.resize(length);
        zeros
    }

    /// Makes it `length` values long. What they are is left open: those there before, or zeros.
    pub(crate) fn resize(&mut self, length: usize) {
        if self.data.len() < length + LINE {
            self.data = vec![0.0; length + LINE];
            // A platform that cannot tell the offset gets values that are right at any.
            self.start = self.data.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        }
        self.length = length;
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data[self.start..self.start + self.length]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[self.start..self.start + self.length]
    }
}
