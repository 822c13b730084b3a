use super::member::{COMMON, Look, Member, Prior};
use super::*;
use crate::units::CgroupId;
use proptest::prelude::*;

fn key(id: u64) -> WorkloadKey {
    WorkloadKey::cgroup(CgroupId(id))
}

/// Numbers that look random and are the same every time.
fn noise(seed: u32) -> f64 {
    let mixed = (seed ^ (seed >> 15)).wrapping_mul(0x2c1b_3c6d);
    let mixed = (mixed ^ (mixed >> 12)).wrapping_mul(0x297a_2d39);
    f64::from(mixed ^ (mixed >> 15)) / f64::from(u32::MAX)
}

fn bank(slots_max: usize) -> Bank {
    let beforehand = Beforehand { cpus: 8, idle: Some(Watts(20.0)), per_cpu: Some(Watts(7.0)) };
    Bank::with_slots(beforehand, slots_max)
}

/// Workloads of 4, 8, 12 .. W per CPU that go on and off, and 15 W of idle power.
fn uses(second: u32, workloads: u32) -> Vec<(WorkloadKey, f64)> {
    (0..workloads)
        .filter(|id| (second / (11 + 6 * id)).is_multiple_of(2))
        .map(|id| (key(u64::from(id)), 0.4 + 0.6 * noise(second * 64 + id)))
        .collect()
}

fn watts_of(key: WorkloadKey) -> f64 {
    4.0 * f64::from(u32::try_from(key.cgroup.0).unwrap() + 1)
}

fn joules_of(rows: &[(WorkloadKey, f64)], seconds: f64) -> f64 {
    15.0 * seconds + rows.iter().map(|(key, cpu_s)| watts_of(*key) * cpu_s).sum::<f64>()
}

fn observe(bank: &mut Bank, seconds: f64, joules: f64, rows: &[(WorkloadKey, f64)]) -> Option<StaticPower> {
    bank.observe(&Observation { seconds, joules, wake_ratio: None, rows, events: &[] })
}

#[test]
fn own_watts_and_idle_power_are_learned() {
    let mut bank = bank(8);
    let (mut error, mut truth, mut power) = (0.0, 0.0, None);
    for second in 0..500 {
        let rows = uses(second, 4);
        let joules = joules_of(&rows, 1.0) * (0.995 + 0.01 * noise(second));
        power = observe(&mut bank, 1.0, joules, &rows);
        assert_eq!(power.is_none(), second < WARM_UP_WINDOWS, "{second}");
        let Some(power) = power.filter(|_| second >= 300) else { continue };
        let (splits, sets) = bank.split(joules - power.now.0);
        assert!(sets.is_empty());
        for (split, (key, cpu_s)) in splits.iter().zip(&rows) {
            assert_eq!(split.key, *key);
            error += (split.share_ratio * (joules - power.now.0) - watts_of(*key) * cpu_s).abs();
            truth += watts_of(*key) * cpu_s;
        }
    }
    assert!(error < 0.03 * truth, "{error} of {truth}");
    let power = power.unwrap();
    assert!(power.identified && (power.p0.0 - 15.0).abs() < 1.0, "{power:?}");
    let weights: f64 = bank.members().map(|member| member.weight_ratio).sum();
    assert!((weights - 1.0).abs() < 1e-9);
}

#[test]
fn windows_may_have_any_length() {
    let mut bank = bank(8);
    let mut power = None;
    for second in 0..600 {
        let seconds = [1.0, 0.25, 4.0, 1.5][second as usize % 4];
        let rows: Vec<_> = uses(second, 4).into_iter().map(|(key, cpu_s)| (key, cpu_s * seconds)).collect();
        power = observe(&mut bank, seconds, joules_of(&rows, seconds), &rows);
    }
    assert!((power.unwrap().p0.0 - 15.0).abs() < 1.0, "{power:?}");
    assert_eq!(observe(&mut bank, 0.0, 5.0, &[]), None);
    assert_eq!(observe(&mut bank, 1.0, f64::NAN, &[]), None);
}

#[test]
fn idle_windows_tell_the_idle_power() {
    let mut bank = bank(4);
    let mut power = None;
    for _ in 0..60 {
        power = observe(&mut bank, 1.0, 15.0, &[]);
        assert_eq!(bank.split(0.0), (vec![], vec![]));
    }
    let power = power.unwrap();
    assert!((power.p0.0 - 15.0).abs() < 0.3 && power.identified, "{power:?}");
}

