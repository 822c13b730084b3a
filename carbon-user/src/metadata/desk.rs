//! What is known, what is still asked for, and when to ask again: no clock and no thread of its own, so that it can be
//! tested.

use super::shards::Shards;
use super::{Key, Known, Source, SourceError};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// Workloads whose names are kept; the oldest go first.
pub(super) const KNOWN_MAX: usize = 16_384;
/// Workloads that are asked for at one time.
pub(super) const PENDING_MAX: usize = 4_096;
/// Questions in one round, so that a slow engine does not keep the others from being asked.
const ROUND_MAX: usize = 256;
const SECOND_NS: u64 = 1_000_000_000;
/// A question that nobody has repeated for so long is dropped: what it was of has gone, or was told from its path.
const FORGET_NS: u64 = 300 * SECOND_NS;
/// The same where room is short; who measures repeats what it still wants more often.
const FORGET_SOON_NS: u64 = 30 * SECOND_NS;
/// Longest pause after failures, and between questions for what nobody knows.
const PAUSE_MAX_NS: u64 = 60 * SECOND_NS;
/// After this names are asked for again: labels change, and containers are renamed.
const RESYNC_NS: u64 = 300 * SECOND_NS;

/// A source, and when it may be asked again.
struct Asked {
    source: Box<dyn Source>,
    failures: u32,
    not_before_ns: u64,
    /// Times that it refused or failed.
    errors: u64,
    /// Whether it ever answered.
    answered: bool,
    /// Why it does not, as it was said last.
    told: Option<String>,
}

impl Asked {
    fn tell(&mut self, error: Option<&SourceError>) {
        match self.news(error) {
            Some(news) if error.is_none() => log::info!("{news}"),
            Some(news) => log::warn!("{news}"),
            None => {}
        }
    }

    /// What is to be said of an answer, or of an error: nothing that was said before, and nothing of a source that was never there.
    fn news(&mut self, error: Option<&SourceError>) -> Option<String> {
        let name = self.source.name();
        match error {
            None => {
                self.answered = true;
                self.told.take().map(|_| format!("{name} says names of workloads again"))
            }
            Some(SourceError::Absent(_)) if !self.answered => None,
            Some(error) => {
                let why = error.to_string();
                let said = format!("{name} does not say names of workloads: {why}");
                (self.told.replace(why.clone()) != Some(why)).then_some(said)
            }
        }
    }
}

#[derive(Debug)]
struct Pending {
    tries: u32,
    due_ns: u64,
    /// When it was last said to be wanted.
    wanted_ns: u64,
}

/// The books of questions and answers.
pub(super) struct Desk {
    sources: Vec<Asked>,
    pending: HashMap<Key, Pending>,
    known: Shards<Key, Arc<Known>>,
    order: VecDeque<Key>,
    resync_ns: u64,
    pub(super) dropped: u64,
}

/// 1 s, doubled with each failure.
fn pause_ns(failures: u32) -> u64 {
    SECOND_NS.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(PAUSE_MAX_NS)
}

impl Desk {
    pub(super) fn new(sources: Vec<Box<dyn Source>>, now_ns: u64) -> Self {
        let sources = sources
            .into_iter()
            .map(|source| Asked {
                source,
                failures: 0,
                not_before_ns: 0,
                errors: 0,
                answered: false,
                told: None,
            })
            .collect();
        Self {
            sources,
            pending: HashMap::new(),
            known: Shards::default(),
            order: VecDeque::new(),
            resync_ns: now_ns.saturating_add(RESYNC_NS),
            dropped: 0,
        }
    }

    /// Takes a question, or hears that one is still open for somebody.
    pub(super) fn want(&mut self, key: Key, now_ns: u64) {
        if self.known.get(&key).is_some() {
            return;
        }
        if let Some(pending) = self.pending.get_mut(&key) {
            pending.wanted_ns = now_ns;
            return;
        }
        if self.pending.len() >= PENDING_MAX {
            self.dropped += 1;
            return;
        }
        self.pending.insert(key, Pending { tries: 0, due_ns: now_ns, wanted_ns: now_ns });
    }

    /// Drops questions that nobody has repeated: sooner where room is short, so that what has gone keeps out nothing that is there.
    fn forget(&mut self, now_ns: u64) {
        let after_ns = if self.pending.len() > PENDING_MAX / 2 { FORGET_SOON_NS } else { FORGET_NS };
        // One that was never tried was asked a moment ago, or its turn has not come.
        self.pending
            .retain(|_, pending| pending.tries == 0 || now_ns.saturating_sub(pending.wanted_ns) < after_ns);
        if self.pending.is_empty() {
            self.pending.shrink_to_fit();
        }
    }

