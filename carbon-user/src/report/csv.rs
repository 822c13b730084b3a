//! Workloads as CSV, one row each, units in the names of the columns.

use super::figures::printable;
use super::top::Top;

const HEADER: [&str; 18] = [
    "name",
    "kind",
    "cgroup",
    "cgroup_id",
    "cpu_ns",
    "dynamic_uj",
    "dynamic_stddev_uj",
    "static_uj",
    "co2e_g",
    "quality",
    "duration_ns",
    "dynamic_low_uj",
    "dynamic_high_uj",
    "watts_per_cpu",
    "watts_per_cpu_low",
    "watts_per_cpu_high",
    "gpu_uj",
    "held_uj",
];

/// The workloads of `top`, most energy first, with a header.
///
/// # Errors
/// None in practice: the text is made in memory.
pub fn top(top: &Top) -> Result<String, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(HEADER)?;
    let maybe = |watts: Option<f64>| watts.map(|watts| watts.to_string()).unwrap_or_default();
    for row in &top.workloads {
        writer.write_record([
            &printable(&row.name),
            row.kind,
            &printable(row.cgroup.as_deref().unwrap_or_default()),
            &row.cgroup_id.map(|id| id.to_string()).unwrap_or_default(),
            &row.cpu_ns.to_string(),
            &row.dynamic_uj.to_string(),
            &row.dynamic_stddev_uj.to_string(),
            &row.static_uj.to_string(),
            &row.grams.to_string(),
            row.quality,
            &top.duration_ns.to_string(),
            &row.dynamic_low_uj.to_string(),
            &row.dynamic_high_uj.to_string(),
            &maybe(row.watts_per_cpu),
            &maybe(row.watts_per_cpu_low),
            &maybe(row.watts_per_cpu_high),
            &row.gpu_uj.map(|uj| uj.to_string()).unwrap_or_default(),
            &row.held_uj.map(|uj| uj.to_string()).unwrap_or_default(),
        ])?;
    }
    let bytes = writer.into_inner().map_err(csv::IntoInnerError::into_error)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
