//! `cargo xtask web`: builds the dashboard's pages from their sources, by esbuild, after the compiler of TypeScript has checked
//! them. What it builds is committed, so that a build of the program needs no node; `--check` needs none either.

use crate::sh::{Cmd, cmd};
use crate::source_hash::sha256;
use crate::workspace;
use anyhow::{Context as _, Result, bail};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Beside `src`, what decides what is built.
const TOOLS: [&str; 3] = ["package.json", "package-lock.json", "tsconfig.json"];

/// What is built or copied.
const BUILT: [&str; 4] = ["index.html", "app.js", "app.css", "icon.svg"];

const RECORD: &str = "dist/SOURCE.sha256";

/// Builds them, or with `check` fails where what is committed is not of the present sources.
pub(crate) fn run(check: bool) -> Result<()> {
    let folder = workspace::root().join("carbon-user/src/dashboard/web");
    if check {
        let committed = fs::read_to_string(folder.join(RECORD)).context("the pages have no record")?;
        if committed != record(&folder)? {
            bail!(
                "the dashboard's pages are not of the present sources: run cargo xtask web, which needs npm"
            );
        }
        return Ok(());
    }
    let within = |program: &str| -> Cmd { cmd(program).dir(&folder) };
    within("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).run()?;
    within("node_modules/.bin/tsc").arg("--noEmit").run()?;
    let bundle = |from: &str, to: &str| {
        let to = format!("--outfile=dist/{to}");
        let options = ["--bundle", "--minify", "--format=esm", "--target=es2022", "--log-level=warning"];
        within("node_modules/.bin/esbuild").arg(from).args(options).arg(to).run()
    };
    bundle("src/main.ts", "app.js")?;
    bundle("src/style.css", "app.css")?;
    for name in ["index.html", "icon.svg"] {
        fs::copy(folder.join("src").join(name), folder.join("dist").join(name))
            .with_context(|| format!("cannot copy {name}"))?;
    }
    fs::write(folder.join(RECORD), record(&folder)?).context("cannot write the record")
}

/// Lines of `SHA-256, two spaces, what it is of`.
fn record(folder: &Path) -> Result<String> {
    let mut sources: Vec<PathBuf> = TOOLS.iter().map(|name| folder.join(name)).collect();
    for entry in fs::read_dir(folder.join("src")).context("the pages have no sources")? {
        sources.push(entry?.path());
    }
    sources.sort();
    let mut hashes = String::new();
    for path in sources {
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        writeln!(hashes, "{}  {name}", sha256(&bytes))?;
    }
    let mut record = format!("{}  sources\n", sha256(hashes.as_bytes()));
    for name in BUILT {
        let bytes =
            fs::read(folder.join("dist").join(name)).with_context(|| format!("{name} is not built"))?;
        writeln!(record, "{}  {name}", sha256(&bytes))?;
    }
    Ok(record)
}
