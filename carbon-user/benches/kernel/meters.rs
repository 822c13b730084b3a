//! What reading the meters of a machine with two sockets costs for each window: lanes, beside reading the same files in the
//! loop itself, which could not survive a read that hangs.

use super::{median, spread};
use anyhow::Result;
use carbon_user::clock;
use carbon_user::meters::{Edge, MeterChoice, Meters};
use carbon_user::sysroot::SysRoot;
use carbon_user::topology::Topology;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const ROUNDS: u64 = 400;

/// Between two reads: threads that have slept cost more than those that still run.
const PAUSE: Duration = Duration::from_millis(20);

/// Prints the figures.
pub(crate) fn bench() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let sys = directory.path().join("sys");
    let mut files: Vec<PathBuf> = Vec::new();
    for (cpu, package) in [(0, 0), (1, 1)] {
        let topology = sys.join(format!("devices/system/cpu/cpu{cpu}/topology"));
        fs::create_dir_all(&topology)?;
        fs::write(topology.join("physical_package_id"), package.to_string())?;
        for (zone, name) in [
            (format!("intel-rapl:{package}"), format!("package-{package}")),
            (format!("intel-rapl:{package}:0"), "dram".to_owned()),
        ] {
            let folder = sys.join("class/powercap").join(zone);
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("name"), name)?;
            fs::write(folder.join("max_energy_range_uj"), "262143328850")?;
            files.push(folder.join("energy_uj"));
        }
    }
    for list in ["possible", "online"] {
        fs::write(sys.join("devices/system/cpu").join(list), "0-1")?;
    }
    set(&files, 1)?;
    let root = SysRoot { sys, ..SysRoot::default() };
    let mut meters = Meters::open(&root, &Topology::read(&root)?, MeterChoice::Powercap)?;
    let (mut lanes, mut inline) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        set(&files, 1_000_000 * round)?;
        std::thread::sleep(PAUSE);
        let start_ns = clock::process_cpu_ns();
        let readings = meters.read(&Edge { monotonic_ns: clock::monotonic_ns(), suspended_ns: 0, busy: &[] });
        lanes.push(clock::process_cpu_ns().saturating_sub(start_ns) as f64 / 1e6);
        anyhow::ensure!(
            readings.iter().filter(|it| it.is_ok()).count() == 4,
            "not every domain was read: {readings:?}"
        );
        std::thread::sleep(PAUSE);
        let start_ns = clock::process_cpu_ns();
        for file in &files {
            anyhow::ensure!(!fs::read_to_string(file)?.is_empty(), "a file was not read");
        }
        inline.push(clock::process_cpu_ns().saturating_sub(start_ns) as f64 / 1e6);
    }
    println!(
        "four domains of two sockets, {ROUNDS} reads alternated; CPU time of all threads in ms, median [least to most]"
    );
    println!("lanes         {}", spread(&lanes));
    println!("in the loop   {}", spread(&inline));
    println!("lanes / loop  {:.1}", median(&lanes) / median(&inline));
    Ok(())
}

fn set(files: &[PathBuf], uj: u64) -> Result<()> {
    files.iter().try_for_each(|file| fs::write(file, uj.to_string())).map_err(Into::into)
}
