//! What is written while it measures and at the end: the state, and the recording.

use super::Engine;
use crate::cli::error::CliError;
use crate::cli::learning::Keeper;
use crate::cli::options::Measuring;
use crate::cli::recorder::Recorder;
use crate::cli::top_options::RecordOptions;
use crate::recording::{End, Head};
use crate::report::calibration::{self, CalibrationReport};
use crate::topology::Topology;

impl Engine {
    /// Writes windows down from here on.
    pub(super) fn record(&mut self, options: &RecordOptions) -> Result<(), CliError> {
        let head = Head {
            node: self.node.clone(),
            start: self.start.to_string(),
            accounting: self.sampler.rung().as_str().to_owned(),
            attribution: self.state.method().as_str().to_owned(),
            static_policy: self.policy.as_str().to_owned(),
            zone: self.intensity.zone.clone(),
            zone_assumed: self.intensity.assumed,
            pue: self.pue.0,
            packages: self.beginning.packages.clone(),
            kept: self.beginning.kept.clone(),
        };
        self.recorder = Some(Recorder::open(options, &head)?);
        Ok(())
    }

    /// Keeps what was learned, and ends the recording. May wait for the disk: nothing is measured any more.
    /// Gives what must be said of it.
    pub(in crate::cli) fn close(&mut self) -> Vec<String> {
        let end = End {
            end: self.end.to_string(),
            accounting: self.sampler.rung().as_str().to_owned(),
            notes: self.notes.iter().chain(&self.governed).cloned().collect(),
            paths: Vec::new(),
        };
        if let Some(recorder) = &mut self.recorder {
            recorder.finish(&end, |cgroup| self.sampler.cgroup_path(cgroup));
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.finish(&self.state, |cgroup| self.sampler.cgroup_path(cgroup));
        }
        self.kept_notes()
    }

    /// Keeps what is learned from here on.
    pub(in crate::cli) fn keep(
        &mut self,
        topology: &Topology,
        measuring: &Measuring,
    ) -> Result<(), CliError> {
        self.keeper = Keeper::open(measuring, topology, self.learns)?;
        Ok(())
    }

    /// The report of a calibration, without what was found.
    pub(in crate::cli) fn calibration_report(&self) -> CalibrationReport {
        CalibrationReport {
            schema: calibration::SCHEMA,
            node: self.node.clone(),
            window_start: self.start,
            window_end: self.end,
            accounting: self.sampler.rung().as_str(),
            domains: Vec::new(),
            others_ratio: 0.0,
            own_cpu_ns: 0,
            own_dynamic_uj: 0,
            state: None,
            notes: self.notes.iter().cloned().chain(self.kept_notes()).collect(),
        }
    }

    /// What must be said of the files that are written on the way.
    pub(super) fn kept_notes(&self) -> Vec<String> {
        let kept = self.keeper.as_ref().and_then(Keeper::failure).map(str::to_owned);
        kept.into_iter().chain(self.recorder.as_ref().and_then(Recorder::note)).collect()
    }
}
