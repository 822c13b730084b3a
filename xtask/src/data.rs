//! `cargo xtask data`: checks every row of the tables in data/ and writes their sums.
//!
//! What a table must hold is written down here, not in the program that embeds it: a table of someone else's that
//! breaks a rule is mended or refused before it is ever compiled in.

use crate::workspace;
use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const SUMS: &str = "SHA256SUMS";

/// Farthest that a place may lie from the others of its country, in kilometres: across Canada or Australia.
const COUNTRY_KM_MAX: f64 = 5500.0;

/// A table and what its rows must hold.
struct Table {
    name: &'static str,
    /// Rows, as PROVENANCE.md says.
    rows: usize,
    /// Columns that together are unique.
    key: &'static [&'static str],
    /// Columns that are never blank.
    full: &'static [&'static str],
    /// Columns of numbers with their range; blank is allowed unless the column is in `full`.
    numbers: &'static [(&'static str, f64, f64)],
}

const fn table(name: &'static str, rows: usize, key: &'static [&'static str]) -> Table {
    Table { name, rows, key, full: &[], numbers: &[] }
}

const TABLES: [Table; 17] = [
    Table {
        full: &["year", "region", "location"],
        numbers: &[("year", 2019.0, 2026.0), ("cfe", 0.0, 1.0), ("grid_g_per_kwh", 0.0, 1500.0)],
        ..table("cloud-gcp-carbon.csv", 252, &["year", "region"])
    },
    Table {
        full: &["provider", "instance_type", "vcpu"],
        numbers: &[
            ("vcpu", 0.0, 2048.0),
            ("platform_vcpu", 1.0, 2048.0),
            ("gpu_count", 0.0, 64.0),
            ("teads_w_idle", 0.0, 3e4),
            ("teads_w_100", 0.0, 3e4),
        ],
        ..table("cloud-instances.csv", 2156, &["provider", "instance_type"])
    },
    Table {
        full: &["provider", "region", "city", "iso2", "lat", "lon"],
        numbers: &[
            ("lat", -60.0, 75.0),
            ("lon", -180.0, 180.0),
            ("pue", 1.0, 2.0),
            ("wue_l_per_kwh", 0.0, 10.0),
            ("provider_grid_g_per_kwh", 0.0, 1500.0),
            ("provider_cfe", 0.0, 1.0),
            ("em_location_g_per_kwh", 0.0, 1500.0),
            ("wt_marginal_g_per_kwh", 0.0, 2000.0),
            ("provider_market_g_per_kwh", 0.0, 1500.0),
        ],
        ..table("cloud-regions.csv", 215, &["provider", "region"])
    },
    Table {
        full: &["id", "value", "unit", "reference"],
        numbers: &[("value", 0.0, 1e6)],
        ..table("constants.csv", 15, &["id"])
    },
    Table {
        full: &["microarchitecture"],
        numbers: &[("idle_w_per_thread", 0.05, 5.0), ("max_w_per_thread", 0.5, 20.0)],
        ..table("cpu-arch-power.csv", 31, &["microarchitecture"])
    },
    Table {
        full: &["vendor", "model_from", "model_to"],
        ..table("cpu-ids.csv", 81, &["vendor", "family", "model_from", "stepping"])
    },
    Table {
        full: &["profile", "cpu", "rapl_w"],
        numbers: &[("cpu_load_percent", 0.0, 101.0), ("rapl_w", 0.5, 1000.0)],
        ..table("cpu-load-rapl-profiles.csv", 106, &[])
    },
    Table {
        full: &["cpu", "microarchitecture"],
        numbers: &[("idle_w_per_thread", 0.05, 15.0), ("max_w_per_thread", 0.5, 40.0)],
        ..table("cpu-server-power.csv", 168, &["cpu"])
    },
    Table {
        full: &["model", "tdp_w"],
        numbers: &[("tdp_w", 0.02, 1000.0), ("cores", 1.0, 512.0)],
        ..table("cpu-tdp.csv", 5005, &["model"])
    },
    Table {
        full: &["component", "quantity", "unit", "reference"],
        numbers: &[("value", 0.0, 1e5)],
        ..table("embodied.csv", 21, &["component", "quantity"])
    },
    Table {
        full: &["source", "set", "boundary", "reference"],
        numbers: &[
            ("g_per_kwh", 0.0, 1500.0),
            ("low_g_per_kwh", 0.0, 1500.0),
            ("high_g_per_kwh", 0.0, 3000.0),
        ],
        ..table("energy-sources.csv", 45, &["source", "set", "boundary"])
    },
    Table {
        full: &["id", "label", "basis", "per_unit", "unit", "set", "reference"],
        numbers: &[("per_unit", 0.0, 1e8)],
        ..table("equivalents.csv", 22, &["id"])
    },
    Table {
        full: &["gpu", "tdp_w"],
        numbers: &[("tdp_w", 5.0, 2000.0)],
        ..table("gpu-power.csv", 34, &["gpu"])
    },
    Table {
        full: &["iso3", "name", "intensity_g_per_kwh", "year", "source"],
        numbers: &[("intensity_g_per_kwh", 5.0, 1500.0), ("year", 2009.0, 2026.0)],
        ..table("grid-countries.csv", 226, &["iso3"])
    },
    Table {
        full: &["iso3", "year", "total_twh"],
        numbers: &[("total_twh", 0.0, 20000.0), ("coal_twh", 0.0, 20000.0)],
        ..table("grid-mix-countries.csv", 213, &["iso3"])
    },
    Table {
        full: &["iso2", "iso3166_2", "name", "intensity_g_per_kwh", "year", "boundary", "basis", "source"],
        numbers: &[("intensity_g_per_kwh", 0.0, 1500.0)],
        ..table("grid-subnational.csv", 95, &["iso3166_2"])
    },
    Table {
        full: &["zone", "name"],
        numbers: &[("g_2025", 0.0, 1600.0), ("renewable_pct_2025", 0.0, 100.0)],
        ..table("grid-zones-electricitymaps.csv", 352, &["zone"])
    },
];

type Row = HashMap<String, String>;

/// Checks the tables; then writes their sums, or compares them where `check`.
pub(crate) fn run(check: bool) -> Result<()> {
    let folder = workspace::root().join("data");
    let mut read = HashMap::new();
    let mut wrong = Vec::new();
    for table in &TABLES {
        match rows(&folder.join(table.name)) {
            Ok(rows) => {
                wrong
                    .extend(faults(table, &rows).into_iter().map(|fault| format!("{}: {fault}", table.name)));
                read.insert(table.name, rows);
            }
            Err(error) => wrong.push(format!("{}: {error:#}", table.name)),
        }
    }
    wrong.extend(between(&read));
    wrong.extend(unlisted(&folder)?);
    for fault in &wrong {
        eprintln!("xtask data: {fault}");
    }
    ensure!(
        wrong.is_empty(),
        "{} faults in data/; mend the tables or the rules in xtask/src/data.rs",
        wrong.len()
    );
    let sums = sums(&folder)?;
    let path = folder.join(SUMS);
    if check {
        let kept = fs::read_to_string(&path).unwrap_or_default();
        ensure!(
            kept == sums,
            "data/{SUMS} is not that of the tables: run \"cargo xtask data\" and commit it"
        );
        println!("data: {} tables sound, sums as committed", TABLES.len());
    } else {
        fs::write(&path, &sums).with_context(|| format!("cannot write {}", path.display()))?;
        println!("data: {} tables sound, sums written to data/{SUMS}", TABLES.len());
    }
    Ok(())
}

fn rows(path: &Path) -> Result<Vec<Row>> {
    let bytes = fs::read(path)?;
    let text = std::str::from_utf8(&bytes).context("not UTF-8")?;
    ensure!(!text.contains('\r'), "carriage returns: lines end with LF");
    ensure!(!text.starts_with('\u{feff}'), "a byte order mark");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let read: Result<Vec<Row>, _> = reader.deserialize().collect();
    Ok(read?)
}

fn cell<'a>(row: &'a Row, column: &str) -> &'a str {
    row.get(column).map_or("", String::as_str)
}

