//! A request, from a line that may hold anything.

use super::unique::Unique;
use super::{Refusal, VERSION};
use crate::carbon::{self, Intensity};
use crate::units::Pue;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use uuid::Uuid;

const NAME_CHARACTERS_MAX: usize = 128;
const TAGS_MAX: usize = 32;
const UNIT_CHARACTERS_MAX: usize = 64;
const ID_CHARACTERS_MAX: usize = 64;
const NOTES_MAX: usize = 16;
const NOTE_CHARACTERS_MAX: usize = 500;
const WORDS_MAX: usize = 256;
const COMMAND_BYTES_MAX: usize = 16 << 10;
/// The largest whole number that every JSON reader keeps exactly (RFC 8259, 6).
const COUNT_MAX: u64 = 1 << 53;

/// What is asked, checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// What the agent is.
    Hello,
    /// A run is to be begun.
    Start(Box<Start>),
    /// The client is to be part of a run.
    Join(Uuid),
    /// A segment is to end.
    Mark(Uuid, Option<String>),
    /// Something was done.
    Count(Uuid, String, u64),
    /// What was used: by one run, or by all of the client's and its cgroup.
    Energy(Option<Uuid>),
    /// A run is to end.
    Stop(Box<Stop>),
}

/// What a run is begun with. The strings are checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Start {
    /// What for.
    pub project: Option<String>,
    /// Which question.
    pub experiment: Option<String>,
    /// Who pays.
    pub organisation: Option<String>,
    /// Its own name.
    pub name: Option<String>,
    /// What repeats share.
    pub series: Option<String>,
    /// Free words.
    pub tags: Vec<String>,
    /// Program and arguments, cut where they are long.
    pub command: Vec<String>,
    /// Where the electricity is used.
    pub intensity: Option<Intensity>,
    /// Of the site.
    pub pue: Option<Pue>,
    /// Ends with the connection, not with the tree.
    pub connection: bool,
    /// Nobody is in it until processes join.
    pub empty: bool,
    /// Does not go to the ledger.
    pub unrecorded: bool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Well.
    #[default]
    Done,
    /// Not.
    Failed,
    /// From outside.
    Killed,
}

/// A report that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportForm {
    /// As which text.
    pub format: ReportFormat,
    /// Of a table: so wide.
    pub columns: Option<u16>,
    /// Of a table: with bold headers.
    #[serde(default)]
    pub colours: bool,
}

/// Forms of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// How a run is ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Stop {
    /// Which.
    pub run: Uuid,
    /// How.
    pub status: Status,
    /// For the record.
    pub exit_status: u8,
    /// For the report.
    pub notes: Vec<String>,
    /// The report, where it is wanted.
    pub report: Option<ReportForm>,
}

