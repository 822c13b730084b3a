//! The lines of the table: workloads one below the other, or as a tree.
//!
//! A tree is made anew from each window. What a line is called stays the same, so that a fold and the selection stay.

use super::figures::Figures;
use super::history::{History, Key, Series};
use super::names::safe;
use super::order::Order;
use crate::report::top::WorkloadRow;
use std::collections::{BTreeMap, HashSet};

/// Levels of a tree; what lies deeper stands at the last one.
const DEPTH_MAX: usize = 32;

/// How workloads are grouped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grouping {
    /// Each for itself.
    #[default]
    Flat,
    /// Below their pod, job, user, virtual machine, or what made them.
    Owner,
    /// As the kernel has them.
    Cgroup,
}

impl Grouping {
    /// A word for the screen.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Flat => "none",
            Self::Owner => "owner",
            Self::Cgroup => "cgroup",
        }
    }

    /// The one after it, round and round.
    #[must_use]
    pub fn next(self) -> Self {
        match self {
            Self::Flat => Self::Owner,
            Self::Owner => Self::Cgroup,
            Self::Cgroup => Self::Flat,
        }
    }
}

/// What a line is, from window to window.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LineId {
    /// A workload.
    Workload(Key),
    /// A group by its path or name.
    Group(String),
    /// All that `--limit` leaves out.
    Rest,
}

/// A line of the table.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it is.
    pub id: LineId,
    /// How far to the right.
    pub depth: usize,
    /// Safe to show.
    pub label: String,
    /// Of all below it too.
    pub figures: Figures,
    /// The workloads that it sums.
    pub keys: Vec<Key>,
    /// Of a group: whether what is below it is hidden.
    pub folded: Option<bool>,
    /// Whether any of its workloads ran in the last window.
    pub runs: bool,
}

/// What is to be shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// How it is grouped.
    pub grouping: Grouping,
    /// By what it is sorted.
    pub order: Order,
    /// Groups whose workloads are hidden.
    pub folded: &'a HashSet<LineId>,
    /// Only lines with this in their name or path, whatever its case; all where it is empty.
    pub filter: &'a str,
    /// Lines of the first level.
    pub limit: Option<usize>,
}

#[derive(Debug, Default)]
struct Node {
    label: String,
    own: Option<Key>,
    children: BTreeMap<LineId, Node>,
}

/// The lines in their order.
pub fn lines(history: &History, shown: &Shown<'_>) -> Vec<Line> {
    let mut root = Node::default();
    for (key, series) in &history.series {
        root.put(*key, series, shown.grouping);
    }
    if shown.grouping == Grouping::Cgroup {
        root.children = std::mem::take(&mut root.children).into_iter().map(joined).collect();
    }
    let wanted = shown.filter.to_lowercase();
    let mut out = Vec::new();
    let all = root.blocks(history, shown, 0, &wanted);
    let (first, rest) = all.split_at(shown.limit.unwrap_or(all.len()).min(all.len()));
    for block in first {
        out.extend_from_slice(block);
    }
    if !rest.is_empty() {
        let tops: Vec<&Line> = rest.iter().filter_map(|block| block.first()).collect();
        out.push(Line {
            id: LineId::Rest,
            depth: 0,
            label: format!("and {} more", rest.len()),
            figures: tops.iter().fold(Figures::default(), |sum, line| sum.plus(&line.figures)),
            keys: tops.iter().flat_map(|line| line.keys.iter().copied()).collect(),
            folded: None,
            runs: tops.iter().any(|line| line.runs),
        });
    }
    out
}

impl Node {
    fn put(&mut self, key: Key, series: &Series, grouping: Grouping) {
        let row = &series.row;
        let leaf = LineId::Workload(key);
        let label = safe(&row.name);
        match grouping {
            Grouping::Flat => {
                self.children.insert(leaf, Self { label, own: Some(key), ..Self::default() });
            }
            Grouping::Owner => {
                let (id, name) = owner(row);
                let group = self.children.entry(LineId::Group(id)).or_default();
                group.label = name;
                group.children.insert(leaf, Self { label, own: Some(key), ..Self::default() });
            }
            Grouping::Cgroup => {
                let path = row.cgroup.as_deref().filter(|_| !matches!(key, Key::Kernel(_)));
                let Some(path) = path.filter(|path| *path != "/") else {
                    self.children.insert(leaf, Self { label, own: Some(key), ..Self::default() });
                    return;
                };
                let mut node = self;
                let mut prefix = String::new();
                for part in path.split('/').filter(|part| !part.is_empty()).take(DEPTH_MAX) {
                    prefix.push('/');
                    prefix.push_str(part);
                    node = node.children.entry(LineId::Group(prefix.clone())).or_default();
                    if node.label.is_empty() {
                        node.label = safe(part);
                    }
                }
                if row.kind != "cgroup" {
                    node.label = label;
                }
                node.own = Some(key);
            }
        }
    }

