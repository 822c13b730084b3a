//! `cargo xtask bench`: runs the benchmarks of the kernel part, which print ratios within one run, and those of attribution,
//! of the ledger, of the team's server and of the Python package.

use crate::{python, sh, toolchain, vm, workspace};
use anyhow::{Context as _, Result};
use std::env;
use std::ffi::OsString;

/// Programs that the switch is measured with too, and Debian's packages of them. Those of bpfcc-tools compile at run time,
/// for which they want the kernel's headers; libbpf-tools has the same ones ready.
const PEERS: [(&str, &str); 3] =
    [("bpftrace", "bpftrace"), ("cpudist-bpfcc", "bpfcc-tools"), ("cpudist", "libbpf-tools")];

/// hackbench and cyclictest.
const WORK: (&str, &str) = ("cyclictest", "rt-tests");

/// Runs one of them, in the release profile.
pub(crate) fn run(what: &str, arguments: &[OsString]) -> Result<()> {
    let bench = |name| sh::cargo().args(["bench", "--quiet", "-p", "carbon-user", "--bench", name, "--"]);
    if what == "accuracy" {
        if arguments.iter().any(|argument| argument == "--guest") {
            let rest = arguments.iter().filter(|argument| *argument != "--guest");
            return vm::run_peers(&rest.cloned().collect::<Vec<_>>());
        }
        // Cargo starts it in another folder than this.
        let folder = env::current_dir().context("cannot tell the current folder")?;
        return bench("accuracy").arg("--folder").arg(folder).args(arguments).run();
    }
    if what == "bank" {
        return bench("bank").args(arguments).run();
    }
    let needed: &[(&str, &str)] = match what {
        "switch" => &PEERS,
        "load" => &[PEERS[0], WORK],
        "overhead" => &[PEERS[0], PEERS[1], PEERS[2], WORK],
        _ => &[],
    };
    for (program, package) in needed {
        toolchain::wish_for(program, package);
    }
    if let Some(page) =
        [("ledger", "docs/ledger.md"), ("serve", "docs/server.md")].iter().find(|it| it.0 == what)
    {
        let document = workspace::root().join(page.1);
        return bench(page.0).arg("--document").arg(document).args(arguments).run();
    }
    if what == "tracker" {
        return python::bench(arguments);
    }
    if what == "agent" {
        let documents = workspace::root().join("docs");
        return bench("agent").arg("--document").arg(documents).args(arguments).run();
    }
    let kernel = bench("kernel");
    let kernel = match what {
        "soak" | "overhead" => {
            let document = workspace::root().join("docs").join(format!("{what}.md"));
            kernel.arg("--document").arg(document)
        }
        _ => kernel,
    };
    kernel.arg(what).args(arguments).run()
}
