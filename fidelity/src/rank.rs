//! Rank statistics, and what else studies compute of samples.

use rand::{Rng, RngExt};

/// Kendall's τ-b: concordant less discordant pairs, as a share of the pairs that are tied in
/// neither variable (geometric mean of both counts). `None` where one of the variables is constant.
///
/// Counted in n log n steps (Knight, A Computer Method for Calculating Kendall's Tau with Ungrouped
/// Data, 1966).
///
/// # Panics
/// When there are not as many `x` as `y`.
pub fn kendall_tau(x: &[f64], y: &[f64]) -> Option<f64> {
    assert_eq!(x.len(), y.len(), "every x has a y");
    // -0 is 0.
    let mut pairs: Vec<(f64, f64)> = x.iter().zip(y).map(|(x, y)| (x + 0.0, y + 0.0)).collect();
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let all = pairs_of(pairs.len());
    let tied_x = tied_pairs(&pairs, |a, b| a.0 == b.0);
    let tied_both = tied_pairs(&pairs, |a, b| a == b);
    let mut by_y: Vec<f64> = pairs.iter().map(|pair| pair.1).collect();
    let discordant = sort_counting(&mut by_y);
    let tied_y = tied_pairs(&by_y, |a, b| a == b);
    let difference = all - tied_x - tied_y + tied_both - 2 * discordant;
    let (untied_x, untied_y) = (all - tied_x, all - tied_y);
    (untied_x > 0 && untied_y > 0)
        .then(|| difference as f64 / (untied_x as f64 * untied_y as f64).sqrt())
}

/// How many pairs `count` values make.
fn pairs_of(count: usize) -> i64 {
    (count * count.saturating_sub(1) / 2) as i64
}

/// How many pairs of sorted values are equal.
fn tied_pairs<T>(sorted: &[T], is_same: impl Fn(&T, &T) -> bool) -> i64 {
    sorted.chunk_by(is_same).map(|equal| pairs_of(equal.len())).sum()
}

/// Sorts values, and counts the pairs of which the first is the larger one.
fn sort_counting(values: &mut [f64]) -> i64 {
    if values.len() < 2 {
        return 0;
    }
    let (first, second) = values.split_at_mut(values.len() / 2);
    let mut count = sort_counting(first) + sort_counting(second);
    let (mut merged, mut i) = (Vec::with_capacity(first.len() + second.len()), 0);
    for &value in &*second {
        while i < first.len() && first[i].total_cmp(&value).is_le() {
            merged.push(first[i]);
            i += 1;
        }
        count += (first.len() - i) as i64;
        merged.push(value);
    }
    merged.extend_from_slice(&first[i..]);
    values.copy_from_slice(&merged);
    count
}

/// Spearman's ρ: Pearson's correlation of the ranks, where equal values share the mean of their
/// ranks. `None` where one of the variables is constant.
///
/// # Panics
/// When there are not as many `x` as `y`.
pub fn spearman_rho(x: &[f64], y: &[f64]) -> Option<f64> {
    assert_eq!(x.len(), y.len(), "every x has a y");
    let centre = (x.len() as f64 + 1.0) / 2.0;
    let [x, y] = [x, y]
        .map(|values| ranks(values).into_iter().map(|rank| rank - centre).collect::<Vec<f64>>());
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (xx, yy) = (product(&x, &x), product(&y, &y));
    (xx > 0.0 && yy > 0.0).then(|| product(&x, &y) / (xx * yy).sqrt())
}

/// The rank of every value from 1, the smallest, on; equal values share the mean of theirs.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = before as f64 + (equal.len() as f64 + 1.0) / 2.0;
        equal.iter().for_each(|&i| ranks[i] = rank);
        before += equal.len();
    }
    ranks
}

/// What choosing the best of the `k` with the highest scores loses against choosing the best of
/// all; of equal scores the earlier comes first.
///
/// # Panics
/// When there are not as many scores as values, when there are none, or when k = 0.
pub fn regret(scores: &[f64], values: &[f64], k: usize) -> f64 {
    assert_eq!(scores.len(), values.len(), "every score has a value");
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let best = |indices: &[usize]| {
        indices.iter().map(|&i| values[i]).max_by(f64::total_cmp).expect("at least one is chosen")
    };
    best(&order) - best(&order[..k.min(order.len())])
}

/// The mean.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The mean of every column.
pub fn means(rows: &[Vec<f64>]) -> Vec<f64> {
    let columns = rows.first().map_or(0, Vec::len);
    (0..columns)
        .map(|column| rows.iter().map(|row| row[column]).sum::<f64>() / rows.len() as f64)
        .collect()
}

