//! Tensors that are read through a cheap formula: what a normalisation, a ReLU or a sum makes of a
//! tensor needs no buffer of its own where its readers apply the formula as they load.

use std::ops::Range;

use super::Write;
use crate::aligned::Aligned;
use crate::simd::{Simd, kernel, map, map2, update, update2};

/// An image tensor `[n, c, h, w]` as its readers see it: relu(mask\[n\] · (factor\[c\] · (x -
/// mean\[c\]) + shift\[c\])), each part optional.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Values<'a> {
    pub(crate) data: &'a [f32],
    /// Elements of a plane.
    pub(crate) plane: usize,
    pub(crate) channels: usize,
    pub(crate) affine: Option<Affine<'a>>,
    /// One value a sample.
    pub(crate) mask: Option<&'a [f32]>,
    pub(crate) relu: bool,
}

/// What a normalisation does, one entry a channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Affine<'a> {
    pub(crate) mean: &'a [f32],
    pub(crate) factor: &'a [f32],
    pub(crate) shift: &'a [f32],
}

impl<'a> Values<'a> {
    /// The tensor itself.
    pub(crate) fn plain(data: &'a [f32], channels: usize, plane: usize) -> Self {
        Self { data, plane, channels, affine: None, mask: None, relu: false }
    }

    /// Whether readers see the data itself.
    pub(crate) fn is_plain(&self) -> bool {
        self.affine.is_none() && self.mask.is_none() && !self.relu
    }

    /// The plane of channel `i % channels` of sample `i / channels`.
    #[inline(always)]
    pub(crate) fn at(&self, i: usize) -> Plane<'a> {
        let data = &self.data[i * self.plane..][..self.plane];
        let c = i % self.channels;
        let (mean, mut factor, mut shift) = match self.affine {
            Some(affine) => (affine.mean[c], affine.factor[c], affine.shift[c]),
            None => (0.0, 1.0, 0.0),
        };
        if let Some(mask) = self.mask {
            let mask = mask[i / self.channels];
            (factor, shift) = (factor * mask, shift * mask);
        }
        Plane { data, mean, factor, shift, relu: self.relu, plain: self.is_plain() }
    }
}

/// One plane of [`Values`]: relu(factor · (x - mean) + shift). The mean comes off first: in a sum
/// of two large products digits would be lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plane<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) mean: f32,
    pub(crate) factor: f32,
    pub(crate) shift: f32,
    pub(crate) relu: bool,
    plain: bool,
}

impl<'a> Plane<'a> {
    /// The data itself.
    pub(crate) fn plain(data: &'a [f32]) -> Self {
        Self { data, mean: 0.0, factor: 1.0, shift: 0.0, relu: false, plain: true }
    }

    /// These elements of it.
    pub(crate) fn part(self, range: Range<usize>) -> Self {
        Self { data: &self.data[range], ..self }
    }

    /// Elements `from..from + to.len()` as readers see them.
    #[inline(always)]
    pub(crate) fn read<S: Simd>(&self, simd: S, from: usize, to: &mut [f32]) {
        struct Copy<'a, S> {
            simd: S,
            data: &'a [f32],
            to: &'a mut [f32],
        }
        impl<S: Simd> Pass<S> for Copy<'_, S> {
            #[inline(always)]
            fn run(self, formula: impl Fn(S::V) -> S::V) {
                map(self.simd, self.data, self.to, formula);
            }
        }
        self.pass(simd, Copy { simd, data: &self.data[from..from + to.len()], to });
    }

    /// Gives a pass over the data the formula that readers apply.
    #[inline(always)]
    pub(crate) fn pass<S: Simd>(&self, simd: S, pass: impl Pass<S>) {
        let (mean, factor, shift) =
            (simd.splat(self.mean), simd.splat(self.factor), simd.splat(self.shift));
        if self.plain {
            pass.run(|x| x);
        } else if self.relu {
            pass.run(|x| simd.relu(simd.mul_add(factor, simd.sub(x, mean), shift)));
        } else {
            pass.run(|x| simd.mul_add(factor, simd.sub(x, mean), shift));
        }
    }
}

/// A loop over vectors of a plane, compiled for every formula so that none is chosen inside of it.
pub(crate) trait Pass<S: Simd> {
    /// Runs it, with `formula` for each vector that it loads.
    fn run(self, formula: impl Fn(S::V) -> S::V);
}

/// The gradient of an image tensor as its readers see it: mask\[n\] · scale · dy, carried back
/// through a normalisation by batch statistics where there is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gradients<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) plane: usize,
    pub(crate) channels: usize,
    pub(crate) scale: f32,
    pub(crate) mask: Option<&'a [f32]>,
    pub(crate) normal: Option<Normal<'a>>,
}

/// The gradient of a normalisation's input: factor\[c\] · (dy - mean_dy\[c\]) - slope\[c\] · (x -
/// mean\[c\]).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Normal<'a> {
    /// Input of the normalisation.
    pub(crate) x: &'a [f32],
    pub(crate) mean: &'a [f32],
    pub(crate) factor: &'a [f32],
    pub(crate) mean_dy: &'a [f32],
    pub(crate) slope: &'a [f32],
}

