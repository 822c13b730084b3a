//! Workloads as CSV, one row each, units in the names of the columns.

use super::figures::printable;
use super::top::Top;

const HEADER: [&str; 31] = [
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
    "runtime",
    "container_id",
    "pod_uid",
    "unit",
    "job_id",
    "job_step",
    "vm_name",
    "user_uid",
    "container",
    "image",
    "namespace",
    "pod",
    "assumed",
];

/// The workloads of `top`, most energy first, with a header.
///
/// # Errors
/// None in practice: the text is made in memory.
pub fn top(top: &Top) -> Result<String, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(HEADER)?;
    let maybe = |watts: Option<f64>| watts.map(|watts| watts.to_string()).unwrap_or_default();
    let word = |word: Option<&String>| word.map(|word| printable(word)).unwrap_or_default();
    for row in &top.workloads {
        let (workload, known) = (row.workload.as_ref(), row.known.as_ref());
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
            workload.and_then(|it| it.runtime).unwrap_or_default(),
            &word(workload.and_then(|it| it.container_id.as_ref())),
            &word(workload.and_then(|it| it.pod_uid.as_ref())),
            &word(workload.and_then(|it| it.unit.as_ref())),
            &word(workload.and_then(|it| it.job_id.as_ref())),
            &word(workload.and_then(|it| it.job_step.as_ref())),
            &word(workload.and_then(|it| it.vm_name.as_ref())),
            &workload.and_then(|it| it.user_uid).map(|uid| uid.to_string()).unwrap_or_default(),
            &word(known.and_then(|it| it.container.as_ref())),
            &word(known.and_then(|it| it.image.as_ref())),
            &word(known.and_then(|it| it.namespace.as_ref())),
            &word(known.and_then(|it| it.pod.as_ref())),
            &top.intensity.assumed.to_string(),
        ])?;
    }
    let bytes = writer.into_inner().map_err(csv::IntoInnerError::into_error)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
