//! CodeCarbon, which measures the same machine at the same interval. It gives one figure for all of it.

use super::memory::resident_kib;
use super::subject::Place;
use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

const SCRIPT: &str = "\
import time
import codecarbon
from codecarbon import OfflineEmissionsTracker
tracker = OfflineEmissionsTracker(country_iso_code='FRA', measure_power_secs=1, tracking_mode='machine',
                                  save_to_file=False, log_level='error', allow_multiple_runs=True)
tracker.start()
print(codecarbon.__version__, flush=True)
time.sleep(86400)
";

/// It, running.
pub(crate) struct CodeCarbon {
    child: Child,
    place: Place,
    version: String,
}

impl CodeCarbon {
    /// Starts it, and waits until it measures.
    pub(crate) fn start(python: &Path) -> Result<Self> {
        let place = Place::new("peer")?;
        let mut child = place
            .command(python)
            .args(["-c", SCRIPT])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut version = String::new();
        let output = child.stdout.take().context("its output")?;
        let mut this = Self { child, place, version: String::new() };
        BufReader::new(output).read_line(&mut version)?;
        version.trim().clone_into(&mut this.version);
        if this.version.is_empty() {
            anyhow::bail!("CodeCarbon does not start by {}", python.display());
        }
        Ok(this)
    }

    pub(crate) fn version(&self) -> String {
        format!("CodeCarbon {}", self.version)
    }

    pub(crate) fn cpu_s(&self) -> Result<f64> {
        self.place.cpu_s()
    }

    pub(crate) fn resident_mib(&self) -> Result<f64> {
        Ok(f64::from(resident_kib(self.child.id())?) / 1024.0)
    }
}

impl Drop for CodeCarbon {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}
