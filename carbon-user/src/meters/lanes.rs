//! The meter that most sources are: counters that are read by lanes. A source of its own brings the probes, and says
//! of each counter where it wraps and what it cannot exceed.

use super::counter::Counter;
use super::lane::{Answer, Lane, Raws};
use super::{DeviceUse, Edge, ErrorKind, Gap, Mark, Meter, MeterError, PowerLimits, Reading};
use crate::clock::Moment;
use crate::window::Domain;
use std::rc::Rc;
use std::time::Duration;

/// First and longest pause after a device has gone.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// One counter of a lane.
#[derive(Debug)]
pub(super) struct Track {
    /// What it measures.
    pub(super) domain: Rc<Domain>,
    /// What is made of its values.
    pub(super) counter: Counter,
}

/// A lane and the counters that it reads together.
#[derive(Debug)]
struct Group {
    lane: Lane,
    tracks: Vec<Track>,
    uses: Vec<Option<DeviceUse>>,
    limits: Vec<Option<PowerLimits>>,
    /// Energy was lost at a reading between two edges, which is not told yet.
    gaps: Vec<Option<Gap>>,
    /// After all of it has gone: not asked before, and the pause after that.
    rest: Option<(u64, Duration)>,
    /// What the last attempt gave, for the time in which it is not asked.
    errors: Vec<MeterError>,
    asked: bool,
}

/// Counters that are read by lanes.
#[derive(Debug)]
pub(super) struct LaneMeter {
    name: &'static str,
    domains: Vec<Rc<Domain>>,
    groups: Vec<Group>,
    until_ns: u64,
}

impl LaneMeter {
    /// Lanes, each with the counters that its probe reads, in its order.
    pub(super) fn new(name: &'static str, lanes: Vec<(Lane, Vec<Track>)>) -> Self {
        let groups: Vec<Group> = lanes
            .into_iter()
            .map(|(lane, tracks)| {
                let uses = tracks.iter().map(|_| None).collect();
                let (limits, gaps) = (vec![None; tracks.len()], vec![None; tracks.len()]);
                Group { lane, tracks, uses, limits, gaps, rest: None, errors: Vec::new(), asked: false }
            })
            .collect();
        let domains =
            groups.iter().flat_map(|group| &group.tracks).map(|track| Rc::clone(&track.domain)).collect();
        Self { name, domains, groups, until_ns: 0 }
    }
}

impl Meter for LaneMeter {
    fn name(&self) -> &'static str {
        self.name
    }

    fn domains(&self) -> &[Rc<Domain>] {
        &self.domains
    }

    fn ask(&mut self, edge: &Edge<'_>, until_ns: u64) {
        self.until_ns = until_ns;
        for group in &mut self.groups {
            group.asked = group.rest.is_none_or(|(until_ns, _)| edge.monotonic_ns >= until_ns);
            if group.asked {
                group.lane.ask(edge.monotonic_ns);
            }
        }
    }

    fn read(&mut self, edge: &Edge<'_>) -> Vec<Result<Reading, MeterError>> {
        self.groups.iter_mut().flat_map(|group| group.read(edge, self.until_ns)).collect()
    }

    fn marks(&self) -> Vec<Option<Mark>> {
        self.groups.iter().flat_map(|group| &group.tracks).map(|track| track.counter.mark()).collect()
    }

    fn resume(&mut self, domain: usize, mark: Mark) -> bool {
        let mut tracks = self.groups.iter_mut().flat_map(|group| group.tracks.iter_mut());
        tracks.nth(domain).is_some_and(|track| track.counter.resume(mark))
    }

    fn limits(&self) -> Vec<Option<PowerLimits>> {
        self.groups.iter().flat_map(|group| &group.limits).cloned().collect()
    }

    fn take_use(&mut self, domain: usize) -> Option<DeviceUse> {
        self.groups.iter_mut().flat_map(|group| group.uses.iter_mut()).nth(domain)?.take()
    }
}

impl Group {
    fn read(&mut self, edge: &Edge<'_>, until_ns: u64) -> Vec<Result<Reading, MeterError>> {
        if !self.asked && !self.errors.is_empty() {
            return self.errors.iter().cloned().map(Err).collect();
        }
        // What hung at an earlier edge gets no time of this one.
        let until_ns = if self.lane.owes_since_before(edge.monotonic_ns) { 0 } else { until_ns };
        let results = match self.lane.answer(until_ns) {
            Ok(answer) => self.settle(answer, edge),
            Err(error) => {
                self.limits.fill(None);
                self.tracks.iter().map(|_| Err(error.clone())).collect()
            }
        };
        self.rest(edge, &results);
        results
    }

