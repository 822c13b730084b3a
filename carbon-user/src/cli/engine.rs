//! Opens what the commands measure with: the one place where the parts are put together.

use super::args::Format;
use super::doctor::Findings;
use super::error::CliError;
use super::options::{RunOptions, TopOptions};
use super::output::Layout;
use super::process::{Attendant, BeforeExec, Ended};
use super::run::RunMeasurement;
use super::top::TopMeasurement;
use crate::sysroot::SysRoot;
use std::convert::Infallible;
use std::time::Duration;

/// CPU time by rusage alone: what is always to be had.
#[derive(Debug)]
pub struct ChildTimes;

impl Attendant for ChildTimes {
    fn tick(&mut self) {}

    async fn tree_gone(&mut self) {}
}

impl RunMeasurement for ChildTimes {
    fn begin(&mut self) -> Result<Option<BeforeExec>, CliError> {
        Ok(None)
    }

    fn adopts_orphans(&self) -> bool {
        true
    }

    fn report(&mut self, ended: &Ended, _: &RunOptions, _: Layout) -> Result<String, CliError> {
        let wall = Duration::from_nanos(ended.end_ns.saturating_sub(ended.start_ns));
        let cpu = ended.children.user + ended.children.system;
        Ok(format!("CPU time {:.6} s in {:.6} s\n", cpu.as_secs_f64(), wall.as_secs_f64()))
    }
}

/// For `carbon run`.
pub fn open_run(_: &RunOptions) -> Result<ChildTimes, CliError> {
    Ok(ChildTimes)
}

/// The machine's windows.
#[derive(Debug)]
pub struct Machine(Infallible);

impl TopMeasurement for Machine {
    fn tick(&mut self) -> Result<(), CliError> {
        match self.0 {}
    }

    fn live(&self, _: Layout) -> String {
        match self.0 {}
    }

    fn report(&self, _: Format, _: Layout) -> Result<String, CliError> {
        match self.0 {}
    }
}

/// For `carbon top`.
pub fn open_top(_: &TopOptions) -> Result<Machine, CliError> {
    Err(CliError::cannot_measure(anyhow::anyhow!("no accounting and no meter is built in")))
}

/// For `carbon doctor`: what each rung and each meter says of this machine.
pub fn findings(_: &SysRoot) -> Findings {
    Findings { rungs: Vec::new(), meters: Vec::new() }
}