impl<'a> Gradients<'a> {
    /// The gradient itself.
    pub(crate) fn plain(data: &'a [f32], channels: usize, plane: usize) -> Self {
        Self { data, plane, channels, scale: 1.0, mask: None, normal: None }
    }

    /// The factor of dy in sample `n`.
    #[inline(always)]
    pub(crate) fn scale_of(&self, n: usize) -> f32 {
        match self.mask {
            Some(mask) => self.scale * mask[n],
            None => self.scale,
        }
    }

    /// The plane of channel `i % channels` of sample `i / channels`.
    #[inline(always)]
    pub(crate) fn at(&self, i: usize) -> GradientPlane<'a> {
        let range = i * self.plane..(i + 1) * self.plane;
        let (dy, scale) = (&self.data[range.clone()], self.scale_of(i / self.channels));
        match self.normal {
            None => GradientPlane { dy, scale, normal: None },
            Some(n) => {
                let c = i % self.channels;
                let normal = (&n.x[range], n.mean[c], n.slope[c], n.factor[c] * n.mean_dy[c]);
                GradientPlane { dy, scale: n.factor[c] * scale, normal: Some(normal) }
            }
        }
    }
}

/// One plane of [`Gradients`]: scale · dy - slope · (x - mean) - offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GradientPlane<'a> {
    dy: &'a [f32],
    scale: f32,
    /// x, mean, slope, offset.
    normal: Option<(&'a [f32], f32, f32, f32)>,
}

impl GradientPlane<'_> {
    /// Elements `from..from + to.len()` as readers see them.
    #[inline(always)]
    pub(crate) fn read<S: Simd>(&self, simd: S, from: usize, to: &mut [f32]) {
        let dy = &self.dy[from..from + to.len()];
        let scale = simd.splat(self.scale);
        match self.normal {
            None => map(simd, dy, to, |dy| simd.mul(scale, dy)),
            Some((x, mean, slope, offset)) => {
                let (mean, slope, offset) =
                    (simd.splat(mean), simd.splat(-slope), simd.splat(-offset));
                let x = &x[from..from + to.len()];
                map2(simd, dy, x, to, |dy, x| {
                    simd.mul_add(scale, dy, simd.mul_add(slope, simd.sub(x, mean), offset))
                });
            }
        }
    }
}

kernel! {
    /// Elements `from..from + to.len()` of a plane of a gradient as its readers see it.
    pub(crate) fn read_gradient(
        simd, dy: &Gradients<'_>, plane: usize, from: usize, to: &mut [f32],
    ) {
        dy.at(plane).read(simd, from, to);
    }

    /// Writes a plane as its readers see it.
    pub(crate) fn materialize(simd, plane: Plane<'_>, to: &mut [f32]) {
        plane.read(simd, 0, to);
    }

    /// Writes or adds a plane of a gradient; where the tensor it belongs to is read through a ReLU,
    /// only where that lets it through.
    pub(crate) fn send(
        simd, gradient: GradientPlane<'_>, through: Option<Plane<'_>>, write: Write, to: &mut [f32],
    ) {
        const BLOCK: usize = 256;
        let mut block = [0f32; BLOCK];
        for (i, to) in to.chunks_mut(BLOCK).enumerate() {
            let block = &mut block[..to.len()];
            gradient.read(simd, i * BLOCK, block);
            deliver(simd, block, i * BLOCK, through, write, to);
        }
    }

    /// Writes or adds the gradient `from` of a plane that was read as `through`.
    pub(crate) fn send_computed(
        simd, from: &[f32], through: Option<Plane<'_>>, write: Write, to: &mut [f32],
    ) {
        deliver(simd, from, 0, through, write, to);
    }
}

/// Writes or adds to `to` the gradient that `compute` writes, of a plane that was read as
/// `through`: at once where that is all there is to it, else from `kept`.
pub(crate) fn send_result(
    kept: &mut Aligned,
    through: Option<Plane<'_>>,
    write: Write,
    to: &mut [f32],
    compute: impl FnOnce(&mut [f32]),
) {
    if write == Write::Set && !through.is_some_and(|plane| plane.relu) {
        return compute(to);
    }
    kept.resize(to.len());
    compute(kept);
    send_computed(kept, through, write, to);
}

/// Writes or adds a gradient where the ReLU of `through`, if it has one, lets it through; `to`
/// begins at element `start` of the plane.
#[inline(always)]
fn deliver<S: Simd>(
    simd: S,
    from: &[f32],
    start: usize,
    through: Option<Plane<'_>>,
    write: Write,
    to: &mut [f32],
) {
    let Some(plane) = through.filter(|plane| plane.relu) else {
        return match write {
            Write::Set => map(simd, from, to, |from| from),
            Write::Add => update(simd, to, from, |to, from| simd.add(to, from)),
        };
    };
    let values = &plane.data[start..start + to.len()];
    let (mean, factor, shift) =
        (simd.splat(plane.mean), simd.splat(plane.factor), simd.splat(plane.shift));
    let passed =
        |from, x| simd.where_positive(simd.mul_add(factor, simd.sub(x, mean), shift), from);
    match write {
        Write::Set => map2(simd, from, values, to, passed),
        Write::Add => update2(simd, to, from, values, |to, from, x| simd.add(to, passed(from, x))),
    }
}