/// The mean of a statistic of two rows over all pairs of rows. Pairs for which it is not defined
/// are left out; `None` when it is for none.
pub fn mean_over_pairs(
    rows: &[Vec<f64>],
    statistic: impl Fn(&[f64], &[f64]) -> Option<f64>,
) -> Option<f64> {
    let pairs = (0..rows.len()).flat_map(|a| (0..a).map(move |b| (a, b)));
    let values: Vec<f64> = pairs.filter_map(|(a, b)| statistic(&rows[a], &rows[b])).collect();
    (!values.is_empty()).then(|| mean(&values))
}

/// The share of the variance of the columns' means that is between columns: the intraclass
/// correlation ICC(1, k) (Shrout and Fleiss, Intraclass Correlations, 1979), from a one-way analysis
/// of variance in which a column is a group; 0 where the groups differ by less than what is within
/// them explains. `None` for a single row or column, or where all values are the same.
pub fn reliability(rows: &[Vec<f64>]) -> Option<f64> {
    let columns = rows.first().map_or(0, Vec::len);
    if rows.len() < 2 || columns < 2 {
        return None;
    }
    let groups = means(rows);
    let between = sd(&groups)?.powi(2) * rows.len() as f64;
    let squares = rows.iter().flat_map(|row| row.iter().zip(&groups).map(|(x, m)| (x - m).powi(2)));
    let within = squares.sum::<f64>() / (columns * (rows.len() - 1)) as f64;
    (between > 0.0).then(|| (1.0 - within / between).max(0.0))
}

/// The standard deviation (n - 1); `None` for one value.
pub fn sd(values: &[f64]) -> Option<f64> {
    let mean = mean(values);
    let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
    (values.len() > 1).then(|| (squares / (values.len() - 1) as f64).sqrt())
}

/// `count` samples of `n` positions, drawn with replacement.
pub fn resamples(n: usize, count: usize, rng: &mut impl Rng) -> Vec<Vec<usize>> {
    (0..count).map(|_| (0..n).map(|_| rng.random_range(0..n)).collect()).collect()
}

/// The 95% percentile bootstrap interval (Efron and Tibshirani, An Introduction to the Bootstrap,
/// 1993, section 13.3) of a statistic of positions, over `resamples`. Those in which it is not
/// defined are left out; `None` when it is in none.
pub fn interval(
    resamples: &[Vec<usize>],
    statistic: impl Fn(&[usize]) -> Option<f64>,
) -> Option<[f64; 2]> {
    let mut values: Vec<f64> = resamples.iter().filter_map(|sample| statistic(sample)).collect();
    values.sort_by(f64::total_cmp);
    (!values.is_empty()).then(|| [quantile(&values, 0.025), quantile(&values, 0.975)])
}

