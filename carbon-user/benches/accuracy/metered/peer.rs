//! CodeCarbon on the same meter: in a mount namespace of its own the tree's class stands where sysfs has it.

use super::meter::{Truth, WORKLOADS, text_of};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const SCRIPT: &str = "\
import json, sys, time
import codecarbon
from codecarbon import OfflineEmissionsTracker
tracker = OfflineEmissionsTracker(country_iso_code='FRA', measure_power_secs=1, tracking_mode='process',
                                  save_to_file=False, log_level='error', allow_multiple_runs=True)
tracker.start()
begin = time.monotonic_ns()
time.sleep(float(sys.argv[1]))
end = time.monotonic_ns()
tracker.stop()
print(json.dumps({'version': codecarbon.__version__, 'begin_ns': begin, 'end_ns': end,
                  'cpu_j': tracker._total_cpu_energy.kWh * 3.6e6}))
";

/// It, running.
pub(super) struct Peer(Child);

/// Starts it for most of the run.
pub(super) fn start(python: &Path, sysfs: &Path, seconds: u64) -> Result<Peer> {
    let class = sysfs.join("class");
    let script = "mount --bind \"$1\" /sys/class && exec \"$2\" -c \"$3\" \"$4\"";
    let child = Command::new("unshare")
        .args(["-m", "sh", "-c", script, "sh"])
        .args([class.as_os_str(), python.as_os_str(), SCRIPT.as_ref()])
        .arg((seconds as f64 * 0.8).to_string())
        .current_dir(sysfs)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start unshare")?;
    Ok(Peer(child))
}

/// What it said.
pub(super) struct Said {
    version: String,
    begin_ns: u64,
    end_ns: u64,
    cpu_j: f64,
}

impl Peer {
    pub(super) fn finish(mut self) -> Result<Said> {
        let text = text_of(self.0.stdout.take().context("its output")?)?;
        if !self.0.wait()?.success() {
            bail!("CodeCarbon failed: {text}");
        }
        let line = text.lines().rfind(|line| line.starts_with('{')).context("CodeCarbon said nothing")?;
        let value: serde_json::Value = serde_json::from_str(line)?;
        let number = |key: &str| value[key].as_u64().with_context(|| format!("no {key} in {line}"));
        Ok(Said {
            version: value["version"].as_str().unwrap_or_default().to_owned(),
            begin_ns: number("begin_ns")?,
            end_ns: number("end_ns")?,
            cpu_j: value["cpu_j"].as_f64().context("no cpu_j")?,
        })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Said {
    /// Beside the truth of the same time.
    pub(super) fn against(&self, truth: &Truth) -> String {
        let (mut package_j, mut dynamic_j) = (0.0, [0.0; WORKLOADS]);
        for package in 0..truth.sockets {
            let (begin, end) = (truth.at(self.begin_ns, package), truth.at(self.end_ns, package));
            package_j += end.package_j() - begin.package_j();
            for (sum, joules) in dynamic_j.iter_mut().zip(end.dynamic_since(&begin)) {
                *sum += joules;
            }
        }
        let of: Vec<String> = dynamic_j.iter().map(|joules| format!("{:.1}", self.cpu_j / joules)).collect();
        format!(
            "CodeCarbon {}: {:.0} J, the packages drew {package_j:.0} J ({:+.1} %); that is {} times the dynamic energy of the \
             workload, if it is asked from inside one",
            self.version,
            self.cpu_j,
            100.0 * (self.cpu_j / package_j - 1.0),
            of.join(", ")
        )
    }
}
