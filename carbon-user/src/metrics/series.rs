//! Which workloads keep a series of their own, and what the others are summed in.
//!
//! The sum over all series is the sum over all workloads, at any time. Nothing falls: a workload that gets a series late
//! begins it at zero, as what it used before is in `other` and stays there; one that ends, or makes room for a larger one,
//! leaves what its series showed to `ended`. So a rate over `ended` would be energy counted twice, and the rules leave
//! it out.

use super::aliases::{self, Aliases};
use super::emissions::{Emissions, Emitted};
use super::namespaces::Namespaces;
use super::samples::Sample;
use super::table::Family;
use super::{Names, NamesByIdentity, Sums};
use crate::agent::{Published, Who};
use crate::metadata::Key;
use crate::units::{CpuNanos, Quality};
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

/// Seconds over which the energy of workloads is compared: an older second counts 1/e or less.
const MEMORY_S: f64 = 3600.0;

/// A series is taken from a workload only for one that used this many times as much: else two of the same size would take
/// turns, and each turn ends a series.
const LEAD: f64 = 2.0;

/// One workload's series.
#[derive(Clone, Debug)]
pub struct Row {
    /// Whose.
    pub who: Arc<Who>,
    /// What is known by name.
    pub names: Names,
    /// Since the series began.
    pub sums: Sums,
    /// The lowest of its energies; `None` before there is any.
    pub quality: Option<Quality>,
}

/// What is to be shown after a window: immutable.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// What it is made of.
    pub published: Arc<Published>,
    /// Workloads with a series of their own.
    pub rows: Vec<Row>,
    /// Those without.
    pub other: Sums,
    /// What series showed that are no more.
    pub ended: Sums,
    /// By namespace, since the agent was started.
    pub namespaces: Vec<(String, Sums)>,
    /// What is in no namespace yet: of containers whose name is still asked for.
    pub held: Sums,
    /// Containers and pods that have a name which nobody has told.
    pub unresolved: usize,
    /// CPUs of the machine.
    pub cpus: usize,
    /// Grams of all of it, where the factor is known.
    pub emitted: Option<Emitted>,
    /// The same under other tools' names, where that was asked for.
    pub(super) aliases: Vec<(Family, Vec<Sample>)>,
}

#[derive(Debug, Default)]
struct Member {
    /// What it had used when its series began.
    base: Sums,
    /// What its series showed last.
    shown: Sums,
}

/// The series from one publication to the next.
#[derive(Debug)]
pub struct Series {
    max: usize,
    members: HashMap<String, Member>,
    ended: Option<Sums>,
    last: HashMap<String, f64>,
    scores: HashMap<String, f64>,
    windows: u64,
    namespaces: Namespaces,
    emissions: Emissions,
    aliases: aliases::Names,
}

/// Sums of all that ran, in whatever series.
pub(super) fn total(published: &Published) -> Sums {
    let mut total = Sums::default();
    for workload in published.workloads.iter().chain([&published.other, &published.ended]) {
        total.add(&Sums::from(workload));
    }
    total
}

impl Series {
    /// At most `max` workloads with a series of their own.
    pub fn new(max: usize) -> Self {
        Self {
            max,
            members: HashMap::new(),
            ended: None,
            last: HashMap::new(),
            scores: HashMap::new(),
            windows: 0,
            namespaces: Namespaces::default(),
            emissions: Emissions::default(),
            aliases: aliases::Names::default(),
        }
    }

    /// Shows the same under these names too.
    #[must_use]
    pub fn with_aliases(self, aliases: Aliases) -> Self {
        Self { aliases: aliases::Names::new(aliases), ..self }
    }