#[test]
fn a_node_that_is_never_idle_does_not_tell_it() {
    let mut bank = bank(4);
    let mut power = None;
    for _ in 0..200 {
        power = observe(&mut bank, 1.0, 15.0 + 8.0 * 10.0, &[(key(1), 4.0), (key(2), 4.0)]);
    }
    assert!(!power.unwrap().identified, "{power:?}");
}

#[test]
fn more_workloads_than_slots_are_pooled() {
    let mut bank = bank(3);
    for second in 0..200 {
        let rows = uses(second, 7);
        let joules = joules_of(&rows, 1.0);
        if let Some(power) = observe(&mut bank, 1.0, joules, &rows) {
            let (splits, _) = bank.split(joules - power.now.0);
            assert!((splits.iter().map(|split| split.share_ratio).sum::<f64>() - 1.0).abs() < 1e-9);
            assert!(splits.iter().all(|split| split.share_ratio > 0.0 && split.lasting_stddev_j > 0.0));
        }
    }
    assert_eq!(bank.slots().len(), 3);
}

#[test]
fn replicas_are_reported_as_a_set() {
    let mut bank = bank(8);
    let mut last = (vec![], vec![]);
    for second in 0..400 {
        let mut rows = uses(second, 2);
        let on = if (second / 29).is_multiple_of(2) { 0.8 } else { 0.1 };
        rows.extend((2..5).map(|id| (key(u64::from(id)), on * (0.99 + 0.02 * noise(second * 9 + id)))));
        let joules = joules_of(&rows, 1.0) * (0.995 + 0.01 * noise(second + 7_000));
        if let Some(power) = observe(&mut bank, 1.0, joules, &rows) {
            last = bank.split(joules - power.now.0);
        }
    }
    let (splits, sets) = last;
    assert_eq!(sets.len(), 1, "{sets:?}");
    assert_eq!(sets[0].keys, [key(2), key(3), key(4)]);
    let of_set: Vec<_> = splits.iter().filter(|split| sets[0].keys.contains(&split.key)).collect();
    let alone = of_set.iter().map(|split| split.lasting_stddev_j).fold(0.0, f64::max);
    assert!(sets[0].lasting_stddev_j < alone, "{sets:?} {of_set:?}");
    let share: f64 = of_set.iter().map(|split| split.share_ratio).sum();
    assert!((share - sets[0].share_ratio).abs() < 1e-9);
}

#[test]
fn a_meter_that_lags_is_found_out() {
    let mut bank = bank(8);
    let mut before = 15.0;
    for second in 0..300 {
        let rows = uses(second, 4);
        let now = joules_of(&rows, 1.0);
        observe(&mut bank, 1.0, (0.5 * now + 0.5 * before) * (0.998 + 0.004 * noise(second)), &rows);
        before = now;
    }
    assert!((bank.lag_ratio() - 0.5).abs() < f64::EPSILON, "{}", bank.lag_ratio());
}

/// A meter that shows nothing in every other window and the energy of both in the next.
#[test]
fn a_meter_that_stands_still_is_learned_from_when_it_moves() {
    let (mut bank, mut waiting, mut given) = (bank(SLOTS_MAX), 0.0, 0.0);
    let (mut dynamic, mut shares) = (0.0, [0.0; 4]);
    for second in 0..1_200 {
        let rows = uses(second, 4);
        waiting += joules_of(&rows, 1.0) * (0.995 + 0.01 * noise(second));
        let joules = if second % 2 == 0 { 0.0 } else { std::mem::take(&mut waiting) };
        let Some(power) = observe(&mut bank, 1.0, joules, &rows) else { continue };
        assert!(joules > 0.0, "nothing is learned while it stands still");
        given = power.p0.0;
        let above = joules - 2.0 * power.now.0;
        if second >= 300 {
            dynamic += above;
            for split in bank.split(above).0 {
                shares[usize::try_from(split.key.cgroup.0).unwrap()] += above * split.share_ratio;
            }
        }
    }
    let mut truth = [0.0; 4];
    for second in 300..1_200 {
        for (key, used) in uses(second, 4) {
            truth[usize::try_from(key.cgroup.0).unwrap()] += used * watts_of(key);
        }
    }
    let whole: f64 = truth.iter().sum();
    let apart: f64 =
        truth.iter().zip(shares).map(|(truth, share)| (truth / whole - share / dynamic).abs()).sum();
    assert!(apart < 0.05, "{apart} {shares:?} {truth:?}");
    let true_p0 = joules_of(&[], 1.0);
    assert!((given / true_p0 - 1.0).abs() < 0.1, "{given} of {true_p0}");
}