/// A quantile of ascending values, linear between neighbours.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let at = share * (values.len() - 1) as f64;
    let (below, above) = (values[at.floor() as usize], values[at.ceil() as usize]);
    below + at.fract() * (above - below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    // Expected numbers are those of SciPy 1.17.1 and NumPy 2.4.6.

    /// Scores and accuracies with ties in both.
    const TIED: [[f64; 8]; 2] = [
        [0.61, 0.58, 0.61, 0.70, 0.55, 0.66, 0.58, 0.58],
        [91.2, 90.8, 91.0, 92.1, 90.8, 91.9, 91.5, 90.8],
    ];

    #[track_caller]
    fn assert_near(value: Option<f64>, expected: f64) {
        assert!(
            value.is_some_and(|value| (value - expected).abs() < 1e-12),
            "{value:?}, expected {expected}"
        );
    }

    #[test]
    fn correlations_are_those_of_scipy() {
        let [x, y] = TIED;
        // scipy.stats.kendalltau(x, y).statistic, scipy.stats.spearmanr(x, y).statistic
        assert_near(kendall_tau(&x, &y), 0.7348469228349535);
        assert_near(spearman_rho(&x, &y), 0.8176262338182699);
        // scipy.stats.rankdata(x)
        assert_eq!(ranks(&x), [5.5, 3.0, 5.5, 8.0, 1.0, 7.0, 3.0, 3.0]);
        let (x, y) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2.0, 1.0, 4.0, 3.0, 6.0, 5.0]);
        assert_near(kendall_tau(&x, &y), 0.6);
        assert_near(spearman_rho(&x, &y), 0.8285714285714287);
        let falling = x.map(|x| -x);
        assert_near(kendall_tau(&x, &falling), -1.0);
        assert_near(spearman_rho(&x, &falling), -1.0);
    }

    #[test]
    fn kendalls_tau_is_that_of_its_definition() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for n in [2, 3, 7, 40] {
            let [x, y]: [Vec<f64>; 2] =
                [5, 9].map(|most| (0..n).map(|_| f64::from(rng.random_range(-2..most))).collect());
            let (mut difference, mut untied) = (0.0, [0.0; 2]);
            for i in 0..n {
                for j in 0..i {
                    let signs = [&x, &y]
                        .map(|of| if of[i] == of[j] { 0.0 } else { (of[i] - of[j]).signum() });
                    difference += signs[0] * signs[1];
                    untied.iter_mut().zip(signs).for_each(|(sum, sign)| *sum += sign.abs());
                }
            }
            let expected = (untied[0] > 0.0 && untied[1] > 0.0)
                .then(|| difference / f64::sqrt(untied[0] * untied[1]));
            assert_eq!(kendall_tau(&x, &y), expected);
        }
    }

    #[test]
    fn what_is_constant_ranks_nothing() {
        for of in [kendall_tau, spearman_rho] {
            assert_eq!(
                (of(&[1.0; 3], &[1.0, 2.0, 3.0]), of(&[1.0, 2.0, 3.0], &[1.0; 3]), of(&[], &[])),
                (None, None, None)
            );
        }
    }

    #[test]
    fn regret_is_what_a_wrong_score_costs() {
        let (scores, values) = ([0.9, 0.8, 0.9, 0.1], [70.0, 75.0, 72.0, 78.0]);
        // Of the two best scores the first counts.
        assert_eq!([1, 2, 3, 4, 9].map(|k| regret(&scores, &values, k)), [8.0, 6.0, 3.0, 0.0, 0.0]);
    }

    #[test]
    fn every_pair_for_which_a_statistic_is_defined_counts_once() {
        let product = |a: &[f64], b: &[f64]| (a[0] > 0.0).then(|| a[0] * b[0]);
        let rows = |values: &[f64]| values.iter().map(|&v| vec![v]).collect::<Vec<_>>();
        assert_eq!(mean_over_pairs(&rows(&[1.0, 2.0, 4.0]), product), Some(14.0 / 3.0));
        assert_eq!(mean_over_pairs(&rows(&[1.0, 2.0, -4.0]), product), Some(2.0));
        assert_eq!(mean_over_pairs(&rows(&[1.0]), product), None);
        assert_eq!(mean_over_pairs(&rows(&[1.0, -2.0]), product), None);
    }

    #[test]
    fn quantiles_are_those_of_numpy() {
        // numpy.quantile([1, 2, 4, 8, 16], [0.025, 0.975])
        let values = [1.0, 2.0, 4.0, 8.0, 16.0];
        assert_near(Some(quantile(&values, 0.025)), 1.1);
        assert_near(Some(quantile(&values, 0.975)), 15.2);
        assert_eq!(quantile(&[3.0], 0.975), 3.0);
    }

    #[test]
    fn the_interval_is_near_that_of_scipy() {
        // rng = numpy.random.default_rng(0); x = rng.normal(size=30); y = 0.6 * x +
        // rng.normal(size=30), both rounded to three digits
        let x = [
            0.126, -0.132, 0.64, 0.105, -0.536, 0.362, 1.304, 0.947, -0.704, -1.265, -0.623, 0.041,
            -2.325, -0.219, -1.246, -0.732, -0.544, -0.316, 0.412, 1.043, -0.129, 1.366, -0.665,
            0.352, 0.903, 0.094, -0.743, -0.922, -0.458, 0.22,
        ];
        let y = [
            -0.934, -0.288, 0.225, 0.604, -0.107, 0.572, 0.129, 0.439, 0.362, 0.734, -1.633, 1.539,
            -0.049, 0.65, -0.483, -0.753, 1.131, 1.77, 2.049, 1.941, 0.28, -0.388, -0.404, 0.867,
            -0.746, 0.452, -0.016, 0.143, -1.459, -0.53,
        ];
        let samples = resamples(x.len(), 4000, &mut ChaCha8Rng::seed_from_u64(1));
        let tau = |sample: &[usize]| {
            let pick = |values: &[f64]| -> Vec<f64> { sample.iter().map(|&i| values[i]).collect() };
            kendall_tau(&pick(&x), &pick(&y))
        };
        let [low, high] = interval(&samples, tau).unwrap();
        // scipy.stats.bootstrap((x, y), tau, paired=True, vectorized=False, n_resamples=20000,
        // method="percentile", random_state=1)
        assert!((low + 0.112).abs() < 0.02 && (high - 0.343).abs() < 0.02, "[{low}, {high}]");
        assert_near(kendall_tau(&x, &y), 0.11724137931034484);
        assert_eq!(interval(&samples, |_| None), None);
    }
}
