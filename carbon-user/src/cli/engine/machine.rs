//! The whole machine: what `carbon top` measures with.

use super::{Engine, Wanted, cannot_account, json, style, unwritten};
use crate::attribution::totals::Totals;
use crate::cli::args::Format;
use crate::cli::error::CliError;
use crate::cli::options::{Measuring, TopOptions};
use crate::cli::output::Layout;
use crate::cli::top::TopMeasurement;
use crate::report::{csv, table};
use crate::sampler::governor::{Action, Governor};
use crate::sched;
use crate::topology::Topology;
use std::time::Duration;

/// The whole machine.
#[derive(Debug)]
pub struct Machine {
    engine: Engine,
    /// Of the last window.
    last: Option<Totals>,
    limit: Option<usize>,
    governor: Governor,
    measuring: Measuring,
    topology: Topology,
    /// Context switches of the machine when it was last looked.
    switches: u64,
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
    if options.metadata {
        engine.naming = super::Naming::start(root);
    }
    Ok(Machine {
        engine,
        last: None,
        limit: options.limit,
        governor: Governor::new(options.max_overhead_ratio, options.measuring.interval),
        measuring: options.measuring.clone(),
        topology,
        switches: sched::context_switches(root),
    })
}

impl Machine {
    /// Acts where measuring costs too much, and says so.
    fn govern(&mut self, window: &Totals) {
        let root = &self.measuring.root;
        let now = sched::context_switches(root);
        let switched = now.saturating_sub(std::mem::replace(&mut self.switches, now));
        let rung = self.engine.sampler.rung();
        let in_kernel_ns = switched.saturating_mul(rung.switch_cost_ns());
        let cost = Duration::from_nanos(window.accounts().own_ns.saturating_add(in_kernel_ns));
        let Some(action) = self.governor.observe(cost, window.duration(), self.topology.cpus_online()) else {
            return;
        };
        let lower = rung.cheaper();
        let said = match (action, lower) {
            (Action::Fall, None) => return,
            (Action::Fall, Some(lower)) => {
                let opened = sched::open(lower, root, &self.topology, self.engine.limits);
                let replaced = opened.and_then(|accounting| self.engine.replace_accounting(accounting));
                if let Err(error) = replaced {
                    log::warn!("{lower} does not work here: {error}; {rung} goes on");
                    return;
                }
                format!("CPU time by {lower} instead of {rung} from here on")
            }
            (action, _) => action.to_string(),
        };
        let what = match action {
            Action::Narrow(_) => "measuring is cheap again",
            Action::Widen(_) | Action::Fall => "measuring cost more than --max-overhead",
        };
        log::warn!("{what}: {said}");
        // The last one alone: a live table runs for years.
        self.engine.governed = Some(format!("{what}: {said}"));
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
        Ok(self.governor.window())
    }

    fn close(&mut self) -> Vec<String> {
        self.engine.close()
    }

    fn live(&self, layout: Layout) -> String {
        let Some(last) = &self.last else { return "measuring the first window ...\n".to_owned() };
        let top = self.engine.top(last);
        // Below the rows: a header, what they sum to, and the notes.
        let around = 6 + top.domains.len() + top.notes.len();
        let fitting = layout.rows.map(|rows| usize::from(rows).saturating_sub(around).max(1));
        table::top(&top, style(layout, self.limit.or(fitting)))
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
