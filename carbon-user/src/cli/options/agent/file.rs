//! The agent's file of options: TOML, each key the name of an option.

use super::KEYS;
use super::environment::nearest;
use crate::cli::error::CliError;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

/// Read where no file is named, if it is there.
const CONFIG_FILE: &str = "/etc/carbon/agent.toml";
/// More than any file of a few lines.
const BYTES_MAX: u64 = 1 << 20;
/// What may be a list: an option has the same with commas.
const LISTS: [&str; 4] = ["labels", "metric-aliases", "hwmon", "capabilities"];

/// Values with their lines, by key.
pub(super) type Values = BTreeMap<String, (String, usize)>;

/// A file, read: the value of each key as an option would have it, and its line.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) path: PathBuf,
    pub(super) values: Values,
}

/// The file that is named, else the usual one, if it is there.
pub(super) fn read(named: Option<PathBuf>) -> Result<Option<File>, CliError> {
    let path = match named {
        Some(path) => path,
        None if Path::new(CONFIG_FILE).exists() => CONFIG_FILE.into(),
        None => return Ok(None),
    };
    let unread = |line, reason: String| CliError::Config { path: path.clone(), line, reason };
    let mut bytes = Vec::new();
    let read = fs::File::open(&path).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes));
    let length = read.map_err(|error| unread(None, error.to_string()))?;
    if length as u64 > BYTES_MAX {
        return Err(unread(None, format!("it is longer than the {BYTES_MAX} bytes that are read")));
    }
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let at = place(&String::from_utf8_lossy(before), usize::MAX);
        unread(Some(at), "not text in UTF-8, in which the file is to be saved".to_owned())
    })?;
    let values = values(text).map_err(|(at, reason)| unread(Some(at), reason))?;
    Ok(Some(File { path, values }))
}

/// Keys with their values and lines; or where it is wrong, as line and column, and why.
pub(in crate::cli::options) fn values(text: &str) -> Result<Values, ((usize, usize), String)> {
    let table: BTreeMap<toml::Spanned<String>, toml::Spanned<toml::Value>> =
        toml::from_str(text).map_err(|error| {
            let at = place(text, error.span().map_or(0, |span| span.start));
            let advice = text.lines().nth(at.0.saturating_sub(1)).and_then(quoted);
            (at, advice.unwrap_or_else(|| error.message().to_owned()))
        })?;
    let mut values = BTreeMap::new();
    for (key, value) in table {
        let at = place(text, key.span().start);
        let name = key.into_inner();
        if !KEYS.contains(&name.as_str()) {
            let meant = nearest(&name).map_or_else(String::new, |near| format!("did you mean {near}? "));
            return Err((at, format!("unknown key {name:?}; {meant}known are {}", KEYS.join(", "))));
        }
        if let Some((at, entry)) = not_text(text, &name) {
            let reason = format!("{name} is a list of text in quotes, and {entry} in it has none");
            return Err((place(text, at), reason));
        }
        let span = value.span();
        let written = text.get(span.clone()).unwrap_or_default();
        let value = scalar(&name, written, value.into_inner());
        let value = value.map_err(|reason| (place(text, span.start), reason))?;
        values.insert(name, (value, at.0));
    }
    Ok(values)
}

/// Where the first entry of a list begins that is no text, and the entry.
fn not_text<'a>(text: &'a str, name: &str) -> Option<(usize, &'a str)> {
    let table = DeTable::parse(text).ok()?;
    let (_, list) = table.get_ref().iter().find(|(key, _)| LISTS.contains(&name) && key.get_ref() == name)?;
    let entry = list.get_ref().as_array()?.iter().find(|entry| !entry.get_ref().is_str())?;
    Some((entry.span().start, text.get(entry.span())?))
}

/// As an option would have it; or why it cannot.
fn scalar(name: &str, written: &str, value: toml::Value) -> Result<String, String> {
    let wrong = |kind: &str| Err(format!("{name} is text in quotes, a number, true or false, not {kind}"));
    match value {
        toml::Value::String(text) => Ok(text),
        // TOML's way of octal digits: the option has them without.
        toml::Value::Integer(_) if name == "socket-mode" => {
            Ok(written.strip_prefix("0o").unwrap_or(written).to_owned())
        }
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Float(number) => Ok(number.to_string()),
        toml::Value::Boolean(yes) => Ok(yes.to_string()),
        toml::Value::Array(items) if LISTS.contains(&name) => {
            let words: Option<Vec<&str>> = items.iter().map(toml::Value::as_str).collect();
            words.map(|words| words.join(",")).map_or_else(|| wrong("a list of something else"), Ok)
        }
        toml::Value::Array(_) => wrong("a list"),
        toml::Value::Table(_) => wrong("a table"),
        toml::Value::Datetime(_) => wrong("a date"),
    }
}

