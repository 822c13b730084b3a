//! Options of the agent in its environment: the option's name in capitals after `CARBON_`.

use super::KEYS;
use crate::cli::error::CliError;
use std::ffi::OsString;

const PREFIX: &str = "CARBON_";
/// Of other commands, and near to an option of the agent.
const OTHERS: [&str; 1] = ["SERVER"];

/// The variable of an option.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('-', "_"))
}

/// What it says; nothing where it is set to nothing.
pub(super) fn said(key: &str) -> Result<Option<String>, CliError> {
    let name = variable(key);
    let Some(value) = std::env::var_os(&name) else { return Ok(None) };
    match value.into_string() {
        Ok(text) => Ok(Some(text).filter(|text| !text.trim().is_empty())),
        Err(_bytes) => Err(CliError::Variable { name, reason: "not text in UTF-8".into() }),
    }
}

/// The option that a word was meant to be: the same but for case and dashes, or a letter or two.
pub(super) fn nearest(word: &str) -> Option<&'static str> {
    let word = word.to_lowercase().replace('_', "-");
    let letters = word.chars().count();
    let near = KEYS.into_iter().map(|key| (strsim::damerau_levenshtein(key, &word), key));
    near.filter(|(distance, _)| *distance <= 2 && distance * 3 <= letters).min().map(|(_, key)| key)
}

/// What is to be said of variables that look like options and are none: others' programs, and other programs of Carbon, have
/// variables with this beginning too, so that none is refused; one that is a letter or two off an option is one that was
/// misspelt.
pub(super) fn strangers(names: impl Iterator<Item = OsString>) -> Vec<String> {
    let ours = |name: &str| {
        name == "CONFIG"
            || OTHERS.contains(&name)
            || KEYS.iter().any(|key| variable(key) == format!("{PREFIX}{name}"))
    };
    let names = names.filter_map(|name| name.into_string().ok());
    let mut said: Vec<String> = names
        .filter_map(|name| {
            let short = name.strip_prefix(PREFIX).filter(|short| !ours(short))?;
            let near = nearest(short)?;
            Some(format!(
                "{name} is no option of the agent and is not read: did you mean {}?",
                variable(near)
            ))
        })
        .collect();
    said.sort();
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_told_its_name() {
        let of = |names: &[&str]| strangers(names.iter().map(OsString::from));
        for (wrong, right) in [
            ("CARBON_INTERVALL", "CARBON_INTERVAL"),
            ("CARBON_ZONNE", "CARBON_ZONE"),
            ("CARBON_METRIC_SERIES", "CARBON_METRICS_SERIES"),
            ("CARBON_LISTEN_TOKENS", "CARBON_LISTEN_TOKEN"),
            ("CARBON_LISTEN-TOKEN", "CARBON_LISTEN_TOKEN"),
            ("CARBON_zone", "CARBON_ZONE"),
        ] {
            let said = of(&[wrong]);
            assert_eq!(said.len(), 1, "{wrong}");
            assert!(said[0].starts_with(wrong) && said[0].ends_with(&format!("{right}?")), "{said:?}");
        }
        // The agent's own, those of the rest of Carbon, and those that Kubernetes makes of a service named carbon.
        let others = [
            "CARBON_ZONE",
            "CARBON_CONFIG",
            "CARBON_SERIES",
            "CARBON_TEST_BINARY",
            "CARBON_BINARY",
            "CARBON_CA_FILE",
            "CARBON_SPOOL",
            "CARBON_LIVE",
            "CARBON_LIVE_CACHE",
            "CARBON_SERVER",
            "CARBON_SERVER_TOKEN_FILE",
            "CARBON_ORGANISATION",
            "CARBON_PROJECT_NAME",
            "CARBON_OUTPUT_FILE",
            "CARBON_DASHBOARD_TOKEN_FILE",
            "CARBON_SLURM_DIR",
            "CARBON_SLURM_LOG",
            "CARBON_SLURM_WAIT_S",
            "CARBON_FUZZ_TARGET",
            "CARBON_TEST_SCALE",
            "CARBON_SERVICE_HOST",
            "CARBON_SERVICE_PORT",
            "CARBON_SERVICE_PORT_METRICS",
            "CARBON_PORT",
            "CARBON_PORT_9488_TCP",
            "CARBON_PORT_9488_TCP_ADDR",
            "ZONNE",
            "CODECARBON_INTERVALL",
        ];
        assert_eq!(of(&others), [""; 0]);
    }
}