/// A line as it was understood: the id is given back with an error, too.
#[derive(Debug)]
pub struct Parsed {
    /// The client's own.
    pub id: Option<Value>,
    /// What it asks.
    pub asked: Result<Asked, Refusal>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoKeys {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StartKeys {
    project: Option<String>,
    experiment: Option<String>,
    organisation: Option<String>,
    name: Option<String>,
    series: Option<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    command: Vec<String>,
    zone: Option<String>,
    pue: Option<f64>,
    #[serde(default)]
    bound: BoundKey,
    #[serde(default)]
    members: MembersKey,
    record: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum BoundKey {
    #[default]
    Tree,
    Connection,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum MembersKey {
    #[default]
    #[serde(rename = "self")]
    Client,
    None,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RunKey {
    run: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MarkKeys {
    run: String,
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CountKeys {
    run: String,
    unit: String,
    count: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnergyKeys {
    run: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StopKeys {
    run: String,
    #[serde(default)]
    status: Status,
    exit_status: Option<u8>,
    #[serde(default)]
    notes: Vec<String>,
    report: Option<ReportForm>,
}

/// Reads a line.
pub fn parse(line: &[u8]) -> Parsed {
    let mut object = match serde_json::from_slice(line) {
        Ok(Unique(Value::Object(object))) => object,
        Ok(_) => return Parsed { id: None, asked: Err(Refusal::bad("not one JSON object on one line")) },
        Err(error) if error.is_data() => {
            return Parsed { id: None, asked: Err(Refusal::bad(error.to_string())) };
        }
        Err(error) => {
            let message = format!("not one JSON object on one line: {error}");
            return Parsed { id: None, asked: Err(Refusal::bad(message)) };
        }
    };
    let id = match object.remove("id") {
        None => None,
        Some(id) if is_id(&id) => Some(id),
        Some(_) => {
            let message =
                format!("id is a whole number, or a string of up to {ID_CHARACTERS_MAX} characters");
            return Parsed { id: None, asked: Err(Refusal::bad(message)) };
        }
    };
    Parsed { id, asked: asked(object) }
}

fn is_id(id: &Value) -> bool {
    match id {
        Value::String(text) => text.chars().count() <= ID_CHARACTERS_MAX,
        Value::Number(number) => number.is_i64() || number.is_u64(),
        _ => false,
    }
}

fn asked(mut object: Map<String, Value>) -> Result<Asked, Refusal> {
    match object.remove("version") {
        Some(version) if version == VERSION => {}
        Some(version) => {
            let message = format!("version {version} is not spoken here, only {VERSION}");
            return Err(Refusal::new("version", message));
        }
        None => return Err(Refusal::bad(format!("no version: give {VERSION}"))),
    }
    let request = object.remove("request");
    match request.as_ref().and_then(Value::as_str) {
        Some("hello") => keys::<NoKeys>(&object).map(|NoKeys {}| Asked::Hello),
        Some("start") => keys(&object).and_then(start),
        Some("join") => keys(&object).and_then(|RunKey { run }| run_id(&run)).map(Asked::Join),
        Some("mark") => {
            let MarkKeys { run, name } = keys(&object)?;
            let name = name.map(|name| checked("name", name, NAME_CHARACTERS_MAX)).transpose()?;
            Ok(Asked::Mark(run_id(&run)?, name))
        }
        Some("count") => {
            let CountKeys { run, unit, count } = keys(&object)?;
            if count > COUNT_MAX {
                return Err(Refusal::bad(format!("count {count} is above 2^53")));
            }
            Ok(Asked::Count(run_id(&run)?, checked("unit", unit, UNIT_CHARACTERS_MAX)?, count))
        }
        Some("energy") => {
            let EnergyKeys { run } = keys(&object)?;
            run.map(|run| run_id(&run)).transpose().map(Asked::Energy)
        }
        Some("stop") => keys(&object).and_then(stop),
        _ => Err(Refusal::bad("request is one of hello, start, join, mark, count, energy, stop")),
    }
}

fn keys<T: DeserializeOwned>(object: &Map<String, Value>) -> Result<T, Refusal> {
    let read = |object: &Map<String, Value>| T::deserialize(object).map_err(|error| error.to_string());
    read(object).map_err(|error| {
        // A value of the wrong kind is told without its key: it is the one without which the error is another.
        let is_wrong = |key: &&String| {
            let mut others = object.clone();
            others.remove(*key);
            read(&others).err().as_ref() != Some(&error)
        };
        match object.keys().find(is_wrong).filter(|key| !error.contains(&format!("`{key}`"))) {
            Some(key) => Refusal::bad(format!("{key}: {error}")),
            None => Refusal::bad(error),
        }
    })
}

/// A text that could be an id and is none is that of no run.
fn run_id(text: &str) -> Result<Uuid, Refusal> {
    Uuid::try_parse(text).map_err(|_not_one| Refusal::no_such_run())
}

fn checked(key: &str, text: String, characters_max: usize) -> Result<String, Refusal> {
    let count = text.chars().count();
    if (1..=characters_max).contains(&count) && !text.chars().any(char::is_control) {
        return Ok(text);
    }
    Err(Refusal::bad(format!("{key} is 1 to {characters_max} printable characters")))
}

fn many(key: &str, texts: Vec<String>, max: usize, characters_max: usize) -> Result<Vec<String>, Refusal> {
    if texts.len() > max {
        return Err(Refusal::bad(format!("{} {key}, and at most {max} are taken", texts.len())));
    }
    texts.into_iter().map(|text| checked(key, text, characters_max)).collect()
}

fn start(keys: StartKeys) -> Result<Asked, Refusal> {
    let name = |key: &str, text: Option<String>| {
        text.map(|text| checked(key, text, NAME_CHARACTERS_MAX)).transpose()
    };
    let intensity = keys.zone.as_deref().map(|zone| Intensity::of(zone.trim())).transpose();
    let pue = match keys.pue {
        Some(ratio) if carbon::pue(ratio).is_err() => {
            return Err(Refusal::bad(format!("pue is from 1 to {}", carbon::PUE_MAX)));
        }
        pue => pue.map(Pue),
    };
    Ok(Asked::Start(Box::new(Start {
        project: name("project", keys.project)?,
        experiment: name("experiment", keys.experiment)?,
        organisation: name("organisation", keys.organisation)?,
        name: name("name", keys.name)?,
        series: name("series", keys.series)?,
        tags: many("tags", keys.tags, TAGS_MAX, NAME_CHARACTERS_MAX)?,
        command: cut(keys.command),
        intensity: intensity.map_err(|error| Refusal::bad(format!("zone: {error}")))?,
        pue,
        connection: matches!(keys.bound, BoundKey::Connection),
        empty: matches!(keys.members, MembersKey::None),
        unrecorded: keys.record == Some(false),
    })))
}

fn cut(command: Vec<String>) -> Vec<String> {
    let mut left = COMMAND_BYTES_MAX;
    let fits = |word: &String| {
        left = left.saturating_sub(word.len());
        left > 0
    };
    command.into_iter().take(WORDS_MAX).take_while(fits).collect()
}

fn stop(keys: StopKeys) -> Result<Asked, Refusal> {
    let usual = u8::from(keys.status != Status::Done);
    let exit_status = keys.exit_status.unwrap_or(usual);
    if (exit_status == 0) != (keys.status == Status::Done) {
        return Err(Refusal::bad("exit_status is 0 where status is done, and only there"));
    }
    Ok(Asked::Stop(Box::new(Stop {
        run: run_id(&keys.run)?,
        status: keys.status,
        exit_status,
        notes: many("notes", keys.notes, NOTES_MAX, NOTE_CHARACTERS_MAX)?,
        report: keys.report,
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RUN: &str = "0197a0b2-0000-7000-8000-000000000001";

    fn of(line: &str) -> Result<Asked, Refusal> {
        parse(line.replace("RUN", RUN).as_bytes()).asked
    }

    fn code(line: &str) -> &'static str {
        of(line).unwrap_err().code
    }

    #[test]
    fn requests_are_read() {
        let run = Uuid::try_parse(RUN).unwrap();
        assert_eq!(of(r#"{"version":1,"request":"hello","id":7}"#), Ok(Asked::Hello));
        assert_eq!(of(r#"{"version":1,"request":"join","run":"RUN"}"#), Ok(Asked::Join(run)));
        assert_eq!(
            of(r#"{"version":1,"request":"mark","run":"RUN","name":null}"#),
            Ok(Asked::Mark(run, None))
        );
        assert_eq!(of(r#"{"version":1,"request":"energy"}"#), Ok(Asked::Energy(None)));
        assert_eq!(
            of(r#"{"version":1,"request":"count","run":"RUN","unit":"tokens","count":9007199254740992}"#),
            Ok(Asked::Count(run, "tokens".into(), COUNT_MAX))
        );
        let Asked::Start(start) = of(
            r#"{"version":1,"request":"start","project":"p","tags":["a"],"command":["x","-y"],"zone":"FR","pue":1.2,
               "bound":"connection","members":"none","record":false}"#,
        )
        .unwrap() else {
            panic!("not a start")
        };
        assert!(start.connection && start.empty && start.unrecorded && start.pue == Some(Pue(1.2)));
        assert_eq!((start.project.as_deref(), start.command.len()), (Some("p"), 2));
        let Asked::Stop(stop) = of(
            r#"{"version":1,"request":"stop","run":"RUN","status":"failed","report":{"format":"table","columns":80}}"#,
        )
        .unwrap() else {
            panic!("not a stop")
        };
        assert_eq!((stop.exit_status, stop.status), (1, Status::Failed));
        assert_eq!(stop.report.map(|form| (form.columns, form.colours)), Some((Some(80), false)));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_id() {
        let parsed = parse(br#"{"version":2,"request":"hello","id":"a"}"#);
        assert_eq!(parsed.id, Some(Value::from("a")));
        assert_eq!(parsed.asked.unwrap_err().code, "version");
        for line in [
            "",
            "[]",
            "7",
            "{",
            r#"{"request":"hello"}"#,
            r#"{"version":"1","request":7}"#.replace("\"1\"", "1").as_str(),
            r#"{"version":1}"#,
            r#"{"version":1,"version":1,"request":"hello"}"#,
            r#"{"version":1,"request":"hello","more":1}"#,
            r#"{"version":1,"request":"hello","id":1.5}"#,
            r#"{"version":1,"request":"start","name":""}"#,
            r#"{"version":1,"request":"start","name":"a\nb"}"#,
            r#"{"version":1,"request":"start","zone":"Atlantis"}"#,
            r#"{"version":1,"request":"start","pue":0.5}"#,
            r#"{"version":1,"request":"start","bound":"me"}"#,
            r#"{"version":1,"request":"mark"}"#,
            r#"{"version":1,"request":"count","run":"RUN","unit":"t","count":-1}"#,
            r#"{"version":1,"request":"count","run":"RUN","unit":"t","count":9007199254740993}"#,
            r#"{"version":1,"request":"stop","run":"RUN","exit_status":3}"#,
            r#"{"version":1,"request":"stop","run":"RUN","status":"failed","exit_status":0}"#,
        ] {
            assert_eq!(code(line), "bad_request", "{line}");
        }
        assert_eq!(code(r#"{"version":1,"request":"join","run":"x"}"#), "no_such_run");
        let message = of(r#"{"version":1,"request":"start","nmae":"x"}"#).unwrap_err().message;
        assert!(message.contains("nmae") && message.contains("name"), "{message}");
        for (line, expected) in [
            (r#"{"version":1,"request":"count","run":"RUN","unit":"t","count":-1}"#, "count: invalid value"),
            (
                r#"{"version":1,"request":"start","bound":"me"}"#,
                "bound: unknown variant `me`, expected `tree`",
            ),
            (r#"{"version":1,"request":"start","name":7,"pue":"x"}"#, "name: invalid type"),
            (r#"{"version":1,"request":"stop","run":"RUN","notes":"x"}"#, "notes: invalid type"),
            (r#"{"version":1,"request":"stop","status":"done"}"#, "missing field `run`"),
            (r#"{"version":1,"request":"mark","run":7}"#, "run: invalid type"),
            (r#"{"version":1,"request":"start","name":"a","name":"b"}"#, "the key \"name\" is there twice"),
            (
                r#"{"version":1,"request":"stop","run":"RUN","report":{"format":"json","format":"table"}}"#,
                "the key \"format\" is there twice",
            ),
        ] {
            let message = of(line).unwrap_err().message;
            assert!(message.starts_with(expected), "{message}");
        }
        let deep = "[".repeat(10_000);
        assert_eq!(code(&format!(r#"{{"version":1,"request":{deep}"#)), "bad_request");
    }

    #[test]
    fn long_commands_are_cut() {
        assert_eq!(cut(vec!["x".into(); 300]).len(), WORDS_MAX);
        assert_eq!(cut(vec!["x".repeat(10_000); 3]).len(), 1);
    }

    proptest! {
        #[test]
        fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _read = parse(&bytes);
        }
    }
}
