//! `emissions.csv` of `CodeCarbon`, of all its versions: columns are found by their names, and those that a version does not have
//! are unknown.

use crate::serve::EmissionBody;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Columns without which a row says nothing.
const NEEDED: [&str; 4] = ["timestamp", "duration", "emissions", "energy_consumed"];

/// One run: its last row, as each row has the sums since its start.
#[derive(Clone, Debug)]
pub(super) struct CsvRun {
    /// UUID: its own, or one made of the row where a version had none.
    pub(super) id: String,
    /// What for.
    pub(super) project: String,
    /// UUID, where it has one.
    pub(super) experiment: Option<String>,
    /// Sums since the start.
    pub(super) sums: EmissionBody,
    /// When it ended, in Unix microseconds.
    pub(super) end_us: i64,
    /// When it began, in Unix microseconds.
    pub(super) start_us: i64,
    /// The machine in words.
    pub(super) hardware: String,
    /// Version that wrote it; empty where it is not said.
    pub(super) version: String,
    /// Code of the country, or of the cloud's region; empty where none is said.
    pub(super) zone: String,
    /// In words.
    pub(super) place: String,
}

/// Why a file cannot be read: the line, and what is wrong there.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {reason}")]
pub(super) struct CsvError {
    pub(super) line: u64,
    pub(super) reason: String,
}

/// Runs of a file, in its order. Times without a zone are of `tz`. Rows that cannot be read are in the second list.
pub(super) fn parse(bytes: &[u8], tz: &TimeZone) -> Result<(Vec<CsvRun>, Vec<CsvError>), CsvError> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let head = reader.headers().map_err(|error| CsvError { line: 1, reason: error.to_string() })?.clone();
    let names: Vec<String> =
        head.iter().map(|name| name.trim().trim_start_matches('\u{feff}').to_owned()).collect();
    if let Some(missing) = NEEDED.iter().find(|wanted| !names.iter().any(|name| name == *wanted)) {
        let reason = format!("there is no column {missing:?}: is it an emissions.csv of CodeCarbon?");
        return Err(CsvError { line: 1, reason });
    }
    let mut runs: Vec<CsvRun> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut bad = Vec::new();
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let line = error.position().map_or(0, csv::Position::line);
                bad.push(CsvError { line, reason: error.to_string() });
                continue;
            }
        };
        let line = record.position().map_or(0, csv::Position::line);
        let cells: BTreeMap<&str, &str> = names.iter().map(String::as_str).zip(record.iter()).collect();
        match run(&cells, tz) {
            Err(reason) => bad.push(CsvError { line, reason }),
            Ok(run) => match places.get(&run.id).and_then(|place| runs.get_mut(*place)) {
                // Rows of a flush come before those of the end.
                Some(before) if before.sums.duration <= run.sums.duration => *before = run,
                Some(_) => {}
                None => {
                    places.insert(run.id.clone(), runs.len());
                    runs.push(run);
                }
            },
        }
    }
    Ok((runs, bad))
}

fn run(cells: &BTreeMap<&str, &str>, tz: &TimeZone) -> Result<CsvRun, String> {
    let text = |name: &str| cells.get(name).map(|text| text.trim()).filter(|text| !text.is_empty());
    let number = |name: &str| -> Result<Option<f64>, String> {
        let Some(text) = text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| format!("{name} is {text:?}, no number"))
    };
    let needed = |name: &str| number(name)?.ok_or_else(|| format!("{name} is empty"));
    let stamp = text("timestamp").ok_or("timestamp is empty")?;
    let end = stamp
        .parse::<Timestamp>()
        .ok()
        .or_else(|| Some(stamp.parse::<DateTime>().ok()?.to_zoned_datetime(tz.clone()).ok()?.timestamp()));
    let end = end.ok_or_else(|| format!("timestamp {stamp:?} is no time"))?;
    let duration = needed("duration")?;
    if !(0.0..=3.2e8).contains(&duration) {
        return Err(format!("duration is {duration} s"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "checked above")]
    let length = Span::new().microseconds((duration * 1e6) as i64);
    let start = end.checked_sub(length).map_err(|error| error.to_string())?;
    let project = text("project_name").unwrap_or("codecarbon").to_owned();
    let uuid = |name: &str| text(name).and_then(|text| Uuid::try_parse(text).ok()).map(|id| id.to_string());
    let id = uuid("run_id").unwrap_or_else(|| {
        let parts = ["timestamp", "project_name", "run_id", "duration", "emissions", "energy_consumed"];
        made(&parts.map(|name| text(name).unwrap_or_default()))
    });
    let sums = EmissionBody {
        timestamp: end.to_string(),
        run_id: id.clone(),
        duration,
        emissions_sum: needed("emissions")?,
        energy_consumed: needed("energy_consumed")?,
        emissions_rate: number("emissions_rate")?,
        cpu_power: number("cpu_power")?,
        gpu_power: number("gpu_power")?,
        ram_power: number("ram_power")?,
        cpu_energy: number("cpu_energy")?,
        gpu_energy: number("gpu_energy")?,
        ram_energy: number("ram_energy")?,
        cpu_utilization_percent: number("cpu_utilization_percent")?,
        gpu_utilization_percent: number("gpu_utilization_percent")?,
        ram_utilization_percent: number("ram_utilization_percent")?,
        wue: number("wue")?,
        ..EmissionBody::default()
    };
    let words = ["cpu_model", "gpu_model", "os"];
    let hardware: Vec<&str> = words.iter().filter_map(|name| text(name)).collect();
    let cloud = text("cloud_provider").zip(text("cloud_region"));
    let region = [text("region"), text("country_name")];
    Ok(CsvRun {
        id,
        project,
        experiment: uuid("experiment_id"),
        sums,
        end_us: end.as_microsecond(),
        start_us: start.as_microsecond(),
        hardware: if hardware.is_empty() {
            "processor of unknown name".to_owned()
        } else {
            hardware.join(", ")
        },
        version: text("codecarbon_version").unwrap_or_default().to_owned(),
        zone: match (cloud, text("country_iso_code")) {
            (Some((provider, region)), _) => format!("{provider}:{region}"),
            (None, country) => country.unwrap_or_default().to_owned(),
        },
        place: region.into_iter().flatten().collect::<Vec<_>>().join(", "),
    })
}