    /// Each child's lines, in order; the child itself is the first of them.
    fn blocks(&self, history: &History, shown: &Shown<'_>, depth: usize, wanted: &str) -> Vec<Vec<Line>> {
        let children = self.children.iter();
        let mut blocks: Vec<Vec<Line>> =
            children.filter_map(|(id, child)| child.block(id, history, shown, depth, wanted)).collect();
        blocks.sort_by(|left, right| match (left.first(), right.first()) {
            (Some(left), Some(right)) => shown.order.compare(left, right),
            _ => std::cmp::Ordering::Equal,
        });
        blocks
    }

    /// Nothing where the filter leaves none of it.
    fn block(
        &self,
        id: &LineId,
        history: &History,
        shown: &Shown<'_>,
        depth: usize,
        wanted: &str,
    ) -> Option<Vec<Line>> {
        let series = self.own.and_then(|key| history.series.get(&key));
        let path = series.and_then(|series| series.row.cgroup.as_deref()).unwrap_or_default();
        let matches = wanted.is_empty()
            || self.label.to_lowercase().contains(wanted)
            || path.to_lowercase().contains(wanted);
        let leaf = |id: LineId, label: String, depth| {
            series.map(|series| Line {
                id,
                depth,
                label,
                figures: Figures::of(series),
                keys: self.own.into_iter().collect(),
                folded: None,
                runs: series.runs,
            })
        };
        if self.children.is_empty() {
            let id = self.own.map_or_else(|| id.clone(), LineId::Workload);
            return leaf(id, self.label.clone(), depth).filter(|_| matches).map(|line| vec![line]);
        }
        // All of a group that is meant, else what of it is.
        let mut below: Vec<Vec<Line>> =
            self.blocks(history, shown, depth + 1, if matches { "" } else { wanted });
        if let Some(key) = self.own.filter(|_| matches)
            && let Some(own) = leaf(LineId::Workload(key), "(itself)".to_owned(), depth + 1)
        {
            below.insert(0, vec![own]);
        }
        if below.is_empty() {
            return None;
        }
        let tops = || below.iter().filter_map(|block| block.first());
        let folded = shown.folded.contains(id);
        let line = Line {
            id: id.clone(),
            depth,
            label: self.label.clone(),
            figures: tops().fold(Figures::default(), |sum, line| sum.plus(&line.figures)),
            keys: tops().flat_map(|line| line.keys.iter().copied()).collect(),
            folded: Some(folded),
            runs: tops().any(|line| line.runs),
        };
        let mut block = vec![line];
        if !folded {
            block.extend(below.into_iter().flatten());
        }
        Some(block)
    }
}

/// A group that holds nothing but one other group is one line with it.
fn joined((id, mut node): (LineId, Node)) -> (LineId, Node) {
    if node.own.is_none()
        && node.children.len() == 1
        && let Some((inner, mut only)) = node.children.pop_first()
    {
        if only.own.is_none() || !only.children.is_empty() {
            only.label = format!("{}/{}", node.label, only.label);
            return joined((inner, only));
        }
        node.children.insert(inner, only);
    }
    node.children = std::mem::take(&mut node.children).into_iter().map(joined).collect();
    (id, node)
}