fn number(row: &Row, column: &str) -> Option<f64> {
    cell(row, column).parse().ok().filter(|value: &f64| value.is_finite())
}

/// What is wrong within one table.
fn faults(table: &Table, rows: &[Row]) -> Vec<String> {
    let mut wrong = Vec::new();
    if rows.len() != table.rows {
        wrong.push(format!("{} rows, not the {} of PROVENANCE.md", rows.len(), table.rows));
    }
    let mut seen = HashSet::new();
    for (index, row) in rows.iter().enumerate() {
        let line = index + 2;
        for column in table.full {
            if cell(row, column).trim().is_empty() {
                wrong.push(format!("line {line}: {column} is blank or missing"));
            }
        }
        for (column, text) in row {
            if text.trim() != text || ["nan", "null", "inf"].contains(&text.to_lowercase().as_str()) {
                wrong.push(format!("line {line}: {column} is {text:?}"));
            }
        }
        for (column, low, high) in table.numbers {
            let text = cell(row, column);
            if !text.is_empty() && !number(row, column).is_some_and(|value| (*low..=*high).contains(&value)) {
                wrong.push(format!("line {line}: {column} is {text:?}, not from {low} to {high}"));
            }
        }
        ordered(row, line, &mut wrong);
        let key: Vec<&str> = table.key.iter().map(|column| cell(row, column)).collect();
        if !key.is_empty() && !seen.insert(key.clone()) {
            wrong.push(format!("line {line}: {key:?} twice"));
        }
    }
    wrong
}

