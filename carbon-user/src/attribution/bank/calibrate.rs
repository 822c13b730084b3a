//! Idle power, wake cost and curve of a package from windows of a known load: what bursts on an idle machine tell.
//!
//! ```text
//! watts = P0 + b wake + m U - q U max(U - 1, 0) / (N - 1)      U busy CPUs of N; q / m is the fall from first to last CPU
//! ```
//!
//! Linear in its four parameters, so that their posterior is exact (Bayesian linear regression, one window after the other,
//! as in a Kalman filter without drift; Bishop, *Pattern Recognition and Machine Learning*, 2006, section 3.3). The variance
//! of a window is taken from what is left over in a first pass.

use super::evidence::Calibration;
use super::packed::{Packed, dot};

/// A window of a known load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadWindow {
    /// Metered power.
    pub watts: f64,
    /// Busy CPUs of the package, whoever kept them busy.
    pub busy_cpus: f64,
    /// Share of the window with any CPU busy.
    pub wake_ratio: f64,
}

/// Windows below which nothing is said.
const WINDOWS_MIN: usize = 6;
/// Noise of a window that is assumed at first, and at least, relative to its power.
const NOISE_FIRST_RATIO: f64 = 0.01;
const NOISE_MIN_RATIO: f64 = 0.003;
/// What no form of power has is not known better than this part of idle power.
const FORM_RATIO: f64 = 0.005;
const PARAMETERS: usize = 4;
const WAKE: usize = 1;
const PER_CPU: usize = 2;
const FALL: usize = 3;

/// What the windows tell of a package with so many CPUs; `None` where they are too few or all alike.
pub fn fit(windows: &[LoadWindow], cpus: u32) -> Option<Calibration> {
    let sound = |window: &LoadWindow| {
        window.watts > 0.0
            && [window.watts, window.busy_cpus, window.wake_ratio].iter().all(|one| one.is_finite())
    };
    let windows: Vec<LoadWindow> = windows.iter().copied().filter(sound).collect();
    let least = windows.iter().map(|window| window.watts).reduce(f64::min)?;
    let most = windows.iter().map(|window| window.watts).reduce(f64::max)?;
    let uses = windows.iter().map(|window| window.busy_cpus);
    let most_busy = uses.clone().reduce(f64::max)?;
    let range = most_busy - uses.reduce(f64::min)?;
    if windows.len() < WINDOWS_MIN || range < 0.2 {
        return None;
    }
    let others = f64::from(cpus.max(2) - 1);
    let slope = ((most - least) / range).max(1e-3 * least);
    let mean = [least, 0.0, slope, 0.0];
    // Where others keep CPUs busy all the time, power hardly changes, and that is no sign that a CPU draws hardly anything:
    // half of all power may well be theirs.
    let wide = slope.max(0.5 * most / most_busy);
    let stddev = [least, 0.5 * least, 2.0 * wide, if cpus > 1 { wide } else { 0.0 }];
    let pass = |noise_w2: &dyn Fn(f64) -> f64| {
        let mut state = mean.to_vec();
        let mut covariance = Packed::diagonal(&stddev.map(|stddev| stddev * stddev));
        let (ones, none) = ([1.0; PARAMETERS], [0.0; PARAMETERS]);
        for window in &windows {
            let gradient = gradient(window, others);
            let mut gain = [0.0; PARAMETERS];
            covariance.times(&gradient, &mut gain);
            let variance = dot(&gradient, &gain) + noise_w2(window.watts);
            let error = window.watts - dot(&gradient, &state);
            for (state, gain) in state.iter_mut().zip(&gain) {
                *state += gain * error / variance;
            }
            covariance.step(&ones, &none, &gain, variance);
        }
        (state, covariance)
    };
    let (state, _) = pass(&|watts| (NOISE_FIRST_RATIO * watts).powi(2));
    let left = windows.iter().map(|window| (window.watts - dot(&gradient(window, others), &state)).powi(2));
    #[expect(clippy::cast_precision_loss, reason = "a count of windows")]
    let left_w2 = left.sum::<f64>() / (windows.len() - PARAMETERS).max(1) as f64;
    let (mut state, covariance) = pass(&|watts| left_w2.max((NOISE_MIN_RATIO * watts).powi(2)));
    // No package draws less for being awake: the rest, given that it draws as much.
    let (wake, of_wake) = (state.get(WAKE).copied()?, covariance.get(WAKE, WAKE));
    if wake < 0.0 && of_wake > 0.0 {
        for (place, state) in state.iter_mut().enumerate() {
            *state -= covariance.get(place, WAKE) * wake / of_wake;
        }
    }
    let [p0_w, wake_w, per_cpu_w, fall_w] = state.as_slice() else { return None };
    let stddev = |place: usize| covariance.get(place, place).max(0.0).sqrt();
    let (p0_w, per_cpu_w) = (p0_w.max(0.0), per_cpu_w.max(0.0));
    let bend_ratio = if per_cpu_w > 0.0 { fall_w / per_cpu_w } else { 0.0 };
    // Of a quotient, to the first order: watts that are hardly known make no curve that is.
    let fall_less_w2 = covariance.get(FALL, FALL) - 2.0 * bend_ratio * covariance.get(FALL, PER_CPU)
        + bend_ratio * bend_ratio * covariance.get(PER_CPU, PER_CPU);
    Some(Calibration {
        p0_w,
        p0_stddev_w: stddev(0).hypot(FORM_RATIO * p0_w),
        wake_w: wake_w.max(0.0),
        wake_stddev_w: stddev(WAKE).hypot(FORM_RATIO * p0_w),
        per_cpu_w,
        per_cpu_stddev_w: stddev(PER_CPU),
        bend_ratio,
        bend_stddev_ratio: if per_cpu_w > 0.0 { fall_less_w2.max(0.0).sqrt() / per_cpu_w } else { 0.0 },
        windows: windows.len() as u64,
    })
}