/// Whose a workload is: an id, and a name for people.
fn owner(row: &WorkloadRow) -> (String, String) {
    let other = || ("other".to_owned(), "kernel and others".to_owned());
    if let Some(known) = &row.known
        && let Some(pod) = &known.pod
    {
        let namespace = known.namespace.as_deref().unwrap_or_default();
        let name = safe(&format!("pod {namespace}/{pod}"));
        return (format!("pod {namespace}/{pod}"), name);
    }
    let Some(identity) = &row.workload else { return other() };
    if let Some(uid) = &identity.pod_uid {
        return (format!("pod {uid}"), format!("pod {}", safe(uid.get(..8).unwrap_or(uid))));
    }
    if let Some(job) = &identity.job_id {
        let id = format!("job {job}");
        let called = row.known.as_ref().and_then(|known| known.job.as_ref()?.name.as_ref());
        let name = called.map_or_else(|| id.clone(), |called| format!("{id} ({called})"));
        return (id, safe(&name));
    }
    if let Some(uid) = identity.user_uid {
        return (format!("user {uid}"), format!("user {uid}"));
    }
    match identity.kind {
        "vm" => ("vm".to_owned(), "virtual machines".to_owned()),
        "container" | "lxc" | "nspawn" => {
            let runtime = identity.runtime.unwrap_or("no known engine");
            (format!("containers {runtime}"), format!("containers of {runtime}"))
        }
        "unit" | "slice" | "scope" => ("units".to_owned(), "system units".to_owned()),
        _ => other(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::order::Column;
    use crate::tui::samples;
    use proptest::prelude::*;

    fn drawn(grouping: Grouping, filter: &str, folded: &[&str], limit: Option<usize>) -> Vec<String> {
        let mut history = History::default();
        history.add(samples::update(samples::node()));
        let folded = folded.iter().map(|id| LineId::Group((*id).to_owned())).collect();
        let shown = Shown {
            grouping,
            order: Order { column: Column::Watts, reverse: false },
            folded: &folded,
            filter,
            limit,
        };
        let text = |line: Line| {
            format!("{}{} {}", "  ".repeat(line.depth), line.label, line.figures.energy_uj() / 1000)
        };
        lines(&history, &shown).into_iter().map(text).collect()
    }

    #[test]
    fn workloads_are_grouped_by_whose_they_are() {
        assert_eq!(
            drawn(Grouping::Owner, "", &[], None),
            [
                "pod shop/cart-7d9f 9125",
                "  shop/cart-7d9f / web 7000",
                "  shop/cart-7d9f / redis 2125",
                "system units 3000",
                "  postgresql.service 3000",
                "  cron.service 0",
                "user 1000 1500",
                "  session 2 of user 1000 1500",
                "kernel and others 250",
                "  kernel threads 250",
            ]
        );
    }

    #[test]
    fn the_tree_of_cgroups_joins_what_holds_but_one() {
        let lines = drawn(Grouping::Cgroup, "", &["/system.slice"], None);
        assert_eq!(
            lines,
            [
                "kubepods.slice/kubepods-pod98210229_0000_4000_8000_000000000000.slice 9125",
                "  shop/cart-7d9f / web 7000",
                "  shop/cart-7d9f / redis 2125",
                "system.slice 3000",
                "user.slice/user-1000.slice 1500",
                "  session 2 of user 1000 1500",
                "kernel threads 250",
            ]
        );
    }

    #[test]
    fn a_filter_keeps_what_it_names_and_what_that_is_in() {
        assert_eq!(
            drawn(Grouping::Owner, "REDIS", &[], None),
            ["pod shop/cart-7d9f 2125", "  shop/cart-7d9f / redis 2125"]
        );
        assert_eq!(drawn(Grouping::Owner, "units", &[], None).len(), 3, "all of a group that is named");
        assert_eq!(drawn(Grouping::Flat, "nothing like it", &[], None), [""; 0]);
    }

    #[test]
    fn what_the_limit_leaves_out_is_summed() {
        assert_eq!(
            drawn(Grouping::Flat, "", &[], Some(2)),
            ["shop/cart-7d9f / web 7000", "postgresql.service 3000", "and 4 more 3875"]
        );
    }

    proptest! {
        #[test]
        fn groups_sum_to_the_workloads(paths in prop::collection::vec("(/[abc]){1,4}", 0..30)) {
            let mut unique: Vec<&String> = paths.iter().collect();
            unique.sort();
            unique.dedup();
            let rows: Vec<_> = (2_u64..).zip(unique).map(|(id, path)| samples::workload(id, path, id)).collect();
            let whole: u64 = rows.iter().map(WorkloadRow::energy_uj).sum();
            let mut history = History::default();
            history.add(samples::update(rows));
            let order = Order { column: Column::Watts, reverse: false };
            for grouping in [Grouping::Flat, Grouping::Owner, Grouping::Cgroup] {
                let folded = HashSet::new();
                let all = lines(&history, &Shown { grouping, order, folded: &folded, filter: "", limit: None });
                let top = all.iter().filter(|line| line.depth == 0);
                prop_assert_eq!(top.map(|line| line.figures.energy_uj()).sum::<u64>(), whole);
                let leaves = all.iter().filter(|line| line.folded.is_none());
                prop_assert_eq!(leaves.map(|line| line.figures.energy_uj()).sum::<u64>(), whole);
                let ids: HashSet<&LineId> = all.iter().map(|line| &line.id).collect();
                prop_assert_eq!(ids.len(), all.len(), "each line is one thing");
            }
        }
    }
}
