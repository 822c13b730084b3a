//! Which series a report is made of, what each grew by, and whose row it is.

use super::super::error::CliError;
use super::super::report::NONE;
use super::super::report_args::ByArg;
use super::{Node, STEP_S};
use crate::provider::prometheus::Value;

/// What a series grew by up to each step of the grid. In this order, for a series that
/// 1. has a value a step before and did not fall: the difference;
/// 2. has one and fell: it began anew from zero, so its value;
/// 3. has none, of an agent that was scraped then: it began from zero since, so its value;
/// 4. was not scraped then, but within a day before: the difference to that, or its value where it fell;
/// 5. was never seen before: nothing, as nobody knows since when it counts.
///
/// The zero takes the name off all of them, so that a series is one whatever is said of it.
pub(super) fn grown(series: &str, watched: &str) -> String {
    let before = format!("{series} offset {STEP_S}s");
    let long_before = format!("last_over_time({series}[1d] offset {STEP_S}s)");
    format!(
        "((({series} - {before}) >= 0) or ({series} and {before}) \
         or ({series} and on (cluster, job, instance) ({watched} offset {STEP_S}s)) \
         or (({series} - {long_before}) >= 0) or ({series} and {long_before})) + 0"
    )
}

/// `LABEL=VALUE` as `PromQL`; the job is `carbon` unless something else is said.
pub(super) fn matchers(given: &[String]) -> Result<String, CliError> {
    let wrong = |text: &String| CliError::Argument {
        option: "--source-match",
        value: text.clone(),
        reason: "not LABEL=VALUE".into(),
        advice: "give one such as cluster=prod".into(),
    };
    let mut all = Vec::new();
    for text in given {
        let (label, value) = text.split_once('=').ok_or_else(|| wrong(text))?;
        let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if label.is_empty()
            || label.starts_with(|first: char| first.is_ascii_digit())
            || !label.chars().all(plain)
        {
            return Err(wrong(text));
        }
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        all.push((label.to_owned(), value));
    }
    if all.iter().all(|(label, _)| label != "job") {
        all.push(("job".to_owned(), "carbon".to_owned()));
    }
    Ok(all.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect::<Vec<_>>().join(","))
}

/// Whether rows are of machines, whose energy is in series of their own.
pub(super) fn is_of_machines(by: ByArg) -> bool {
    matches!(by, ByArg::Node | ByArg::Domain)
}

/// Labels that a key is made of, after a comma.
pub(super) fn by_labels(by: ByArg) -> &'static str {
    match by {
        ByArg::Namespace => ", namespace",
        ByArg::Pod => ", namespace, pod",
        ByArg::Container => ", namespace, pod, container",
        ByArg::Unit => ", unit",
        ByArg::Job => ", job_id",
        ByArg::Workload => ", workload, kind_of",
        _ => "",
    }
}

pub(super) fn key(by: ByArg, value: &Value) -> String {
    let of = |name: &str| Some(value.label(name)).filter(|text| !text.is_empty());
    let name = match by {
        ByArg::Namespace => of("namespace").map(ToOwned::to_owned),
        ByArg::Pod => of("pod").map(|_| joined(value, &["namespace", "pod"])),
        ByArg::Container => of("container").map(|_| joined(value, &["namespace", "pod", "container"])),
        ByArg::Unit => of("unit").map(ToOwned::to_owned),
        ByArg::Job => of("job_id").map(ToOwned::to_owned),
        ByArg::Node => return Node::of(value).key(),
        ByArg::Domain => of("domain").map(ToOwned::to_owned),
        _ => of("workload")
            .map(ToOwned::to_owned)
            .or_else(|| of("kind_of").map(|kind| format!("system/{kind}"))),
    };
    name.unwrap_or_else(|| NONE.to_owned())
}

fn joined(value: &Value, names: &[&str]) -> String {
    let all = names.iter().map(|name| value.label(name)).filter(|text| !text.is_empty());
    all.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_are_quoted_and_the_job_is_carbon() {
        let of = |given: &[&str]| matchers(&given.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&[]).unwrap(), "job=\"carbon\"");
        assert_eq!(of(&["cluster=a\"b\\", "job=x"]).unwrap(), "cluster=\"a\\\"b\\\\\",job=\"x\"");
        for wrong in ["cluster", "=x", "a b=c", "1a=c", "a}=c"] {
            assert!(of(&[wrong]).is_err(), "{wrong}");
        }
    }
}