/// What a meter shows by mistake is no reason to believe that nothing draws anything, and widens that window's intervals.
#[test]
fn a_reading_that_is_wrong_moves_little_and_is_told() {
    for factor in [1e-6, 4.0] {
        let mut bank = taught(400);
        let rows = uses(400, 4);
        let joules = joules_of(&rows, 1.0);
        let mut usual = bank.clone();
        let before = observe(&mut usual, 1.0, joules, &rows).unwrap();
        let passing =
            |bank: &mut Bank| bank.split(1.0).0.iter().map(|split| split.passing_stddev_j).sum::<f64>();
        let narrow = passing(&mut usual);
        let after = observe(&mut bank, 1.0, joules * factor, &rows).unwrap();
        assert!((after.p0.0 / before.p0.0 - 1.0).abs() < 0.05, "{factor}: {} of {}", after.p0.0, before.p0.0);
        let wide = passing(&mut bank);
        assert!(wide > 0.5 * joules && narrow < 0.05 * joules, "{factor}: {wide} and {narrow} of {joules}");
    }
}

/// Four of them (two packages with memory) then take less than 8 MiB.
#[test]
fn memory_is_bounded() {
    let mut bank = bank(SLOTS_MAX);
    let mut most = 0;
    for second in 0..40_u64 {
        let rows: Vec<_> = (0..1_000).map(|id| (key(id + second), 0.005)).collect();
        if let Some(power) = observe(&mut bank, 1.0, 70.0, &rows) {
            assert_eq!(bank.split(70.0 - power.now.0).0.len(), 1_000);
        }
        most = most.max(bank.bytes());
    }
    assert_eq!(bank.slots().len(), SLOTS_MAX);
    assert!(most < 2 << 20, "{most} bytes");
}

#[test]
fn many_windows_stay_positive() {
    let prior = Prior { p0_w: 20.0, p0_stddev_w: 10.0, watts_per_cpu: 7.0, cpus: 8.0, noise_ratio: 0.0 };
    let kinds =
        [(Shape::Curved, Drift::Static), (Shape::Concave, Drift::Wide), (Shape::Linear, Drift::Level)];
    let mut members = kinds.map(|(shape, drift)| Member::new(Kind { shape, drift }, prior, 2));
    for number in 0..100_000 {
        let on =
            |period: u32| if (number / period).is_multiple_of(2) { noise(number * 3 + period) } else { 0.0 };
        let slots = [on(31), on(47)];
        let busy = slots[0] + slots[1];
        let watts = (15.0 + 4.0 * slots[0] + 9.0 * slots[1]) * (0.995 + 0.01 * noise(number));
        for member in &mut members {
            member.observe(&Look {
                seconds: 1.0,
                watts,
                mean_watts: 20.0,
                wake: 1.0,
                busy,
                slots: &slots,
                event: false,
                number: f64::from(number),
            });
        }
        if number % 1_000 == 0 {
            for member in &members {
                assert!(member.covariance.smallest_pivot_ratio() > 1e-9, "{number} {:?}", member.kind);
            }
        }
    }
    assert_eq!(members.each_ref().map(|member| member.restarts), [0; 3]);
}

/// Models of two packages and their memory, each with a thousand workloads, fit in 8 MiB, with what only the first windows
/// need and after it.
#[test]
fn four_banks_fit_in_eight_mebibytes() {
    let beforehand = Beforehand { cpus: 64, idle: Some(Watts(70.0)), per_cpu: Some(Watts(5.0)) };
    let mut bank = Bank::new(beforehand);
    let rows: Vec<(WorkloadKey, f64)> = (0..1_000).map(|id| (key(id), 0.03)).collect();
    for second in 0..40 {
        observe(&mut bank, 1.0, 200.0 + noise(second), &rows);
        assert!(4 * bank.bytes() <= 8 << 20, "{second}: {} bytes", bank.bytes());
    }
    assert!(bank.bytes() > 1 << 20, "it has all of its slots in use: {} bytes", bank.bytes());
}

