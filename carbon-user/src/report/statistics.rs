//! Whether two sets of repeats differ: Welch's test (B. L. Welch, Biometrika 34, 1947), which does not take their
//! variances for equal.

/// A sample's size, mean and standard deviation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// How many values.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation (n - 1); none for one value.
    pub stddev: Option<f64>,
}

/// What a test of two samples gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// (mean of B - mean of A) / mean of A.
    pub change_ratio: f64,
    /// The chance that two samples of one distribution differ so much in this direction; none where one of them has
    /// fewer than two values.
    pub p: Option<f64>,
    /// The interval of the change at the given level, both sides.
    pub interval_ratio: Option<(f64, f64)>,
}

impl Summary {
    /// None of no values.
    #[expect(clippy::cast_precision_loss, reason = "some thousands at most")]
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let stddev = (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
        Some(Self { count: values.len(), mean, stddev })
    }

    #[expect(clippy::cast_precision_loss, reason = "some thousands at most")]
    fn error(self) -> Option<(f64, f64)> {
        let squared = self.stddev?.powi(2) / self.count as f64;
        Some((squared, (self.count - 1) as f64))
    }

    /// Half the width of the interval of the mean that holds it with probability `1 - alpha`.
    pub fn half_width(self, alpha: f64) -> Option<f64> {
        let (squared, freedom) = self.error()?;
        Some(quantile(1.0 - alpha / 2.0, freedom) * squared.sqrt())
    }
}

/// Compares B with A. The test is of one side, for B above A where it is above, else for below.
pub fn compare(a: Summary, b: Summary, alpha: f64) -> Comparison {
    let difference = b.mean - a.mean;
    let change_ratio = if a.mean > 0.0 { difference / a.mean } else { 0.0 };
    let (Some((error_a, freedom_a)), Some((error_b, freedom_b))) = (a.error(), b.error()) else {
        return Comparison { change_ratio, p: None, interval_ratio: None };
    };
    let squared = error_a + error_b;
    if squared <= 0.0 {
        // No spread at all: any difference is one.
        let p = if difference == 0.0 { 0.5 } else { 0.0 };
        return Comparison { change_ratio, p: Some(p), interval_ratio: Some((change_ratio, change_ratio)) };
    }
    // Welch and Satterthwaite's degrees of freedom.
    let freedom = squared.powi(2) / (error_a.powi(2) / freedom_a + error_b.powi(2) / freedom_b);
    let p = 1.0 - student(difference.abs() / squared.sqrt(), freedom);
    let half = quantile(1.0 - alpha / 2.0, freedom) * squared.sqrt();
    let of = |joules: f64| if a.mean > 0.0 { joules / a.mean } else { 0.0 };
    Comparison {
        change_ratio,
        p: Some(p),
        interval_ratio: Some((of(difference - half), of(difference + half))),
    }
}

/// Student's distribution function: `1 - I(v / (v + t^2); v/2, 1/2) / 2` for t from 0 up (Abramowitz and Stegun,
/// 26.7.1).
pub fn student(t: f64, freedom: f64) -> f64 {
    let tail = 0.5 * incomplete_beta(freedom / (freedom + t * t), freedom / 2.0, 0.5);
    if t >= 0.0 { 1.0 - tail } else { tail }
}