    /// Takes in a publication, and gives what is to be shown.
    pub fn observe(&mut self, published: Arc<Published>, names: &NamesByIdentity) -> View {
        let sums: HashMap<&str, Sums> =
            published.workloads.iter().map(|it| (it.who.identity.as_str(), Sums::from(it))).collect();
        self.ended.get_or_insert_with(|| Sums::from(&published.ended));
        let joules = self.score(&published, &sums);
        self.leave(|identity| !sums.contains_key(identity));
        self.choose(&sums);
        self.last = joules;
        let (mut rows, mut shown) = (Vec::with_capacity(self.members.len()), Sums::default());
        for workload in &published.workloads {
            let identity = workload.who.identity.as_str();
            if let (Some(member), Some(now)) = (self.members.get_mut(identity), sums.get(identity)) {
                member.shown = now.less(&member.base);
                shown.add(&member.shown);
                let names = names.get(identity).cloned().unwrap_or_default();
                let quality = workload.domains.iter().filter_map(|sums| sums.quality).min();
                rows.push(Row { who: Arc::clone(&workload.who), names, sums: member.shown.clone(), quality });
            }
        }
        let ended = self.ended.clone().unwrap_or_default();
        let other = total(&published).less(&shown).less(&ended);
        self.namespaces.observe(&published, names);
        let unresolved = published
            .workloads
            .iter()
            .filter(|it| Key::of(&it.who.path).is_some() && !names.contains_key(&it.who.identity));
        let unresolved = unresolved.count();
        let (namespaces, held) = (self.namespaces.rows(&published), self.namespaces.held().clone());
        let cpus = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let view =
            View { published, rows, other, ended, namespaces, held, unresolved, cpus, ..View::default() };
        let (emitted, aliases) = (self.emissions.observe(&view), self.aliases.observe(&view));
        View { emitted, aliases, ..view }
    }

    /// Energy of late, by workload; gives the joules of each.
    fn score(&mut self, published: &Published, sums: &HashMap<&str, Sums>) -> HashMap<String, f64> {
        let windows = published.windows.saturating_sub(self.windows);
        self.windows = published.windows;
        let passed = CpuNanos(published.window_ns).seconds() * f64::from(u32::try_from(windows).unwrap_or(1));
        let kept = (-passed / MEMORY_S).exp();
        let mut scores = HashMap::with_capacity(sums.len());
        let mut last = HashMap::with_capacity(sums.len());
        for (&identity, sums) in sums {
            let joules = sums.energy().joules();
            let before = self.last.get(identity).copied().unwrap_or(0.0);
            let score = self.scores.get(identity).copied().unwrap_or(0.0) * kept + (joules - before).max(0.0);
            scores.insert(identity.to_owned(), score);
            last.insert(identity.to_owned(), joules);
        }
        self.scores = scores;
        last
    }

    /// What the series of these showed goes to `ended`.
    fn leave(&mut self, gone: impl Fn(&str) -> bool) {
        let ended = self.ended.get_or_insert_default();
        self.members.retain(|identity, member| {
            let gone = gone(identity);
            if gone {
                ended.add(&member.shown);
            }
            !gone
        });
    }

    fn choose(&mut self, sums: &HashMap<&str, Sums>) {
        let score = |identity: &str| self.scores.get(identity).copied().unwrap_or(0.0);
        let order = |one: f64, other: f64| one.partial_cmp(&other).unwrap_or(Ordering::Equal);
        // One that used nothing since may have ended: its series would begin at zero and stay there.
        let grew = |identity: &str, sums: &Sums| {
            self.last.get(identity).is_none_or(|before| sums.energy().joules() > *before)
        };
        let mut waiting: Vec<(f64, &str)> = sums
            .iter()
            .filter(|(identity, sums)| !self.members.contains_key(**identity) && grew(identity, sums))
            .map(|(identity, _)| (score(identity), *identity))
            .collect();
        waiting.sort_by(|one, other| order(other.0, one.0).then(one.1.cmp(other.1)));
        let mut smallest: Vec<(f64, String)> =
            self.members.keys().map(|identity| (score(identity), identity.clone())).collect();
        smallest.sort_by(|one, other| order(other.0, one.0).then(one.1.cmp(&other.1)));
        let mut chosen = Vec::new();
        let mut leaving = Vec::new();
        let mut room = self.max.saturating_sub(self.members.len());
        for (energy, identity) in waiting {
            if room > 0 {
                room -= 1;
            } else if let Some((least, _)) = smallest.last()
                && energy > LEAD * least
            {
                leaving.extend(smallest.pop().map(|(_, identity)| identity));
            } else {
                break;
            }
            chosen.push(identity);
        }
        self.leave(|identity| leaving.iter().any(|left| left == identity));
        for identity in chosen {
            // What was published of it before is in `other`, where it must stay.
            let before = self.last.contains_key(identity);
            let base = if before { sums.get(identity).cloned() } else { None };
            let member = Member { base: base.unwrap_or_default(), shown: Sums::default() };
            self.members.insert(identity.to_owned(), member);
        }
    }
}