/// A low bound is not above the value, nor a high one below it.
fn ordered(row: &Row, line: usize, wrong: &mut Vec<String>) {
    for (low, value, high) in [("low", "value", "high"), ("low_g_per_kwh", "g_per_kwh", "high_g_per_kwh")] {
        let Some(value) = number(row, value) else { continue };
        if number(row, low).is_some_and(|low| low > value)
            || number(row, high).is_some_and(|high| high < value)
        {
            wrong.push(format!("line {line}: {value} is not between its bounds"));
        }
    }
}

/// What is wrong between tables: references that lead nowhere, and places far from their country.
fn between(read: &HashMap<&'static str, Vec<Row>>) -> Vec<String> {
    let of = |name: &str| read.get(name).map_or(&[][..], Vec::as_slice);
    let all = |name, column| of(name).iter().map(|row| cell(row, column)).collect::<HashSet<_>>();
    let mut wrong = Vec::new();
    let (zones, countries) =
        (all("grid-zones-electricitymaps.csv", "zone"), all("grid-countries.csv", "iso2"));
    for row in of("cloud-regions.csv") {
        let name = format!("cloud-regions.csv: {} {}", cell(row, "provider"), cell(row, "region"));
        let (zone, iso2) = (cell(row, "em_zone"), cell(row, "iso2"));
        if !zone.is_empty() && !zones.contains(zone) {
            wrong.push(format!("{name}: no zone {zone}"));
        }
        if !zone.is_empty() && zone.split('-').next() != Some(iso2) {
            wrong.push(format!("{name}: zone {zone} is not in {iso2}"));
        }
        if !countries.contains(iso2) {
            wrong.push(format!("{name}: no country {iso2}"));
        }
        for year in ["pue", "wue_l_per_kwh"].iter().zip(["pue_year", "wue_year"]) {
            if cell(row, year.0).is_empty() != cell(row, year.1).is_empty() {
                wrong.push(format!("{name}: {} without its year, or the reverse", year.0));
            }
        }
    }
    wrong.extend(far(of("cloud-regions.csv")));
    let architectures = all("cpu-arch-power.csv", "microarchitecture");
    for table in ["cpu-ids.csv", "cpu-server-power.csv"] {
        for row in of(table) {
            let name = cell(row, "microarchitecture");
            if !name.is_empty() && !architectures.contains(name) {
                wrong.push(format!("{table}: no power of {name}"));
            }
        }
    }
    wrong
}

/// Regions of one country that lie too far apart: how a town of the same name elsewhere is noticed.
fn far(regions: &[Row]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (index, one) in regions.iter().enumerate() {
        for other in regions.iter().skip(index + 1).filter(|other| cell(other, "iso2") == cell(one, "iso2")) {
            let apart = distance_km(one, other);
            let same_city = cell(one, "city") == cell(other, "city");
            if !apart.is_some_and(|km| km < if same_city { 200.0 } else { COUNTRY_KM_MAX }) {
                wrong.push(format!(
                    "cloud-regions.csv: {} and {} of {} are {apart:?} km apart",
                    cell(one, "region"),
                    cell(other, "region"),
                    cell(one, "iso2")
                ));
            }
        }
    }
    wrong
}

