//! Which images of a folder that has no parts are for training and which for testing.

use std::ffi::OsStr;
use std::path::Path;

use rayon::prelude::*;

use crate::decode::{decode_picture, read};
use crate::resize::Picture;

/// Share of the images that are for testing where no other is asked for.
pub const VAL_SHARE: f64 = 0.2;

/// Columns and rows of the grid that tells pictures apart; a column more is compared with.
const GRID: usize = 4;

/// By how much a cell has to be brighter than the one to its right, in steps of 255: the noise of
/// compression is less.
const BRIGHTER: f64 = 4.0;

/// Of each class below `root` and each of its files whether it is for testing, a share of them.
///
/// That follows from what the picture shows, in a grid of a few cells, and from nothing else: the
/// same picture, in another format or size, is on the same side whatever else is in the folder. A
/// file that is no picture goes by its bytes.
pub(crate) fn sides(
    root: &Path,
    classes: &[String],
    files: &[Vec<Box<OsStr>>],
    share: f64,
) -> Vec<Vec<bool>> {
    let of_class = |(class, files): (&String, &Vec<Box<OsStr>>)| {
        let folder = root.join(class);
        files.par_iter().map(|name| place(&folder.join(&**name)) < share).collect()
    };
    classes.iter().zip(files).map(of_class).collect()
}

/// A number from 0 to 1 that belongs to the picture in a file.
fn place(path: &Path) -> f64 {
    let bytes = read(path).unwrap_or_default();
    let key = match decode_picture(path, &bytes) {
        Ok(picture) => look(&picture),
        Err(_) => bytes.iter().fold(1, |hash, &byte| mixed(hash ^ u64::from(byte))),
    };
    mixed(key) as f64 / u64::MAX as f64
}

/// One bit for each cell of the grid: whether it is brighter than the one to its right.
fn look(picture: &Picture) -> u64 {
    let cells = cells(picture);
    let pairs = cells.chunks_exact(GRID + 1).flat_map(|row| row.windows(2));
    pairs.fold(0, |bits, pair| bits << 1 | u64::from(pair[0] > pair[1] + BRIGHTER))
}

/// Mean brightness of the cells of the grid, row by row.
fn cells(picture: &Picture) -> Vec<f64> {
    let Picture { width, height, channels, .. } = *picture;
    let weights: &[f64] = if channels == 3 { &[0.299, 0.587, 0.114] } else { &[1.0] };
    let bounds = |cell: usize, cells: usize, size: usize| {
        let from = cell * size / cells;
        from..((cell + 1) * size / cells).max(from + 1).min(size)
    };
    let mean = |row: usize, column: usize| {
        let (rows, columns) = (bounds(row, GRID, height), bounds(column, GRID + 1, width));
        let count = (rows.len() * columns.len()) as f64;
        let line = |y: usize| {
            let line = &picture.pixels[(y * width + columns.start) * channels..];
            line[..columns.len() * channels].chunks_exact(channels)
        };
        let brightness = |pixel: &[u8]| -> f64 {
            pixel.iter().zip(weights).map(|(&value, weight)| weight * f64::from(value)).sum()
        };
        rows.flat_map(line).map(brightness).sum::<f64>() / count
    };
    (0..GRID)
        .flat_map(|row| (0..=GRID).map(move |column| (row, column)))
        .map(|(r, c)| mean(r, c))
        .collect()
}

/// The finaliser of SplitMix64.
fn mixed(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_picture_shows_decides_and_not_how_large_it_is() {
        let picture = |scale: usize, noise: u8| {
            let (width, height) = (20 * scale, 12 * scale);
            let pixel = |at: usize| {
                let (x, y) = (at % width / scale, at / width / scale);
                let value = (x * x * 7 + y * 31 + x * y * 3) as u8 / 2;
                [value.saturating_add(noise * (at % 2) as u8); 3]
            };
            let pixels = (0..width * height).flat_map(pixel).collect();
            Picture { width, height, channels: 3, pixels }
        };
        assert_eq!(look(&picture(1, 0)), look(&picture(5, 0)));
        assert_eq!(look(&picture(1, 0)), look(&picture(1, 2)));
        let upside_down = |mut of: Picture| {
            of.pixels.reverse();
            of
        };
        assert_ne!(look(&picture(1, 0)), look(&upside_down(picture(1, 0))));
        for size in [1, 2, 3] {
            let tiny = Picture { width: size, height: 1, channels: 1, pixels: vec![9; size] };
            assert_eq!(look(&tiny), 0);
        }
    }
}