    /// Asks what is due. Returns whether anything new is known.
    pub(super) fn round(&mut self, now_ns: u64) -> bool {
        self.forget(now_ns);
        let resync = now_ns >= self.resync_ns;
        let mut due: Vec<Key> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.due_ns <= now_ns)
            .map(|(key, _)| key.clone())
            .take(ROUND_MAX)
            .collect();
        if resync {
            self.resync_ns = now_ns.saturating_add(RESYNC_NS);
            // The newest: what has gone long ago would be asked for in vain.
            due.extend(self.order.iter().rev().take(ROUND_MAX).cloned());
        }
        if due.is_empty() {
            return false;
        }
        let mut changed = false;
        for at in 0..self.sources.len() {
            let Some(asked) = self.sources.get_mut(at).filter(|asked| asked.not_before_ns <= now_ns) else {
                continue;
            };
            let open = |key: &&Key| resync || self.pending.contains_key(key);
            let open: Vec<Key> =
                due.iter().filter(open).filter(|key| asked.source.may_know(key)).cloned().collect();
            if open.is_empty() {
                continue;
            }
            let answer = asked.source.ask(&open);
            asked.tell(answer.as_ref().err());
            match answer {
                Ok(answers) => {
                    asked.failures = 0;
                    for (key, known) in answers {
                        changed |= self.learn(key, known);
                    }
                }
                Err(error) => {
                    asked.failures = asked.failures.saturating_add(1);
                    asked.not_before_ns = now_ns.saturating_add(pause_ns(asked.failures));
                    asked.errors += u64::from(matches!(error, SourceError::Failed(_)));
                }
            }
        }
        for key in &due {
            if let Some(pending) = self.pending.get_mut(key) {
                pending.tries = pending.tries.saturating_add(1);
                pending.due_ns = now_ns.saturating_add(pause_ns(pending.tries));
            }
        }
        changed
    }

    /// Keeps an answer. Nothing that was learned is forgotten but for room.
    fn learn(&mut self, key: Key, known: Known) -> bool {
        self.pending.remove(&key);
        if let Some(before) = self.known.get(&key) {
            let news = **before != known;
            if news {
                self.known.insert(key, Arc::new(known));
            }
            return news;
        }
        self.known.insert(key.clone(), Arc::new(known));
        self.order.push_back(key);
        if self.order.len() > KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    /// All that is known.
    pub(super) fn known(&self) -> &Shards<Key, Arc<Known>> {
        &self.known
    }

    /// Questions without an answer, after at least one try.
    pub(super) fn unresolved(&self) -> usize {
        self.pending.values().filter(|pending| pending.tries > 0).count()
    }

    #[cfg(test)]
    pub(super) fn is_open(&self, key: &Key) -> bool {
        self.pending.contains_key(key)
    }

    /// Times that each source refused or failed; those of one name together.
    pub(super) fn errors(&self) -> BTreeMap<&'static str, u64> {
        let mut errors = BTreeMap::new();
        for asked in &self.sources {
            *errors.entry(asked.source.name()).or_default() += asked.errors;
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Silent;

    impl Source for Silent {
        fn name(&self) -> &'static str {
            "docker"
        }

        fn ask(&mut self, _: &[Key]) -> Result<Vec<(Key, Known)>, SourceError> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn each_change_of_a_source_is_said_once() {
        let source = Box::new(Silent);
        let mut asked =
            Asked { source, failures: 0, not_before_ns: 0, errors: 0, answered: false, told: None };
        let absent = SourceError::Absent("/run/docker.sock".into());
        let refused = SourceError::Failed("status 401".into());
        let mut said = |error: Option<&SourceError>| asked.news(error).unwrap_or_default();
        // It is not installed, which is nothing to speak of; then it is, refuses, answers, goes and comes back.
        assert_eq!((said(Some(&absent)), said(None)), (String::new(), String::new()));
        assert_eq!(said(Some(&refused)), "docker does not say names of workloads: status 401");
        assert_eq!(said(Some(&refused)), "");
        assert_eq!(
            said(Some(&absent)),
            "docker does not say names of workloads: nothing listens at /run/docker.sock"
        );
        assert_eq!(said(Some(&absent)), "");
        assert_eq!(said(None), "docker says names of workloads again");
        assert_eq!(said(None), "");
    }
}
