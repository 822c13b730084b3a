//! The same sums under names that other tools use, so that a dashboard made for one of them goes on: off unless asked for.
//!
//! Only names and shapes are theirs; the figures are the agent's. What an alias shows is in a family of the agent too, so
//! that nobody adds the two.

mod groups;
mod kepler;
mod scaphandre;

use super::samples::Sample;
use super::series::View;
use super::table::Family;
use groups::Groups;
use std::fmt::Write as _;
use thiserror::Error;

/// A tool whose names are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// Kepler, by its names from 0.10 on.
    Kepler,
    /// Scaphandre, by its names up to 1.0.
    Scaphandre,
}

impl Tool {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Kepler, Self::Scaphandre];

    /// As in options.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kepler => "kepler",
            Self::Scaphandre => "scaphandre",
        }
    }

    fn families(self) -> &'static [Family] {
        match self {
            Self::Kepler => kepler::ALL,
            Self::Scaphandre => scaphandre::ALL,
        }
    }
}

/// A word that is no tool's name.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no tool whose names are known")]
pub struct UnknownTool(String);

/// Whose names are used beside the agent's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aliases(Vec<Tool>);

impl Aliases {
    /// From names with commas between them; `none` and nothing at all are nobody's.
    pub fn parse(text: &str) -> Result<Self, UnknownTool> {
        let words = text.split(',').map(str::trim).filter(|word| !["", "none"].contains(word));
        let tool = |word: &str| {
            let found = Tool::ALL.into_iter().find(|tool| tool.as_str() == word);
            found.ok_or_else(|| UnknownTool(word.to_owned()))
        };
        let mut tools = words.map(tool).collect::<Result<Vec<_>, _>>()?;
        tools.sort();
        tools.dedup();
        Ok(Self(tools))
    }

    fn has(&self, tool: Tool) -> bool {
        self.0.contains(&tool)
    }
}

/// What follows the views, so that nothing that is called a counter falls.
#[derive(Debug, Default)]
pub(super) struct Names {
    of: Aliases,
    containers: Groups,
    pods: Groups,
    machines: Groups,
}

impl Names {
    pub(super) fn new(of: Aliases) -> Self {
        Self { of, ..Self::default() }
    }

    /// The families of all tools that were asked for, with their samples.
    pub(super) fn observe(&mut self, view: &View) -> Vec<(Family, Vec<Sample>)> {
        let mut all = Vec::new();
        if self.of.has(Tool::Kepler) {
            all.extend(kepler::families(view, &mut self.containers, &mut self.pods, &mut self.machines));
        }
        if self.of.has(Tool::Scaphandre) {
            all.extend(scaphandre::families(view));
        }
        all
    }
}

/// Accelerators are not part of what these tools call the energy of a host or of its CPUs.
fn is_of_cpu(domain: &str) -> bool {
    domain != "gpu"
}

/// Their part of docs/metrics.md.
pub(super) fn markdown() -> String {
    let mut page = include_str!("page.md").to_owned();
    for tool in Tool::ALL {
        let _written = writeln!(page, "\n`--metric-aliases {}`:\n", tool.as_str());
        super::table::rows(&mut page, tool.families());
    }
    page
}

#[cfg(test)]
mod tests;