/// An id for a row that has none: the same for the same row.
fn made(parts: &[&str]) -> String {
    let mut sum = Sha256::new();
    for part in parts {
        sum.update(part.len().to_le_bytes());
        sum.update(part);
    }
    let mut bytes = [0_u8; 16];
    for (to, from) in bytes.iter_mut().zip(sum.finalize()) {
        *to = from;
    }
    uuid::Builder::from_bytes(bytes)
        .with_version(uuid::Version::Custom)
        .with_variant(uuid::Variant::RFC4122)
        .into_uuid()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_3_3: &str = include_str!("../../../tests/fixtures/codecarbon/emissions-3.3.2.csv");

    #[test]
    fn the_last_row_of_a_run_is_its_sum() {
        let (runs, bad) = parse(OF_3_3.as_bytes(), &TimeZone::UTC).unwrap();
        assert!(bad.is_empty(), "{bad:?}");
        assert_eq!(runs.len(), 2);
        let first = &runs[0];
        assert_eq!(first.id, "6d1c2f4e-0d2b-4a51-8f0e-1f5ad5b5a001");
        assert_eq!((first.project.as_str(), first.zone.as_str()), ("thesis", "FRA"));
        assert!(
            (first.sums.duration - 20.0).abs() < 1e-9 && (first.sums.energy_consumed - 2e-4).abs() < 1e-12
        );
        assert_eq!(first.end_us - first.start_us, 20_000_000);
        assert_eq!(runs[1].zone, "gcp:europe-west1");
    }

    #[test]
    fn an_old_layout_without_ids_has_the_same_ids_each_time() {
        let text = "timestamp,experiment_id,project_name,duration,emissions,energy_consumed,country_name,\
                    country_iso_code,region,on_cloud,cloud_provider,cloud_region\n\
                    2021-04-04T08:43:00,,old,10.5,0.001,0.002,France,FRA,,N,,\n";
        let of = |text: &str| parse(text.as_bytes(), &TimeZone::UTC).unwrap().0.remove(0);
        let (one, other) = (of(text), of(text));
        assert_eq!(one.id, other.id);
        assert_ne!(one.id, of(&text.replace("10.5", "10.6")).id);
        assert_eq!(one.place, "France");
    }

    #[test]
    fn what_cannot_be_read_is_told_by_its_line() {
        let none = parse(b"a,b\n1,2\n", &TimeZone::UTC).unwrap_err();
        assert!(none.to_string().contains("line 1: there is no column \"timestamp\""), "{none}");
        let text = "timestamp,duration,emissions,energy_consumed\n2024-01-01T00:00:00,1,2,3\nnoon,1,2,3\n2024-01-01T00:00:00,x,2,3\n";
        let (runs, bad) = parse(text.as_bytes(), &TimeZone::UTC).unwrap();
        assert_eq!((runs.len(), bad.len()), (1, 2));
        assert_eq!(bad[0].to_string(), "line 3: timestamp \"noon\" is no time");
        assert_eq!(bad[1].to_string(), "line 4: duration is \"x\", no number");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_runs_or_an_error(text in "(.|\n){0,200}") {
            let _any = parse(text.as_bytes(), &TimeZone::UTC);
            let _any = parse(format!("timestamp,duration,emissions,energy_consumed\n{text}").as_bytes(), &TimeZone::UTC);
        }
    }
}