/// What to write, where a line is wrong because text has no quotes: the commonest mistake, which a parser of TOML takes for
/// one of booleans or numbers.
fn quoted(line: &str) -> Option<String> {
    let (key, rest) = line.split_once('=')?;
    let value = rest.split('#').next()?.trim();
    if value.is_empty() || value.contains(['"', '\'', '[', '{']) {
        return None;
    }
    let is_one = |text: &str| toml::from_str::<toml::Table>(text).is_ok();
    let better = format!("{} = \"{value}\"", key.trim());
    (!is_one(&format!("{key}= {value}")) && is_one(&better))
        .then(|| format!("{value} has no quotes, which text needs: {better}"))
}

/// Line and column of a byte, both from 1.
fn place(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_where_it_is_wrong() {
        let wrong = |text: &str| values(text).unwrap_err();
        assert_eq!(wrong("zone = \"FR\"\n  zon = \"DE\"\n").0, (2, 3));
        assert!(wrong("zon = 1").1.starts_with("unknown key \"zon\"; did you mean zone? known are zone"));
        assert!(wrong("metrics_series = 1").1.contains("did you mean metrics-series?"));
        assert!(wrong("verbosity = 1").1.starts_with("unknown key \"verbosity\"; known are zone"));
        assert_eq!(wrong("a = 1\n\nzone = [1]\n").0, (1, 1));
        let (at, why) = wrong("zone = [1]\n");
        assert_eq!(
            (at, why.as_str()),
            ((1, 8), "zone is text in quotes, a number, true or false, not a list")
        );
        assert_eq!(
            wrong("labels = [\n  \"a\",\n  3]\n"),
            ((3, 3), "labels is a list of text in quotes, and 3 in it has none".to_owned())
        );
        assert_eq!(wrong("zone = \"FR\"\nzone = \n").0.0, 2);
        let values = values("pue = 1.25\nseries = 7\n# c\nzone = 'FR'\n").unwrap();
        assert_eq!(values["pue"], ("1.25".to_owned(), 1));
        assert_eq!((values["series"].0.as_str(), values["zone"].1), ("7", 4));
    }

    #[test]
    fn text_without_quotes_is_told_what_it_needs() {
        for (line, better) in [
            ("zone = FR", "zone = \"FR\""),
            ("zone=FR # home", "zone = \"FR\""),
            ("interval = 1s", "interval = \"1s\""),
            ("otlp = http://a:4318", "otlp = \"http://a:4318\""),
            ("store = /var/lib/c.db", "store = \"/var/lib/c.db\""),
            ("socket-mode = 0660", "socket-mode = \"0660\""),
            ("here = True", "here = \"True\""),
        ] {
            let (at, why) = values(&format!("# a comment\n{line}\n")).unwrap_err();
            assert_eq!(at.0, 2, "{line}");
            assert!(why.ends_with(&format!("has no quotes, which text needs: {better}")), "{line}: {why}");
        }
        for other in ["zone = 'FR", "zone = \"FR", "zone: FR", "zone = ", "zone"] {
            let (_, why) = values(other).unwrap_err();
            assert!(!why.contains("no quotes"), "{other}: {why}");
        }
    }

    #[test]
    fn lists_and_octal_digits_are_what_they_look_like() {
        let of = |text: &str| values(text).map(|values| values.into_values().next().unwrap().0);
        assert_eq!(of("labels = [\"team\", \"app\"]").unwrap(), "team,app");
        assert!(of("labels = [1]").is_err() && of("zone = [\"FR\"]").is_err());
        for mode in ["0o660", "660", "\"0660\""] {
            let mode = of(&format!("socket-mode = {mode}")).unwrap();
            assert_eq!(u32::from_str_radix(&mode, 8), Ok(0o660), "{mode}");
        }
        assert_eq!(of("series = 1_000").unwrap(), "1000");
    }

    #[test]
    fn what_is_no_text_is_said_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        let said = || read(Some(path.clone())).unwrap_err().message();
        fs::write(&path, b"pue = 1.2\nzone = \"\xff\"\n").unwrap();
        assert!(said().contains("agent.toml:2:9: not text in UTF-8"), "{}", said());
        fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
        assert!(said().contains("longer than"), "{}", said());
        // Windows' editors write both.
        fs::write(&path, "\u{feff}zone = \"FR\"\r\npue = 1.2\r\n").unwrap();
        assert_eq!(read(Some(path.clone())).unwrap().unwrap().values["pue"].0, "1.2");
        let endless = read(Some("/dev/zero".into())).unwrap_err().message();
        assert!(endless.contains("longer than"), "{endless}");
    }
}
