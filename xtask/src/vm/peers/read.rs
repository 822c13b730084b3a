//! What the guest has sent: the module's account over time, and what each program said of it.

use super::{LOADS, places};
use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What is true of a span of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Span {
    /// What the meter showed.
    pub(super) package_j: f64,
    /// Its length, and what of it a CPU has counted by its ticks.
    pub(super) time_s: f64,
    pub(super) ticked_s: f64,
    /// By place, all other cgroups last.
    pub(super) cpu_s: Vec<f64>,
    /// Dynamic energy, by place.
    pub(super) joules: Vec<f64>,
}

/// The module's account over time.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// What has been used until then, since 1970 and since the start.
    looks: Vec<Span>,
    /// By process, the place of its cgroup.
    pids: BTreeMap<u32, usize>,
}

/// What a program said of a span of time.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Said {
    /// In seconds since 1970.
    pub(super) from_s: f64,
    pub(super) to_s: f64,
    /// By place, all others last.
    pub(super) joules: Vec<f64>,
    /// 90 % intervals of the loads, by place, where it gives any.
    pub(super) intervals: Vec<Option<(f64, f64)>>,
    /// Of the whole machine, by its own figure.
    pub(super) machine_j: f64,
    /// Of that, what it gives to no workload.
    pub(super) idle_j: f64,
}

const NANOS: f64 = 1e9;
const MICROS: f64 = 1e6;
/// A second's in /proc/stat (`USER_HZ` of the kernels that are booted).
const TICKS: f64 = 100.0;

impl Truth {
    /// From the lines of the guest.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut truth = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "pid" => {
                    let (pid, place) = rest.split_once(' ').with_context(|| format!("not a pid: {line}"))?;
                    truth.pids.insert(pid.parse()?, place.parse()?);
                }
                "look" => {
                    let numbers = rest.split(' ').map(str::parse).collect::<Result<Vec<f64>, _>>();
                    let numbers = numbers.with_context(|| format!("not a look: {line}"))?;
                    let [at, package, ticks, uses @ ..] = numbers.as_slice() else {
                        bail!("not a look: {line}")
                    };
                    let each = |skip: usize, unit: f64| {
                        uses.iter().skip(skip).step_by(2).map(|number| number / unit).collect()
                    };
                    let span = Span {
                        package_j: package / MICROS,
                        time_s: at / NANOS,
                        ticked_s: ticks / TICKS,
                        cpu_s: each(0, NANOS),
                        joules: each(1, MICROS),
                    };
                    truth.looks.push(span);
                }
                _ => bail!("neither a look nor a pid: {line}"),
            }
        }
        Ok(truth)
    }

    /// Between two moments; between two looks in proportion to time.
    pub(super) fn between(&self, from_s: f64, to_s: f64) -> Result<Span> {
        let (from, to) = (self.at(from_s)?, self.at(to_s)?);
        let less =
            |all: Vec<f64>, part: Vec<f64>| all.iter().zip(part).map(|(all, part)| all - part).collect();
        Ok(Span {
            package_j: to.package_j - from.package_j,
            time_s: to.time_s - from.time_s,
            ticked_s: to.ticked_s - from.ticked_s,
            cpu_s: less(to.cpu_s, from.cpu_s),
            joules: less(to.joules, from.joules),
        })
    }

    fn at(&self, at_s: f64) -> Result<Span> {
        let pair = self.looks.windows(2).find_map(|pair| match pair {
            [before, after] if before.time_s <= at_s && at_s <= after.time_s => Some((before, after)),
            _ => None,
        });
        let (before, after) = pair.with_context(|| format!("nobody looked at the account around {at_s}"))?;
        let part = (at_s - before.time_s) / (after.time_s - before.time_s).max(1e-9);
        let mix = |a: &f64, b: &f64| a + part * (b - a);
        let all = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| mix(a, b)).collect();
        Ok(Span {
            package_j: mix(&before.package_j, &after.package_j),
            time_s: at_s,
            ticked_s: mix(&before.ticked_s, &after.ticked_s),
            cpu_s: all(&before.cpu_s, &after.cpu_s),
            joules: all(&before.joules, &after.joules),
        })
    }
}