/// Its inverse, by halving; to about twelve digits.
fn quantile(p: f64, freedom: f64) -> f64 {
    let (mut low, mut high) = (-1e6, 1e6);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if student(middle, freedom) < p { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// The regularised incomplete beta function by its continued fraction (Abramowitz and Stegun, 26.5.8), evaluated by
/// Lentz's method.
#[expect(clippy::many_single_char_names, reason = "the letters of the formula")]
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    // The fraction converges fast below the mean only.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - incomplete_beta(1.0 - x, b, a);
    }
    let front = (log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp() / a;
    let away = |value: f64| if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / away(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for step in 1..300 {
        let m = f64::from(step);
        for term in [
            m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        ] {
            d = 1.0 / away(1.0 + term * d);
            c = away(1.0 + term / c);
            fraction *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-15 {
            break;
        }
    }
    front * fraction
}

/// The logarithm of the gamma function for arguments above 0, by Stirling's series after the argument was raised
/// above 10 (Abramowitz and Stegun, 6.1.41).
fn log_gamma(x: f64) -> f64 {
    let (mut x, mut product) = (x, 1.0);
    while x < 10.0 {
        product *= x;
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series = inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0)));
    (x - 0.5) * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI).ln() + series - f64::ln(product)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(one: f64, other: f64) -> bool {
        (one - other).abs() < 1e-6
    }

    #[test]
    fn tables_of_students_distribution_are_met() {
        // Two-sided 5 %: 12.7062 at 1, 2.2281 at 10, 1.9840 at 100 degrees of freedom.
        for (freedom, t) in [(1.0, 12.706_204_7), (10.0, 2.228_138_9), (100.0, 1.983_971_5)] {
            assert!(near(student(t, freedom), 0.975), "{freedom}: {}", student(t, freedom));
            assert!((quantile(0.975, freedom) - t).abs() < 1e-5, "{freedom}");
        }
        assert!(near(student(0.0, 7.0), 0.5) && near(student(-2.0, 5.0), 1.0 - student(2.0, 5.0)));
    }

    #[test]
    fn welchs_own_kind_of_case() {
        // Unequal variances and sizes; t and degrees of freedom by hand.
        let a = Summary::of(&[10.0, 11.0, 9.0, 10.5, 9.5]).unwrap();
        let b = Summary::of(&[12.0, 14.0, 10.0, 13.0]).unwrap();
        let found = compare(a, b, 0.05);
        assert!((found.change_ratio - 0.225).abs() < 1e-9);
        let p = found.p.unwrap();
        assert!((0.02..0.05).contains(&p), "{p}");
        assert!(found.interval_ratio.unwrap().0 < 0.225);
    }

    #[test]
    fn one_value_is_no_sample() {
        let one = Summary::of(&[10.0]).unwrap();
        let found = compare(one, Summary::of(&[20.0]).unwrap(), 0.05);
        assert_eq!((found.p, found.interval_ratio), (None, None));
        assert_eq!(Summary::of(&[]), None);
        let same = Summary::of(&[5.0, 5.0]).unwrap();
        assert_eq!(compare(same, same, 0.05).p, Some(0.5));
        assert_eq!(compare(same, Summary::of(&[6.0, 6.0]).unwrap(), 0.05).p, Some(0.0));
    }

    proptest! {
        #[test]
        fn a_chance_is_one(values in prop::collection::vec(0.1_f64..100.0, 2..20), others in prop::collection::vec(0.1_f64..100.0, 2..20)) {
            let (a, b) = (Summary::of(&values).unwrap(), Summary::of(&others).unwrap());
            let found = compare(a, b, 0.05);
            let p = found.p.unwrap();
            prop_assert!((0.0..=0.5 + 1e-9).contains(&p), "{p}");
            let (low, high) = found.interval_ratio.unwrap();
            prop_assert!(low <= found.change_ratio && found.change_ratio <= high);
            // In one direction as in the other.
            prop_assert!((compare(b, a, 0.05).p.unwrap() - p).abs() < 1e-9);
        }
    }

    #[test]
    #[expect(clippy::cast_precision_loss, reason = "random numbers")]
    fn false_alarms_are_as_rare_as_said() {
        // Normal values by the sum of twelve uniform ones; a fixed generator, so that the test is the same every time.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut uniform = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut sample = |size: usize| {
            let value = |_| 100.0 + (0..12).map(|_| uniform()).sum::<f64>();
            Summary::of(&(0..size).map(value).collect::<Vec<_>>()).unwrap()
        };
        let alarms = (0..2000).filter(|_| {
            let found = compare(sample(6), sample(10), 0.05);
            found.change_ratio > 0.0 && found.p.unwrap() < 0.05
        });
        let alarms = alarms.count();
        assert!((60..140).contains(&alarms), "{alarms} of 2000, where 100 are expected");
    }
}