/// Great circle on a sphere of 6371 km (haversine).
fn distance_km(one: &Row, other: &Row) -> Option<f64> {
    let radians = |row, column| number(row, column).map(f64::to_radians);
    let (lat, lat2) = (radians(one, "lat")?, radians(other, "lat")?);
    let (lon, lon2) = (radians(one, "lon")?, radians(other, "lon")?);
    let half = |angle: f64| (angle / 2.0).sin().powi(2);
    let chord = half(lat2 - lat) + lat.cos() * lat2.cos() * half(lon2 - lon);
    Some(2.0 * 6371.0 * chord.sqrt().asin())
}

/// Tables that no rule covers, or that PROVENANCE.md does not name.
fn unlisted(folder: &Path) -> Result<Vec<String>> {
    let provenance = fs::read_to_string(folder.join("PROVENANCE.md")).context("data/PROVENANCE.md")?;
    if !folder.join("LICENSE-ODbL-NOTICE.md").exists() {
        bail!("the notice of the ODbL table is missing");
    }
    let mut wrong = Vec::new();
    for name in csv_files(folder)? {
        if !TABLES.iter().any(|table| table.name == name) {
            wrong.push(format!("{name}: no rule covers it"));
        }
        if !provenance.contains(&format!("| {name} |")) {
            wrong.push(format!("{name}: not in PROVENANCE.md"));
        }
    }
    Ok(wrong)
}

fn csv_files(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if Path::new(&name).extension().is_some_and(|end| end == "csv") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// As sha256sum(1) writes them, so that `sha256sum -c SHA256SUMS` works in data/.
fn sums(folder: &Path) -> Result<String> {
    let mut text = String::new();
    for name in csv_files(folder)? {
        let digest = Sha256::digest(fs::read(folder.join(&name))?);
        for byte in digest {
            write!(text, "{byte:02x}")?;
        }
        writeln!(text, "  {name}")?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(table: &Table, text: &str) -> Vec<String> {
        let rows: Vec<Row> =
            csv::Reader::from_reader(text.as_bytes()).deserialize().map(Result::unwrap).collect();
        faults(table, &rows)
    }

    #[test]
    fn a_broken_row_is_named() {
        let rules = Table { full: &["zone"], numbers: &[("g", 0.0, 1500.0)], ..table("x.csv", 1, &["zone"]) };
        assert_eq!(check(&rules, "zone,g\nFR,40\n"), [""; 0]);
        let cases = [
            ("zone,g\nFR,nan\n", "g is \"nan\""),
            ("zone,g\nFR,-1\n", "not from 0 to 1500"),
            ("zone,g\nFR,1e9\n", "not from 0 to 1500"),
            ("zone,g\n,40\n", "zone is blank"),
            ("zone,g\nFR,40\nFR,41\n", "twice"),
            ("zone,g\nFR,40\nDE,41\n", "2 rows"),
            ("zone,g\n FR,40\n", "zone is \" FR\""),
        ];
        for (text, fault) in cases {
            let found = check(&rules, text);
            assert!(found.iter().any(|it| it.contains(fault)), "{text:?}: {found:?}");
        }
        let bounded = table("x.csv", 1, &["id"]);
        assert!(check(&bounded, "id,value,low,high\na,5,6,7\n")[0].contains("between its bounds"));
    }

    #[test]
    fn a_town_of_the_same_name_elsewhere_is_noticed() {
        let text = "provider,region,city,iso2,lat,lon\na,x,Dallas,US,32.8,-96.8\nb,y,Dallas,US,44.9,-123.3\n";
        let rows: Vec<Row> =
            csv::Reader::from_reader(text.as_bytes()).deserialize().map(Result::unwrap).collect();
        assert_eq!(far(&rows).len(), 1);
    }

    #[test]
    fn the_committed_tables_are_sound() {
        run(true).unwrap();
    }
}
