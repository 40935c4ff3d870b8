//! Regular numbers: what a program computes and no training gives.

use std::collections::HashSet;

use super::numbers::Numbers;

const COUNTING: &str = "the whole numbers from 0 on, in order: places, not weights";
const POWERS: &str =
    "each number is the same multiple of the one before: frequencies or slopes, not weights";
const WAVES: &str =
    "sines or cosines of positions times frequencies: a table of positions, not weights";

/// What the numbers of a stored tensor of `shape` are, where nothing that is learned has such.
pub(super) fn never_learned(numbers: &Numbers<'_>, shape: &[usize]) -> Option<&'static str> {
    if numbers.len() != shape.iter().product::<usize>() {
        return None;
    }
    if are_counting(numbers) {
        Some(COUNTING)
    } else if are_powers(numbers) {
        Some(POWERS)
    } else if are_waves(numbers, shape) {
        Some(WAVES)
    } else {
        None
    }
}

/// 0, 1, 2, and so on.
fn are_counting(numbers: &Numbers<'_>) -> bool {
    numbers.len() > 2 && numbers.iter().enumerate().all(|(index, value)| value == index as f64)
}

/// Whether integers of `shape` rise or fall in equal steps along every axis, as places do.
pub(super) fn are_ordered(numbers: &Numbers<'_>, shape: &[usize]) -> bool {
    let len = numbers.len();
    if len < 3 || len != shape.iter().product::<usize>() {
        return false;
    }
    let inner = |axis: usize| shape[axis + 1..].iter().product::<usize>();
    let steps: Vec<f64> = (0..shape.len())
        .map(|axis| if shape[axis] > 1 { numbers.at(inner(axis)) - numbers.at(0) } else { 0.0 })
        .collect();
    let place = |index: usize, axis: usize| (index / inner(axis) % shape[axis]) as f64;
    let line = |index: usize| {
        let way = steps.iter().enumerate().map(|(axis, step)| step * place(index, axis));
        numbers.at(0) + way.sum::<f64>()
    };
    steps.iter().any(|&step| step != 0.0) && (0..len).all(|index| numbers.at(index) == line(index))
}

/// A geometric series, or two: slopes of 12 heads are those of 8 and every other one of 16.
fn are_powers(numbers: &Numbers<'_>) -> bool {
    let len = numbers.len();
    let first = (len + 1).next_power_of_two() / 2;
    is_series(numbers, 0, len)
        || is_series(numbers, 0, first) && (len - first < 2 || is_series(numbers, first, len))
}

/// Whether the numbers from `start` to `end` are a geometric series. Of 4 to 7, which random ones
/// could resemble, to the precision of single floats; of more to that of half ones.
fn is_series(numbers: &Numbers<'_>, start: usize, end: usize) -> bool {
    let len = end.saturating_sub(start);
    // Two numbers are always one, so that a second series says nothing if it is so short.
    if len < 4 && (start == 0 || len < 2) {
        return false;
    }
    let (tolerance, ratio) =
        (if len < 8 { 1e-5 } else { 4e-3 }, numbers.at(start + 1) / numbers.at(start));
    let is_ratio = ratio.is_finite() && ratio > 0.0 && (ratio - 1.0).abs() > 2.0 * tolerance;
    is_ratio
        && (start + 1..end).all(|index| {
            let value = numbers.at(index);
            value != 0.0 && (numbers.at(index - 1) * ratio - value).abs() <= tolerance * value.abs()
        })
}

/// Positions that a wave has at least: of fewer anything is one.
const FEWEST_POSITIONS: usize = 6;

/// What a table in half precision differs from a wave by, at most, in parts of its height.
const ROUNDED: f64 = 4e-3;

/// Whether the numbers along some axis are `a cos(w p + b)`, each line with an `a`, `b` and `w` of
/// its own: then `v[p + 1] + v[p - 1]` is `2 cos(w) v[p]`. Zeros are passed over, since tables have
/// rows of zeros for padding and class tokens.
fn are_waves(numbers: &Numbers<'_>, shape: &[usize]) -> bool {
    (0..shape.len()).any(|axis| {
        let (size, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
        if size < FEWEST_POSITIONS || inner == 0 {
            return false;
        }
        let mut swings = false;
        let mut lines = (0..numbers.len() / size).map(|line| {
            let start = line / inner * size * inner + line % inner;
            wave(size, |position| numbers.at(start + position * inner))
        });
        lines.all(|wave| match wave {
            Wave::None => false,
            Wave::Flat => true,
            Wave::Swings => {
                swings = true;
                true
            }
        }) && swings
    })
}

/// What the numbers of one line are.
enum Wave {
    /// No wave.
    None,
    /// Nothing that a straight line would not be too.
    Flat,
    /// One that goes up and down.
    Swings,
}

/// What `size` numbers `at` positions in a row are.
fn wave(size: usize, at: impl Fn(usize) -> f64) -> Wave {
    let equations = || {
        (1..size - 1)
            .map(|position| [at(position - 1), at(position), at(position + 1)])
            .filter(|values| values.iter().all(|&value| value != 0.0))
    };
    let height = (0..size).fold(0.0_f64, |height, position| height.max(at(position).abs()));
    if height == 0.0 {
        return Wave::Flat;
    }
    let sums = equations().fold((0.0, 0.0, 0), |(above, below, count), [before, value, after]| {
        (above + (before + after) * value, below + value * value, count + 1)
    });
    let (above, below, count) = sums;
    if count + 2 < FEWEST_POSITIONS || !height.is_finite() {
        return Wave::None;
    }
    let factor: f64 = above / below;
    let fits = equations()
        .all(|[before, value, after]| (before + after - factor * value).abs() <= ROUNDED * height);
    match fits && factor.abs() <= 2.0 + ROUNDED {
        false => Wave::None,
        true if factor < 1.9 => Wave::Swings,
        true => Wave::Flat,
    }
}

const WHOLE: &str = "whole or half numbers: places, strides or sizes?";
const STEPPED: &str = "numbers that go in equal steps: places, boxes or slopes?";

/// What numbers that look like those of a grid may be.
pub(super) fn laid_out(numbers: &Numbers<'_>, shape: &[usize]) -> Option<&'static str> {
    if are_whole(numbers) {
        Some(WHOLE)
    } else if are_stepped(numbers, shape) {
        Some(STEPPED)
    } else {
        None
    }
}

/// Whether all are whole or half numbers, with one beyond ±1 and not one value in every place, as
/// places, strides and sizes in pixels are.
fn are_whole(numbers: &Numbers<'_>) -> bool {
    let first = (numbers.len() > 0).then(|| numbers.at(0));
    numbers.len() > 3
        && numbers.iter().all(|value| (2.0 * value).fract() == 0.0)
        && numbers.iter().any(|value| value.abs() > 1.0)
        && numbers.iter().any(|value| Some(value) != first)
}

/// Steps that are looked at.
const MOST_STEPS: usize = 1 << 14;

/// Whether the numbers of a tensor of `shape` go in few different steps along one of its axes, as
/// places and boxes laid on a grid do.
fn are_stepped(numbers: &Numbers<'_>, shape: &[usize]) -> bool {
    let len = numbers.len();
    if len != shape.iter().product::<usize>() || numbers.iter().any(|value| !value.is_finite()) {
        return false;
    }
    let height = numbers.iter().fold(0.0_f64, |height, value| height.max(value.abs()));
    // In parts that single floats can hold.
    let unit = height / f64::from(1 << 20);
    (0..shape.len()).any(|axis| {
        let inner = shape[axis + 1..].iter().product::<usize>();
        let size = shape[axis];
        let step = |index: usize, back: usize| {
            let step = numbers.at(index) - numbers.at(index - back * inner);
            (step / unit).round() as i64
        };
        let inside = |far: usize| move |&index: &usize| index / inner % size >= far;
        let rises = size > 3
            && (0..len).filter(inside(1)).any(|index| step(index, 1) != 0)
            && (0..len)
                .filter(inside(2))
                .all(|index| (step(index, 1) - step(index - inner, 1)).abs() <= 2);
        let mut different = HashSet::new();
        let steps = (0..len).filter(inside(1)).take(MOST_STEPS).map(|index| step(index, 1));
        let moving = steps.filter(|&step| step != 0).inspect(|&step| {
            // Rounding puts a step into one of two units.
            different.insert(step.div_euclid(4));
        });
        let count = moving.count();
        rises || count >= SAME_STEPS && different.len() * SAME_STEPS <= count
    })
}

/// Times that each step is there, on average, where numbers lie on a grid.
const SAME_STEPS: usize = 256;
