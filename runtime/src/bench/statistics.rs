//! Median, percentile and slope, in their plainest definitions.

/// The middle of the values, or the mean of the two in the middle; `None` of no values.
///
/// ```
/// use tidemill::bench::statistics::median;
/// assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
/// assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
/// ```
pub fn median(values: &[f64]) -> Option<f64> {
    let sorted = sorted(values);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        count if count % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// The percentile by nearest rank: the smallest value that at least `percent` % of the values do not exceed. No interpolation, so
/// it is always a value that was measured. `None` of no values. `percent` is between 0 and 100.
///
/// ```
/// use tidemill::bench::statistics::percentile;
/// assert_eq!(percentile(&[15.0, 20.0, 35.0, 40.0, 50.0], 30.0), Some(20.0));
/// assert_eq!(percentile(&[15.0, 20.0, 35.0, 40.0, 50.0], 100.0), Some(50.0));
/// ```
pub fn percentile(values: &[f64], percent: f64) -> Option<f64> {
    let sorted = sorted(values);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).or(sorted.last()).copied()
}

/// The slope of the straight line that fits the points best (least squares): units of y for one unit of x. `None` of fewer
/// than two different x.
///
/// ```
/// use tidemill::bench::statistics::slope;
/// assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), Some(2.0));
/// ```
pub fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let mean_x = points.iter().map(|p| p.0).sum::<f64>() / count;
    let mean_y = points.iter().map(|p| p.1).sum::<f64>() / count;
    let spread: f64 = points.iter().map(|p| (p.0 - mean_x).powi(2)).sum();
    let together: f64 = points.iter().map(|p| (p.0 - mean_x) * (p.1 - mean_y)).sum();
    (spread > 0.0).then(|| together / spread)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_has_no_statistics() {
        assert_eq!((median(&[]), percentile(&[], 50.0), slope(&[])), (None, None, None));
        assert_eq!(slope(&[(1.0, 1.0), (1.0, 2.0)]), None);
    }

    #[test]
    fn percentiles_by_nearest_rank_agree_with_a_table_by_hand() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        let table =
            [(0.0, 1.0), (1.0, 1.0), (50.0, 50.0), (50.5, 51.0), (99.0, 99.0), (99.1, 100.0), (100.0, 100.0)];
        for (percent, expected) in table {
            assert_eq!(percentile(&hundred, percent), Some(expected), "p{percent}");
        }
        assert_eq!(percentile(&[7.0], 1.0), Some(7.0));
        assert_eq!(percentile(&[1.0, 2.0], 50.0), Some(1.0));
    }

    #[test]
    fn a_falling_line_has_a_negative_slope_and_noise_does_not_move_it() {
        assert_eq!(slope(&[(0.0, 4.0), (2.0, 0.0)]), Some(-2.0));
        // By hand: mean x 1.5, mean y 1.5; sum of products 2, of squares 5.
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 1.0), (2.0, 2.0), (3.0, 2.0)]), Some(0.4));
    }
}
