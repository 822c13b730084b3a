#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small numbers"
)]

use super::*;
use crate::attribution::bank::{Bank, Beforehand, ExperimentScore, Observation};
use crate::units::{CgroupId, Watts};
use crate::window::WorkloadKey;
use proptest::prelude::*;

#[test]
fn only_what_moves_alone_is_an_experiment() {
    let of = |before: &[f64], now: &[f64], pooled: f64| {
        let (old, new) = (before.iter().sum::<f64>(), now.iter().sum::<f64>() + pooled);
        started_or_stopped((before, old), (now, new), 8.0)
    };
    assert_eq!(of(&[0.0, 1.0], &[0.9, 1.1], 0.0), Some(0));
    assert_eq!(of(&[0.9, 1.1], &[0.01, 1.0], 0.0), Some(0));
    assert_eq!(of(&[1.0], &[1.0, 0.7], 0.0), Some(1), "a new slot began at nothing");
    assert_eq!(of(&[0.0, 1.0], &[0.9, 0.4], 0.0), None, "another moves too");
    assert_eq!(of(&[0.0, 1.0], &[0.9, 1.0], 0.5), None, "so does what has no slot");
    assert_eq!(of(&[0.3, 1.0], &[0.9, 1.0], 0.0), None, "it ran before");
    assert_eq!(of(&[0.0, 1.0], &[0.1, 1.0], 0.0), None, "too little");
    assert_eq!(started_or_stopped((&[0.0], 0.0), (&[0.5], 0.5), 128.0), None, "too little of so many CPUs");
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut experiments = Experiments::default();
    assert_eq!(experiments.score(), None);
    for number in 0..1_000 {
        let measured_w = if number % 4 == 0 { 14.0 } else { 11.0 };
        experiments.add(Experiment { predicted_w: 10.0, measured_w, stddev_w: 1.0 });
    }
    experiments.add(Experiment { predicted_w: f64::NAN, measured_w: 1.0, stddev_w: 1.0 });
    let score = experiments.score().unwrap();
    assert_eq!((score.total, score.recent), (1_000, 128));
    assert!((score.coverage_ratio - 0.75).abs() < 1e-9 && (score.mean_error_w - 1.75).abs() < 1e-9);
    assert!((score.error_ratio - 1.75 / 11.75).abs() < 1e-9);
}

/// Numbers from 0 to 1 that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Nearly normal, of variance 1.
    fn noise(&mut self) -> f64 {
        (0..12).map(|_| self.roll()).sum::<f64>() - 6.0
    }
}

/// A node of 8 CPUs: now and then one of six workloads starts or stops. `watts` is the truth: of the CPUs that each uses
/// and of whether one has just moved; with 0.5 % of noise.
fn simulate(seed: u64, seconds: u32, watts: impl Fn(&[f64; 6], bool) -> f64) -> Option<ExperimentScore> {
    let mut dice = Dice(seed);
    let beforehand = Beforehand { cpus: 8, idle: Some(Watts(20.0)), per_cpu: Some(Watts(6.0)) };
    let mut bank = Bank::new(beforehand);
    let mut on = [true, false, true, false, true, false];
    for second in 0..seconds {
        let moves = second % 6 == 5;
        if moves {
            let place = (dice.roll() * 6.0) as usize % 6;
            on[place] = !on[place];
        }
        let uses = std::array::from_fn(|place| {
            if on[place] { (0.5 + 0.1 * place as f64) * (1.0 + 0.01 * dice.noise()) } else { 0.0 }
        });
        let joules = watts(&uses, moves) * (1.0 + 0.005 * dice.noise());
        let rows: Vec<_> = uses
            .iter()
            .enumerate()
            .filter(|(_, used)| **used > 0.0)
            .map(|(place, used)| (WorkloadKey::cgroup(CgroupId(place as u64 + 10)), *used))
            .collect();
        bank.observe(&Observation { seconds: 1.0, joules, wake_ratio: Some(1.0), rows: &rows, events: &[] });
    }
    bank.experiments().score()
}

/// 15 W, and 3, 5, 7 .. W per CPU.
fn additive(uses: &[f64; 6]) -> f64 {
    15.0 + uses.iter().enumerate().map(|(place, used)| (3.0 + 2.0 * place as f64) * used).sum::<f64>()
}

/// The same, flatter the more runs.
fn bent(uses: &[f64; 6]) -> f64 {
    let whole: f64 = uses.iter().sum();
    15.0 + (additive(uses) - 15.0) * (whole.max(0.1) / 2.4).powf(-0.3)
}

#[test]
fn on_a_truth_that_fits_nine_in_ten_hold() {
    for (name, truth) in [("additive", additive as fn(&[f64; 6]) -> f64), ("bent", bent)] {
        let scores: Vec<_> =
            (0..4).map(|seed| simulate(seed, 1_200, |uses, _| truth(uses)).unwrap()).collect();
        let coverage = scores.iter().map(|score| score.coverage_ratio).sum::<f64>() / 4.0;
        println!("{name}: {coverage} {scores:?}");
        assert!((0.83..=0.97).contains(&coverage), "{name}: {coverage} {scores:?}");
        assert!(scores.iter().all(|score| score.recent == 128 && score.total > 150), "{name}: {scores:?}");
        assert!(scores.iter().all(|score| score.error_ratio < 0.15), "{name}: {scores:?}");
    }
}

/// Power that shows only while something starts or stops, up or down: no member has a form for it, and the noise of all
/// other windows does not hide it.
#[test]
fn where_the_members_are_wrong_few_hold() {
    let truth = |uses: &[f64; 6], moves: bool| {
        let running = uses.iter().filter(|used| **used > 0.0).count();
        let shock = if running % 2 == 0 { 8.0 } else { -8.0 };
        additive(uses) + if moves { shock } else { 0.0 }
    };
    for seed in 0..3 {
        let score = simulate(seed, 1_200, truth).unwrap();
        println!("{score:?}");
        assert!(score.coverage_ratio < 0.4, "{score:?}");
        assert!(score.mean_error_w > 4.0, "{score:?}");
    }
}

#[test]
fn a_node_where_nothing_moves_has_no_experiment() {
    let mut bank = Bank::new(Beforehand { cpus: 8, idle: None, per_cpu: None });
    for _ in 0..100 {
        let rows = [(WorkloadKey::cgroup(CgroupId(1)), 1.0)];
        bank.observe(&Observation { seconds: 1.0, joules: 30.0, wake_ratio: None, rows: &rows, events: &[] });
    }
    assert_eq!(bank.experiments().score(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whoever starts and stops, and whatever a meter shows: a score is of numbers, and bounded.
    #[test]
    fn a_score_is_sound(seed: u64, scale in prop_oneof![Just(0.0), 0.01..1e4]) {
        let score = simulate(seed, 120, |uses, _| scale * additive(uses));
        if let Some(score) = score {
            prop_assert!((0.0..=1.0).contains(&score.coverage_ratio), "{:?}", score);
            prop_assert!(score.mean_error_w.is_finite() && score.error_ratio.is_finite(), "{:?}", score);
            prop_assert!(score.recent <= score.total && score.recent <= 128, "{:?}", score);
        }
    }
}