fn gradient(window: &LoadWindow, others: f64) -> [f64; PARAMETERS] {
    let LoadWindow { busy_cpus, wake_ratio, .. } = window;
    [1.0, *wake_ratio, *busy_cpus, -busy_cpus * (busy_cpus - 1.0).max(0.0) / others]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::cast_precision_loss, reason = "small numbers")]

    use super::*;
    use crate::attribution::uncertainty::SIGMAS_OF_90_PERCENT;
    use proptest::prelude::*;

    /// Windows at the levels that bursts have, on a package with these parameters and this noise.
    fn windows(cpus: f64, truth: [f64; 4], noise: impl Fn(usize) -> f64) -> Vec<LoadWindow> {
        let levels =
            [(0.01, 0.02), (0.5, 0.5), (1.0, 1.0), (1.0, 0.5), (2.0, 1.0), (cpus, 1.0), (cpus / 2.0, 0.5)];
        let [p0, wake, per_cpu, bend] = truth;
        (0..56)
            .map(|number| {
                let (busy_cpus, wake_ratio) =
                    if number % 2 == 0 { levels[0] } else { levels[number / 2 % 7] };
                let fallen = 1.0 - bend * (busy_cpus - 1.0_f64).max(0.0) / (cpus - 1.0);
                let watts = p0 + wake * wake_ratio + per_cpu * busy_cpus * fallen;
                LoadWindow { watts: watts * (1.0 + noise(number)), busy_cpus, wake_ratio }
            })
            .collect()
    }

    fn noise(seed: u64, number: usize) -> f64 {
        // A hash of both, spread evenly: variance 1/12.
        let mixed = (seed ^ number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    }

    #[test]
    fn what_is_exact_is_found() {
        let found = fit(&windows(8.0, [30.0, 6.0, 5.0, 0.3], |_| 0.0), 8).unwrap();
        assert!((found.p0_w - 30.0).abs() < 0.05 && (found.wake_w - 6.0).abs() < 0.1, "{found:?}");
        assert!((found.per_cpu_w - 5.0).abs() < 0.05 && (found.bend_ratio - 0.3).abs() < 0.02, "{found:?}");
        assert!(found.windows == 56 && found.is_sure());
    }

    #[test]
    fn too_little_tells_nothing() {
        let all = windows(8.0, [30.0, 6.0, 5.0, 0.3], |_| 0.0);
        assert_eq!(fit(&all[..5], 8), None);
        assert_eq!(fit(&vec![all[0]; 40], 8), None, "no load");
        assert_eq!(fit(&[LoadWindow { watts: f64::NAN, ..all[0] }; 40], 8), None);
        assert_eq!(fit(&[], 8), None);
    }

    /// Others keep nearly all CPUs busy all the time, so that the bursts hardly change anything.
    #[test]
    fn where_power_hardly_changes_nothing_is_sure() {
        let (p0, per_cpu) = (6.3, 5.5);
        for seed in 0..20 {
            let seen: Vec<LoadWindow> = (0..58)
                .map(|number| {
                    let busy_cpus = 1.88 + 0.24 * noise(seed, number).abs();
                    let watts = (p0 + per_cpu * 2.0) * (1.0 + 0.002 * noise(seed + 99, number));
                    LoadWindow { watts, busy_cpus, wake_ratio: 1.0 }
                })
                .collect();
            let Some(found) = fit(&seen, 2) else { continue };
            let holds = |value: f64, stddev: f64, truth: f64| (value - truth).abs() <= 2.0 * stddev;
            assert!(holds(found.p0_w, found.p0_stddev_w, p0), "{found:?}");
            assert!(holds(found.per_cpu_w, found.per_cpu_stddev_w, per_cpu), "{found:?}");
            assert!(!found.is_sure(), "{found:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        /// 90 % intervals hold about so often over many packages; a tenth of the cases more may miss, and of the curve, whose
        /// interval is one of the first order, half.
        #[test]
        fn intervals_hold(cpus in 2_u32..64, p0 in 5.0..80.0, wake in 0.0..0.4, per_cpu in 0.02..0.4, bend in -0.2..0.6) {
            let truth = [p0, wake * p0, per_cpu * p0, bend];
            let mut bends = 0;
            let held = (0..50)
                .filter(|seed| {
                    let seen = windows(f64::from(cpus), truth, |number| 0.02 * noise(*seed, number));
                    let found = fit(&seen, cpus).unwrap();
                    bends += u32::from((found.bend_ratio - bend).abs() <= SIGMAS_OF_90_PERCENT * found.bend_stddev_ratio);
                    (found.p0_w - p0).abs() <= SIGMAS_OF_90_PERCENT * found.p0_stddev_w
                })
                .count();
            prop_assert!(held >= 40 && bends >= 25, "{} and {} of 50", held, bends);
        }
    }
}
