//! The meter that most sources are: counters that are read by lanes. A source of its own brings the probes, and says
//! of each counter where it wraps and what it cannot exceed.

use super::counter::Counter;
use super::lane::{Lane, Raws};
use super::{DeviceUse, Edge, ErrorKind, Gap, Mark, Meter, MeterError, Reading};
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
                let gaps = vec![None; tracks.len()];
                Group { lane, tracks, uses, gaps, rest: None, errors: Vec::new(), asked: false }
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
            Ok(answer) => {
                for (at, raws) in answer.between {
                    // A failed reading in between is none: the next holds its energy. Lost energy is lost.
                    let results = self.take(raws, at);
                    for (gap, result) in self.gaps.iter_mut().zip(results) {
                        *gap = gap.or_else(|| result.ok()?.gap);
                    }
                }
                let mut results = self.take(answer.raws, edge.moment());
                for (gap, reading) in self.gaps.iter_mut().zip(&mut results) {
                    if let Ok(reading) = reading {
                        reading.gap = reading.gap.or(gap.take());
                    }
                }
                results
            }
            Err(error) => self.tracks.iter().map(|_| Err(error.clone())).collect(),
        };
        self.rest(edge, &results);
        results
    }

    /// What the counters make of a reading.
    fn take(&mut self, raws: Raws, at: Moment) -> Vec<Result<Reading, MeterError>> {
        let mut raws = raws.into_iter();
        let tracks = self.tracks.iter_mut().zip(&mut self.uses);
        tracks
            .map(|(track, used)| {
                let mut raw = raws.next().unwrap_or_else(|| Err(MeterError::missing()))?;
                if let Some(more) = raw.device_use.take() {
                    used.get_or_insert_default().add(*more);
                }
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
