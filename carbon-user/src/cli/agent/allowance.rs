//! How much one user may have recorded, so that nobody fills the ledger's disk. Over it a run is measured and not recorded. Root
//! may all.

use crate::agent::runs::Segment;
use crate::api::throttle::Throttle;
use crate::ledger::rows::RunStart;

/// Recorded runs of a user: in the long run, and at once. A loop of short commands, or an array of jobs that starts.
const RUNS_PER_S: u32 = 1;
const RUNS_BURST: u32 = 600;

/// Bytes of text that clients give with them: a kilobyte with each of those in the long run, seven with each at once.
const BYTES_PER_S: u32 = 1_024;
const BYTES_BURST: u32 = 4 << 20;

/// What a segment takes without its names, and a count.
const SEGMENT_BYTES: usize = 256;
const COUNT_BYTES: usize = 20;

/// Said with a run that is not recorded.
pub(super) const OVER: &str = "not recorded: this user has had too many runs, or too much text with them, recorded within a short \
     time; up to 600 at once and one a second are";

/// What each user has left.
#[derive(Debug)]
pub(super) struct Allowance {
    runs: Throttle,
    bytes: Throttle,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { runs: Throttle::new(RUNS_PER_S, RUNS_BURST), bytes: Throttle::new(BYTES_PER_S, BYTES_BURST) }
    }
}

impl Allowance {
    /// Whether another run is recorded. `now_ns` is of the monotonic clock.
    pub(super) fn has(&self, uid: u32, now_ns: u64) -> bool {
        uid == 0 || (self.runs.has(uid, now_ns) && self.bytes.has(uid, now_ns))
    }

    /// One was begun.
    pub(super) fn begin(&mut self, uid: u32, start: &RunStart, now_ns: u64) {
        let RunStart { organisation, project, experiment, name, series, tags, command, .. } = start;
        let names = [organisation, project, experiment, name, series].into_iter().flatten();
        let bytes = names.chain(tags).chain(command).map(String::len).sum();
        self.runs.charge(uid, 1, now_ns);
        self.charge(uid, bytes, now_ns);
    }

    /// One has ended: it is recorded, whatever its client says at the end, and the next ones pay for that.
    pub(super) fn end(&mut self, uid: u32, notes: &[String], segments: &[Segment], now_ns: u64) {
        let counted = |unit: &String| unit.len() + COUNT_BYTES;
        let segment = |of: &Segment| {
            let name = of.name.as_ref().map_or(0, String::len);
            SEGMENT_BYTES + name + of.counts.keys().map(counted).sum::<usize>()
        };
        let notes: usize = notes.iter().map(String::len).sum();
        self.charge(uid, notes + segments.iter().map(segment).sum::<usize>(), now_ns);
    }

    fn charge(&mut self, uid: u32, bytes: usize, now_ns: u64) {
        self.bytes.charge(uid, u64::try_from(bytes).unwrap_or(u64::MAX), now_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    /// How many of so many runs are recorded.
    fn recorded(allowance: &mut Allowance, uid: u32, start: &RunStart, notes: &[String], now_ns: u64) -> u32 {
        let mut count = 0;
        for _ in 0..2_000 {
            if allowance.has(uid, now_ns) {
                count += 1;
                allowance.begin(uid, start, now_ns);
                allowance.end(uid, notes, &[], now_ns);
            }
        }
        count
    }

    #[test]
    fn a_user_has_so_many_runs_and_so_much_text_recorded() {
        let mut allowance = Allowance::default();
        let short = RunStart { command: vec!["make".into()], ..RunStart::default() };
        assert_eq!(recorded(&mut allowance, 1, &short, &[], 0), RUNS_BURST);
        assert_eq!(recorded(&mut allowance, 1, &short, &[], 60 * SECOND_NS), 60);
        assert_eq!(recorded(&mut allowance, 0, &short, &[], 0), 2_000, "root may all");
        let long = RunStart {
            command: vec!["x".repeat(16 << 10)],
            tags: vec!["t".repeat(4 << 10)],
            ..short.clone()
        };
        let notes = vec!["n".repeat(500); 16];
        let first = recorded(&mut allowance, 2, &long, &notes, 0);
        assert!((140..160).contains(&first), "{first} runs of 28 KB");
        let hour = recorded(&mut allowance, 2, &long, &notes, 3_600 * SECOND_NS);
        assert!((120..140).contains(&hour), "{hour} an hour");
        assert_eq!(recorded(&mut allowance, 3, &short, &[], 0), RUNS_BURST, "each has his own");
    }
}