#[test]
fn another_workload_in_a_slot_starts_from_the_prior() {
    let prior = Prior { p0_w: 20.0, p0_stddev_w: 10.0, watts_per_cpu: 7.0, cpus: 8.0, noise_ratio: 0.0 };
    let mut member = Member::new(Kind { shape: Shape::Linear, drift: Drift::Static }, prior, 2);
    let look = |number| Look {
        seconds: 1.0,
        watts: 30.0,
        mean_watts: 30.0,
        wake: 1.0,
        busy: 2.0,
        slots: &[1.0, 1.0],
        event: false,
        number,
    };
    (0..50).for_each(|number| member.observe(&look(f64::from(number))));
    let (first, others) = (member.state[COMMON], member.state[..COMMON].to_vec());
    member.reset(1);
    assert!(member.state[COMMON + 1].abs() < f64::EPSILON);
    assert_eq!((member.state[COMMON], &member.state[..COMMON]), (first, &others[..]));
    assert!((member.covariance.get(COMMON + 1, COMMON + 1) - member.own_variance()).abs() < 1e-9);
}

/// A bank that has seen `uses` for so long.
fn taught(seconds: u32) -> Bank {
    let mut bank = bank(SLOTS_MAX);
    for second in 0..seconds {
        let rows = uses(second, 4);
        let joules = joules_of(&rows, 1.0) * (0.995 + 0.01 * noise(second));
        if let Some(power) = observe(&mut bank, 1.0, joules, &rows) {
            bank.split(joules - power.now.0);
        }
    }
    bank
}

#[test]
fn what_was_learned_outlives_a_restart() {
    let taught = taught(400);
    let learned = taught.learned().unwrap();
    let mut resumed = Bank::resume(taught.beforehand, &learned).unwrap();
    assert_eq!(resumed.slots(), taught.slots());
    let rows = uses(400, 4);
    let joules = joules_of(&rows, 1.0);
    let power = observe(&mut resumed, 1.0, joules, &rows).unwrap();
    assert!((power.p0.0 - 15.0).abs() < 1.0 && power.identified, "{power:?}");
    let (splits, _) = resumed.split(joules - power.now.0);
    for (split, (key, cpu_s)) in splits.iter().zip(&rows) {
        let truth = watts_of(*key) * cpu_s;
        let energy = split.share_ratio * (joules - power.now.0);
        assert!((energy - truth).abs() < 0.1 * truth, "{energy} {truth}");
    }
    let other = Beforehand { cpus: 9, ..taught.beforehand };
    assert!(Bank::resume(other, &learned).is_none());
}

#[test]
fn what_makes_no_sense_is_not_resumed() {
    let taught = taught(30);
    let learned = taught.learned().unwrap();
    let broken = |change: &dyn Fn(&mut Learned)| {
        let mut learned = learned.clone();
        change(&mut learned);
        Bank::resume(taught.beforehand, &learned).is_none()
    };
    assert!(broken(&|learned| learned.mean_w = f64::NAN));
    assert!(broken(&|learned| learned.members[3].common[0] = f64::INFINITY));
    assert!(broken(&|learned| learned.members[3].covariance[0] = -1e3));
    assert!(broken(&|learned| learned.members[3].own.clear()));
    assert!(broken(&|learned| learned.workloads.clear()));
    assert!(broken(&|learned| learned.members.truncate(20)));
    assert!(!broken(&|_| {}));
    assert!(bank(4).learned().is_none());
}

/// A file of before there were members with a gain is gone on from.
#[test]
fn what_fewer_members_learned_is_not_lost() {
    let bank = taught(300);
    let learned = bank.learned().unwrap();
    let old = learned.members.iter().zip(Kind::all()).filter(|(_, kind)| kind.drift != Drift::NoneGain);
    let old = Learned { members: old.map(|(member, _)| member.clone()).collect(), ..learned.clone() };
    assert_eq!(old.members.len(), 25);
    let kinds: Vec<Kind> = old.insight().iter().map(|member| member.kind).collect();
    assert!(!kinds.iter().any(|kind| kind.drift == Drift::NoneGain), "{kinds:?}");
    let [new, old] = [&learned, &old].map(|learned| Bank::resume(bank.beforehand, learned).unwrap());
    let watts = |bank: &Bank| {
        let learned = bank.learned().unwrap();
        learned.own_watts().iter().map(|own| own.per_cpu.0).collect::<Vec<_>>()
    };
    for (new, old) in watts(&new).into_iter().zip(watts(&old)) {
        assert!((new - old).abs() < 0.05, "{new} {old}");
    }
    let gain = old.members().filter(|member| member.kind.drift == Drift::NoneGain);
    let weights: Vec<f64> = gain.map(|member| member.weight_ratio).collect();
    assert!(weights.len() == 3 && weights.iter().sum::<f64>() < 0.01, "{weights:?}");
    let few = Learned { members: learned.members.iter().take(24).cloned().collect(), ..learned };
    assert!(Bank::resume(bank.beforehand, &few).is_none());
}