    /// What the counters make of an answer.
    fn settle(&mut self, answer: Answer, edge: &Edge<'_>) -> Vec<Result<Reading, MeterError>> {
        for (at, raws) in answer.between {
            // A failed reading in between is none: the next holds its energy. Lost energy is lost.
            let results = self.take(raws, at);
            for (gap, result) in self.gaps.iter_mut().zip(results) {
                *gap = gap.or_else(|| result.ok()?.gap);
            }
        }
        // By when it was read: between the edge and that the lane may have read once more, and the scheduler's books of
        // thousands of cgroups may have been looked through.
        let edge = edge.moment();
        let at = if answer.at.monotonic_ns > edge.monotonic_ns { answer.at } else { edge };
        let mut results = self.take(answer.raws, at);
        for (gap, reading) in self.gaps.iter_mut().zip(&mut results) {
            if let Ok(reading) = reading {
                reading.gap = reading.gap.or(gap.take());
            }
        }
        results
    }

    /// What the counters make of a reading.
    fn take(&mut self, raws: Raws, at: Moment) -> Vec<Result<Reading, MeterError>> {
        let mut raws = raws.into_iter();
        let tracks = self.tracks.iter_mut().zip(&mut self.uses).zip(&mut self.limits);
        tracks
            .map(|((track, used), limits)| {
                *limits = None;
                let mut raw = raws.next().unwrap_or_else(|| Err(MeterError::missing()))?;
                if let Some(more) = raw.device_use.take() {
                    used.get_or_insert_default().add(*more);
                }
                *limits = raw.limits.take();
                track.counter.take(raw.uj, raw.gap, at).map_err(|fault| MeterError {
                    kind: ErrorKind::Retry,
                    message: format!("{fault}; it is tried again at the next window"),
                })
            })
            .collect()
    }

    /// Pauses after a device has gone, longer each time.
    fn rest(&mut self, edge: &Edge<'_>, results: &[Result<Reading, MeterError>]) {
        let errors: Vec<MeterError> =
            results.iter().filter_map(|result| result.as_ref().err().cloned()).collect();
        if errors.len() < results.len() || errors.iter().any(|error| error.kind == ErrorKind::Retry) {
            self.rest = None;
            self.errors.clear();
            return;
        }
        let pause = self.rest.map_or(PAUSE_MIN, |(_, pause)| (pause * 2).min(PAUSE_MAX));
        let until_ns = super::lane::deadline_ns(edge.monotonic_ns, pause);
        self.rest = Some((until_ns, pause));
        self.errors = errors;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meters::Probe;
    use crate::meters::tests::Scripted;
    use crate::units::{Microjoules, Watts};

    #[derive(Debug)]
    struct Silent;

    impl Probe for Silent {
        fn read(&mut self, _: bool) -> Raws {
            Vec::new()
        }
    }

    /// Books that take long come between the edge's clock and the question; meanwhile the lane reads by itself.
    #[test]
    fn a_reading_counts_from_when_it_was_taken() {
        const MS: u64 = 1_000_000;
        let domain = Rc::clone(&Scripted::named("test", &["package-0"], Vec::new()).domains()[0]);
        let mut group = Group {
            lane: Lane::start("test", Silent).unwrap(),
            tracks: vec![Track { domain, counter: Counter::new(0, Watts(600.0)) }],
            uses: vec![None],
            limits: vec![None],
            gaps: vec![None],
            rest: None,
            errors: Vec::new(),
            asked: true,
        };
        let at = |ms: u64| Moment { monotonic_ns: ms * MS, suspended_ns: 0 };
        // 270 W, by the millisecond.
        let raws = |ms: u64| -> Raws { vec![Ok((270_000 * ms).into())] };
        let mut settle = |edge_ms: u64, between_ms: &[u64], asked_ms: u64| {
            let between = between_ms.iter().map(|ms| (at(*ms), raws(*ms))).collect();
            let answer = Answer { between, raws: raws(asked_ms), at: at(asked_ms) };
            let edge = Edge { monotonic_ns: edge_ms * MS, suspended_ns: 0, busy: &[] };
            group.settle(answer, &edge).remove(0).unwrap()
        };
        settle(0, &[], 0);
        assert_eq!(
            settle(1_000, &[500, 1_020], 1_300),
            Reading { total: Microjoules(351_000_000), gap: None }
        );
        // A clock of the edges that is ahead, as tests have it, is believed.
        assert_eq!(settle(9_000, &[], 2_000), Reading { total: Microjoules(540_000_000), gap: None });
    }
}