#[derive(Deserialize)]
struct Top {
    window_start: Timestamp,
    window_end: Timestamp,
    domains: Vec<Domain>,
    workloads: Vec<Workload>,
}

#[derive(Deserialize)]
struct Domain {
    #[serde(rename = "domain")]
    kind: String,
    metered_uj: u64,
    dynamic_uj: u64,
}

#[derive(Deserialize)]
struct Workload {
    cgroup: String,
    dynamic_uj: u64,
    #[serde(default)]
    dynamic_low_uj: Option<u64>,
    #[serde(default)]
    dynamic_high_uj: Option<u64>,
}

#[expect(clippy::cast_precision_loss, reason = "joules of minutes")]
fn joules(microjoules: u64) -> f64 {
    microjoules as f64 / MICROS
}

/// The report of `carbon top` or of `carbon replay`.
pub(super) fn carbon(text: &str) -> Result<Said> {
    let top: Top = serde_json::from_str(text).context("carbon's report cannot be read")?;
    let mut packages = top.domains.iter().filter(|domain| domain.kind == "package");
    let (Some(package), None) = (packages.next(), packages.next()) else { bail!("not one package") };
    let mut said = Said {
        from_s: seconds(top.window_start),
        to_s: seconds(top.window_end),
        joules: vec![0.0; places().count() + 1],
        intervals: vec![None; LOADS.len()],
        machine_j: joules(package.metered_uj),
        idle_j: joules(package.metered_uj) - joules(package.dynamic_uj),
    };
    for workload in &top.workloads {
        let name = workload.cgroup.trim_start_matches('/');
        let place = places().position(|(known, _)| known == name);
        if let Some(sum) = said.joules.get_mut(place.unwrap_or(places().count())) {
            *sum += joules(workload.dynamic_uj);
        }
        if let Some(interval) = place.and_then(|place| said.intervals.get_mut(place)) {
            let both = workload.dynamic_low_uj.zip(workload.dynamic_high_uj);
            *interval = both.map(|(low, high)| (joules(low), joules(high)));
        }
    }
    Ok(said)
}

#[expect(clippy::cast_precision_loss, reason = "to a microsecond")]
fn seconds(time: Timestamp) -> f64 {
    time.as_nanosecond() as f64 / NANOS
}

/// One of Scaphandre's records, which stand one after the other without anything between.
#[derive(Deserialize)]
struct Record {
    host: Host,
    consumers: Vec<Consumer>,
}

#[derive(Deserialize)]
struct Host {
    /// Microwatts since the record before.
    consumption: f64,
    timestamp: f64,
}

#[derive(Deserialize)]
struct Consumer {
    pid: u32,
    /// Microwatts; none where it is not a number.
    consumption: Option<f64>,
}