fn calibration(p0_w: f64) -> Calibration {
    Calibration {
        p0_w,
        p0_stddev_w: 0.1,
        wake_w: 0.0,
        wake_stddev_w: 0.1,
        per_cpu_w: 9.0,
        per_cpu_stddev_w: 0.2,
        bend_ratio: 0.0,
        bend_stddev_ratio: 0.1,
        windows: 40,
    }
}

/// A node that is never idle, whose table is wrong: by half, and by a factor of three.
#[test]
fn a_calibration_tells_what_windows_do_not() {
    for truth in [30.0, 60.0] {
        let mut bank = bank(4);
        let rows = [(key(1), 4.0), (key(2), 4.0)];
        let see = |bank: &mut Bank| observe(bank, 1.0, truth + 8.0 * 9.0, &rows);
        for _ in 0..60 {
            see(&mut bank);
        }
        assert!((see(&mut bank).unwrap().p0.0 - truth).abs() > 3.0);
        bank.calibrate(calibration(truth));
        let power = see(&mut bank).unwrap();
        assert!((power.p0.0 - truth).abs() < 1.5 && power.identified, "{truth}: {power:?}");
        // And after a restart, also where the calibration came with nothing else.
        let learned = bank.learned().unwrap();
        let bare = Learned { evidence: learned.evidence, ..taught(30).learned().unwrap() };
        for learned in [learned, bare] {
            let mut resumed = Bank::resume(bank.beforehand, &learned).unwrap();
            let power = see(&mut resumed).unwrap();
            assert!((power.p0.0 - truth).abs() < 0.1 * truth && power.identified, "{truth}: {power:?}");
        }
    }
}

/// Idle windows are remembered as such: what is resumed from them is surer than what members keep.
#[test]
fn the_evidence_of_idle_windows_outlives_a_restart() {
    let mut bank = bank(4);
    for second in 0..400 {
        let rows = if second % 4 == 0 { uses(second, 4) } else { Vec::new() };
        observe(&mut bank, 1.0, joules_of(&rows, 1.0) * (0.995 + 0.01 * noise(second)), &rows);
    }
    let learned = bank.learned().unwrap();
    let idle = learned.evidence.idle;
    assert!(idle.windows >= 300 && (idle.mean_w - 15.0).abs() < 0.1, "{idle:?}");
    let stddev = |learned: &Learned| {
        let resumed = Bank::resume(bank.beforehand, learned).unwrap();
        assert_eq!(resumed.evidence(), &learned.evidence);
        resumed.learned().unwrap().idle_power()
    };
    let without = Learned { evidence: Evidence::default(), ..learned.clone() };
    let (with, without) = (stddev(&learned), stddev(&without));
    assert!((with.p0.0 - 15.0).abs() < 0.5, "{with:?}");
    assert!(with.stddev.0 < 0.5 * without.stddev.0, "{with:?} {without:?}");
}

