//! The whole machine: what `carbon top` measures with.

use super::governing::Governing;
use super::{Engine, Wanted, cannot_account, json, style, unwritten};
use crate::attribution::totals::{Totals, WorkloadTotal};
use crate::carbon;
use crate::cli::args::Format;
use crate::cli::error::CliError;
use crate::cli::options::Measuring;
use crate::cli::output::Layout;
use crate::cli::top::TopMeasurement;
use crate::cli::top_options::TopOptions;
use crate::report::top::WorkloadRow;
use crate::report::{csv, table};
use crate::topology::Topology;
use crate::tui::history::{Sum, Update};
use crate::units::{CgroupId, Microjoules};
use crate::window::{Class, WorkloadKey};
use std::time::Duration;

/// The whole machine.
#[derive(Debug)]
pub struct Machine {
    engine: Engine,
    /// Of the last window.
    last: Option<Totals>,
    limit: Option<usize>,
    governing: Governing,
    measuring: Measuring,
}

/// For `carbon top`.
pub fn open_top(options: &TopOptions) -> Result<Machine, CliError> {
    let wanted =
        Wanted { counters: &options.counters, claims: options.record.is_some(), ..Wanted::default() };
    let (mut engine, ()) = Engine::open(&options.measuring, wanted, |_| Ok(()))?;
    let root = &options.measuring.root;
    let topology = Topology::read(root).map_err(CliError::cannot_measure)?;
    if let Some(record) = &options.record {
        engine.record(record)?;
    }
    engine.keep(&topology, &options.measuring)?;
    engine.naming = Some(super::Naming::start(root, options.metadata));
    let (ratio, limits) = (options.max_overhead_ratio, engine.limits);
    Ok(Machine {
        engine,
        last: None,
        limit: options.limit,
        governing: Governing::new(ratio, &options.measuring, topology, limits),
        measuring: options.measuring.clone(),
    })
}

impl Machine {
    /// Acts where measuring costs too much, and says so.
    fn govern(&mut self, window: &Totals) {
        let sampler = &mut self.engine.sampler;
        let Some(governed) =
            self.governing.govern(window.accounts(), window.duration(), &self.measuring, sampler)
        else {
            return;
        };
        self.engine.attribute(governed.window.as_ref());
        // The last one alone: a live table runs for years.
        self.engine.governed = Some(governed.said);
    }
}

impl TopMeasurement for Machine {
    fn tick(&mut self) -> Result<Duration, CliError> {
        let window = self.engine.window().map_err(cannot_account)?;
        self.govern(&window);
        let Engine { keeper, state, sampler, naming, .. } = &mut self.engine;
        if let Some(keeper) = keeper {
            keeper.tick(state, |cgroup| sampler.cgroup_path(cgroup));
        }
        if let Some(naming) = naming {
            naming.look(&window, |cgroup| sampler.cgroup_path(cgroup));
        }
        self.last = Some(window);
        Ok(self.governing.window())
    }

    fn close(&mut self) -> Vec<String> {
        self.engine.close()
    }

    fn window(&self) -> Option<Update> {
        let top = self.engine.top(self.last.as_ref()?);
        let all = &self.engine.totals;
        let sum = |energy: Microjoules| Sum {
            energy_uj: energy.0,
            grams: carbon::grams(energy, self.engine.pue, self.engine.intensity.g_per_kwh).0,
        };
        let of = |row: &WorkloadRow| {
            let class = if row.kind == "kernel" { Class::KernelThreads } else { Class::Tasks };
            let key = row.cgroup_id.map_or(WorkloadKey::OVERFLOW, |cgroup| WorkloadKey {
                class,
                ..WorkloadKey::cgroup(CgroupId(cgroup))
            });
            sum(all.of(key).map(WorkloadTotal::energy).unwrap_or_default())
        };
        Some(Update {
            sums: top.workloads.iter().map(of).collect(),
            sum: sum(all.domains().iter().map(|domain| domain.metered).sum()),
            since_start_ns: u64::try_from(all.duration().as_nanos()).unwrap_or(u64::MAX),
            top,
        })
    }

    fn report(&self, format: Format, layout: Layout) -> Result<String, CliError> {
        let top = self.engine.top(&self.engine.totals);
        match format {
            Format::Table => Ok(table::top(&top, style(layout, self.limit))),
            Format::Json => json(&top),
            Format::Csv => csv::top(&top).map_err(|error| unwritten(std::io::Error::other(error))),
        }
    }
}
