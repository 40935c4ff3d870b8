use std::fmt;
use std::ops::Deref;

/// The extents of a dense row-major tensor, outermost first. Images are `[batch, channels, height,
/// width]`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Shape(Vec<usize>);

impl Shape {
    /// Number of elements; 1 for a shape without dimensions.
    pub fn elements(&self) -> usize {
        self.0.iter().product()
    }

    /// The four extents of an image tensor, or `None` for another number of dimensions.
    pub fn dims4(&self) -> Option<[usize; 4]> {
        <[usize; 4]>::try_from(self.0.as_slice()).ok()
    }

    /// The two extents of a matrix, or `None` for another number of dimensions.
    pub fn dims2(&self) -> Option<[usize; 2]> {
        <[usize; 2]>::try_from(self.0.as_slice()).ok()
    }
}

impl Deref for Shape {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.0
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Self {
        Self(dims)
    }
}

impl From<&[usize]> for Shape {
    fn from(dims: &[usize]) -> Self {
        Self(dims.to_vec())
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Self(dims.to_vec())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}