#[test]
fn own_watts_and_their_intervals_are_told() {
    let learned = taught(500).learned().unwrap();
    let own = learned.own_watts();
    assert_eq!(own.len(), 4);
    for watts in own {
        let error = (watts.per_cpu.0 - watts_of(watts.key)).abs();
        assert!(error < 1.0 && error < 3.0 * watts.stddev.0, "{watts:?}");
    }
    assert!((learned.idle_power().p0.0 - 15.0).abs() < 1.0);
    let insight = learned.insight();
    assert!((insight.iter().map(|member| member.weight_ratio).sum::<f64>() - 1.0).abs() < 1e-9);
    assert!(learned.error().0 > 0.0 && learned.error().0 < 0.5, "0.5 % of some 30 W: {:?}", learned.error());
    // What is kept says what the bank says.
    let taught = taught(500);
    for (member, insight) in taught.members().zip(&insight) {
        assert_eq!(member.kind, insight.kind);
        assert!((member.weight_ratio - insight.weight_ratio).abs() < 1e-9);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever a meter shows: shares are shares, and intervals are numbers.
    #[test]
    fn no_window_breaks_it(
        windows in prop::collection::vec(
            (prop_oneof![Just(1.0), 0.001..30.0], prop_oneof![Just(0.0), 0.0..1e3, Just(1e9)],
             prop::collection::btree_map(0_u64..9, 0.0..4.0, 0..6)),
            12..60,
        )
    ) {
        // Who ran since the meter moved.
        let (mut bank, mut ran) = (bank(4), std::collections::BTreeSet::new());
        for (seconds, joules, used) in windows {
            let rows: Vec<_> =
                used.into_iter().map(|(id, cpus)| (key(id), cpus * seconds)).filter(|row| row.1 > 0.0).collect();
            ran.extend(rows.iter().map(|(key, _)| *key));
            let power = observe(&mut bank, seconds, joules, &rows);
            let all = if joules > 0.0 { std::mem::take(&mut ran) } else { continue };
            let Some(power) = power else { continue };
            prop_assert!(power.now.0 >= 0.0 && power.now.0.is_finite() && power.stddev.0.is_finite(), "{:?}", power);
            let (splits, _) = bank.split((joules - power.now.0 * seconds).max(0.0));
            prop_assert!(splits.iter().map(|split| &split.key).eq(&all), "{:?} of {:?}", splits, all);
            let whole: f64 = splits.iter().map(|split| split.share_ratio).sum();
            prop_assert!(all.is_empty() || (whole - 1.0).abs() < 1e-9, "{}", whole);
            for split in splits {
                prop_assert!(split.share_ratio >= 0.0, "{:?} {:?} {:?}", split, rows, power);
                prop_assert!(split.lasting_stddev_j.is_finite() && split.passing_stddev_j.is_finite());
            }
        }
    }
}

/// Watts that are spread over a factor of four, and instructions of which they are made (or not).
fn counted_node(bank: &mut Bank, count: impl Fn(f64) -> Option<f64>) -> f64 {
    const NEW: u32 = 5;
    let watts = |id: u32| 4.0 + 12.0 * noise(id + 77);
    let (mut error, mut truth) = (0.0, 0.0);
    for second in 0..400_u32 {
        // Twelve that go on and off, and five that begin and end together, always others.
        let mut ids: Vec<u32> = (0..12).filter(|id| (second / (11 + 3 * id)).is_multiple_of(2)).collect();
        ids.extend((0..NEW).map(|id| 1_000 + second / 10 * 5 + id));
        let rows: Vec<_> =
            ids.iter().map(|id| (key(u64::from(*id)), 0.2 + 0.2 * noise(second * 64 + id))).collect();
        let joules: f64 =
            15.0 + ids.iter().zip(&rows).map(|(id, (_, cpu_s))| watts(*id) * cpu_s).sum::<f64>();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let events: Vec<_> = ids
            .iter()
            .zip(&rows)
            .filter_map(|(id, (_, cpu_s))| Some([(1e9 * count(watts(*id))? * cpu_s) as u64, 0, 0]))
            .collect();
        let joules = joules * (0.995 + 0.01 * noise(second));
        let power = bank.observe(&Observation {
            seconds: 1.0,
            joules,
            wake_ratio: None,
            rows: &rows,
            events: &events,
        });
        let Some(power) = power.filter(|_| second >= 200) else { continue };
        let (splits, _) = bank.split(joules - power.now.0);
        let new = ids.iter().zip(&rows).zip(&splits).filter(|((id, _), _)| **id >= 1_000);
        for ((id, (_, cpu_s)), split) in new {
            error += (split.share_ratio * (joules - power.now.0) - watts(*id) * cpu_s).abs();
            truth += watts(*id) * cpu_s;
        }
    }
    error / truth
}

#[test]
fn counted_events_tell_the_watts_of_who_is_new() {
    let without = counted_node(&mut bank(64), |_| None);
    let with = counted_node(&mut bank(64), |watts| Some(0.2 * watts));
    let unrelated = counted_node(&mut bank(64), |watts| Some(1.0 + (watts * 1e4).sin()));
    println!(
        "error of short-lived workloads: {without:.4} without, {with:.4} with, {unrelated:.4} with unrelated events"
    );
    assert!(with < 0.6 * without, "{with} with events, {without} without");
    assert!(unrelated < without + 0.01, "{unrelated} with events that say nothing, {without} without");
}