/// What `scaphandre json` has written, of the records that lie between two moments with the whole time that they are of: the watts
/// of each hold since the record before. Processes are added up by their cgroups.
pub(super) fn scaphandre(text: &str, truth: &Truth, from_s: f64, to_s: f64) -> Result<Said> {
    let records = serde_json::Deserializer::from_str(text).into_iter::<Record>();
    let records = records.collect::<Result<Vec<_>, _>>().context("scaphandre's records cannot be read")?;
    let mut said = Said { joules: vec![0.0; places().count() + 1], ..Said::default() };
    for pair in records.windows(2) {
        let [before, record] = pair else { continue };
        let (since_s, until_s) = (before.host.timestamp, record.host.timestamp);
        if since_s < from_s || until_s > to_s {
            continue;
        }
        if said.to_s == 0.0 {
            said.from_s = since_s;
        }
        said.to_s = until_s;
        let of = |microwatts: f64| microwatts / MICROS * (until_s - since_s);
        said.machine_j += of(record.host.consumption);
        for consumer in &record.consumers {
            let place = truth.pids.get(&consumer.pid).copied().unwrap_or(places().count());
            if let Some(sum) = said.joules.get_mut(place) {
                *sum += of(consumer.consumption.unwrap_or_default());
            }
        }
    }
    if said.to_s == 0.0 {
        bail!("scaphandre has written no record of that time ({} in all)", records.len());
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOKS: &str = "pid 70 0\npid 71 1\npid 80 4\n\
        look 1000000000000 5000000 500 1000000000 1000000 0 0 0 0 0 0 0 0 0 0 7 0\n\
        look 1002000000000 9000000 600 2000000000 3000000 0 0 0 0 0 0 0 0 0 0 7 0\n\
        look 1004000000000 9000000 800 2000000000 3000000 0 0 0 0 0 0 0 0 0 0 7 0\n";

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn the_account_is_read_between_two_looks() {
        let truth = Truth::parse(LOOKS).unwrap();
        let span = truth.between(1000.5, 1003.0).unwrap();
        assert!(close(span.package_j, 3.0) && close(span.joules[0], 1.5) && close(span.cpu_s[0], 0.75));
        assert!(close(span.time_s, 2.5) && close(span.ticked_s, 1.75));
        assert_eq!(span.joules.len(), places().count() + 1);
        assert!(truth.between(999.0, 1003.0).is_err());
        assert!(truth.between(1000.0, 1004.1).is_err());
        for wrong in ["look 1 2", "look 1 2 x", "pid 3", "luck"] {
            assert!(Truth::parse(wrong).is_err(), "{wrong}");
        }
    }

    /// Three records that Scaphandre 1.0.0 wrote in a guest, 2.197 and 2.224 s apart; most of the processes are left out.
    const RECORDS: &str = include_str!("scaphandre.json");

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-4
    }

    #[test]
    fn watts_of_scaphandre_hold_since_the_record_before() {
        let mut truth = Truth::parse(LOOKS).unwrap();
        truth.pids = BTreeMap::from([(100, 0), (103, 3), (106, 5)]);
        let others = places().count();
        let all = scaphandre(RECORDS, &truth, 0.0, 1e12).unwrap();
        // Microwatts of the records times the seconds since the one before, by hand.
        assert!(near(all.machine_j, 63.073_061), "{all:?}");
        let joules = [(0, 20.782_523), (1, 0.0), (3, 21.792_926), (5, 3.465_190), (others, 1.071_581)];
        assert!(joules.iter().all(|(place, joules)| near(all.joules[*place], *joules)), "{all:?}");
        assert!(near(all.to_s - all.from_s, 4.421_610), "{all:?}");
        // The first record is of a time that began before.
        let from_s = all.from_s + 1.0;
        let last = scaphandre(RECORDS, &truth, from_s, 1e12).unwrap();
        assert!(near(last.machine_j, 31.657_172) && last.from_s > from_s, "{last:?}");
        let first = scaphandre(RECORDS, &truth, 0.0, all.to_s - 1.0).unwrap();
        assert!(near(first.machine_j + last.machine_j, all.machine_j), "{first:?}");
        assert!(scaphandre(RECORDS, &truth, 0.0, from_s).is_err(), "no record has its whole time there");
        assert!(scaphandre("", &truth, 0.0, 1e12).is_err());
        assert!(scaphandre(RECORDS.trim_end_matches('}'), &truth, 0.0, 1e12).is_err());
    }

    #[test]
    fn carbon_is_read_by_cgroup_with_its_intervals() {
        let text = r#"{"window_start": "2026-11-28T12:00:00.5Z", "window_end": "2026-11-28T12:00:03Z", "domains": [
            {"domain": "package", "metered_uj": 9000000, "dynamic_uj": 6000000}], "workloads": [
            {"cgroup": "/b", "dynamic_uj": 3000000, "dynamic_low_uj": 2000000, "dynamic_high_uj": 5000000},
            {"cgroup": "/scaphandre", "dynamic_uj": 1000000, "dynamic_low_uj": null, "dynamic_high_uj": null},
            {"cgroup": "/", "dynamic_uj": 1500000}, {"cgroup": "/a/below", "dynamic_uj": 500000}]}"#;
        let said = carbon(text).unwrap();
        assert!(close(said.to_s - said.from_s, 2.5) && close(said.from_s, 1_795_867_200.5), "{said:?}");
        assert_eq!(said.joules, [0.0, 3.0, 0.0, 0.0, 0.0, 1.0, 2.0]);
        assert_eq!(said.intervals, [None, Some((2.0, 5.0)), None, None]);
        assert!(close(said.machine_j, 9.0) && close(said.idle_j, 3.0));
        assert!(carbon(&text.replace("package", "dram")).is_err());
        assert!(carbon("{}").is_err());
    }
}
