//! Whether something grows.

/// Means of so many parts of the time are what a line is put through: samples beside one another are not independent. Of ten
/// minutes each is one, so that what happens once a minute, as a flush, is in each of them alike.
const BLOCKS: usize = 10;

/// Student's t for a two-sided 95 % with `BLOCKS` - 2 degrees of freedom.
const T_95: f64 = 2.306;

/// Growth per unit of time, and the half-width of its 95 % confidence interval, by ordinary least squares. `None` where there
/// are too few samples.
pub(crate) fn slope(samples: &[(f64, f64)]) -> Option<(f64, f64)> {
    if samples.len() < BLOCKS {
        return None;
    }
    let mean = |block: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| {
        block.iter().map(of).sum::<f64>() / block.len() as f64
    };
    let ends: Vec<usize> = (0..=BLOCKS).map(|block| block * samples.len() / BLOCKS).collect();
    let points: Vec<(f64, f64)> = ends
        .windows(2)
        .filter_map(|pair| samples.get(*pair.first()?..*pair.get(1)?))
        .map(|block| (mean(block, |sample| sample.0), mean(block, |sample| sample.1)))
        .collect();
    let (x_mean, y_mean) = (mean(&points, |point| point.0), mean(&points, |point| point.1));
    let spread: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    let slope = points.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum::<f64>() / spread;
    let residual: f64 = points.iter().map(|(x, y)| (y - y_mean - slope * (x - x_mean)).powi(2)).sum();
    let error = (residual / (points.len() as f64 - 2.0) / spread).sqrt();
    Some((slope, T_95 * error))
}
