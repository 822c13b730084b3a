//! `carbon run` and its ledger, from outside: what is recorded, listed, reported, compared and refused.

#![expect(clippy::unwrap_used, reason = "clippy excuses functions with #[test] only, not those they call")]

use crate::ledger::minute;
use crate::measuring::document;
use crate::postgres::Server;
use carbon_user::ledger::query::MINUTE;
use carbon_user::ledger::{Ledger, Location};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Unix time of 2026-01-01.
const BEGIN: i64 = 1_767_225_600;

/// Modelled energy from /proc: what every machine and user can have.
const MEASURE: [&str; 5] = ["run", "--quiet", "--accounting", "proc", "--meter=model"];

fn carbon(store: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carbon"));
    command.args(arguments).env_remove("CARBON_ZONE").env_remove("CARBON_PUE").env("CARBON_STORE", store);
    command.output().unwrap()
}

fn run(store: &str, options: &[&str], command: &[&str]) -> Option<i32> {
    carbon(store, &[&MEASURE[..], options, &["--"], command].concat()).status.code()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(store: &str, arguments: &[&str]) -> Value {
    document(text(&carbon(store, &[arguments, &["--format", "json"]].concat())).as_bytes())
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

const WORK: &str = "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done";

/// What ran is listed with how it ended, and the report's sums are those of the list.
fn runs_are_recorded(store: &str) {
    let tagged = ["-p", "thesis", "--experiment", "e1", "--tag", "paper", "--zone", "FR"];
    assert_eq!(run(store, &tagged, &["sh", "-c", WORK]), Some(0));
    assert_eq!(run(store, &tagged, &["sh", "-c", "exit 3"]), Some(3));
    assert_eq!(run(store, &["-p", "thesis", "--zone", "FR"], &["sh", "-c", "kill -TERM $$"]), Some(143));
    assert_eq!(run(store, &["-p", "other", "--zone", "FR"], &["no-such-command-anywhere"]), Some(127));
    assert_eq!(run(store, &["-p", "other", "--no-store"], &["true"]), Some(0));
    let list = json(store, &["runs", "list"]);
    let runs = list["runs"].as_array().unwrap();
    let of = |key: &str| runs.iter().map(|run| run[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("status"), ["done", "failed", "killed", "failed"]);
    assert_eq!(of("exit_status"), [0, 3, 143, 127]);
    assert_eq!(runs[0]["tags"][0], "paper");
    assert_eq!(runs[3]["dynamic_uj"], Value::Null, "unknown is not zero");
    let sum = json(store, &["runs", "sum", "--tag", "paper"]);
    assert_eq!((&sum["runs"], &sum["failed"]), (&2.into(), &1.into()), "failed runs are behind a paper too");
    let report = json(store, &["report", "--by", "project"]);
    let rows = report["rows"].as_array().unwrap();
    let thesis = rows.iter().find(|row| row["key"] == "thesis").unwrap();
    let expected: u64 = runs[..3].iter().map(|run| run["dynamic_uj"].as_u64().unwrap()).sum();
    assert_eq!(thesis["dynamic_uj"].as_u64(), Some(expected));
    assert_eq!(report["reconciliation"]["holds"], true);
    assert_eq!(report["factors"][0]["zone"], "FR");
    let other = rows.iter().find(|row| row["key"] == "other").unwrap();
    assert_eq!(other["grams"], Value::Null);
    // Another factor is another figure, and the ledger keeps its own.
    let recorded = thesis["grams"].as_f64().unwrap();
    let world = json(store, &["report", "--by", "project", "--factors", "WORLD"]);
    let world_row = world["rows"].as_array().unwrap().iter().find(|row| row["key"] == "thesis").unwrap();
    assert!((world_row["grams"].as_f64().unwrap() / recorded - 458.0 / 41.44).abs() < 1e-6);
    assert_eq!(json(store, &["report", "--by", "project"])["rows"], report["rows"]);
    let id = runs[0]["id"].as_str().unwrap();
    let said = text(&carbon(store, &["explain", &id[id.len() - 12..]]));
    for step in ["1. reading: ", "2. CPU time: ", "3. energy: ", "4. factor ", "5. grams: "] {
        assert!(said.contains(step), "{said}");
    }
    assert!(said.contains(&format!("{} uJ / 3.6e12", runs[0]["dynamic_uj"])), "{said}");
    let verified = carbon(store, &["ledger", "verify"]);
    assert!(text(&verified).contains("all sums hold"));
}

#[test]
fn runs_are_recorded_and_reported() {
    let directory = tempfile::tempdir().unwrap();
    runs_are_recorded(directory.path().join("new/a.db").to_str().unwrap());
}

#[test]
fn runs_are_recorded_on_a_server() {
    let Some(server) = Server::start_or_skip("runs_are_recorded_on_a_server") else { return };
    let url = server.database("runs");
    runs_are_recorded(&url);
    let said = text(&carbon(&url, &["report"]));
    assert!(said.contains("postgres://carbon@127.0.0.1") && !said.contains("secret"), "{said}");
}

#[test]
fn a_file_of_intensities_is_used_for_its_time() {
    let directory = tempfile::tempdir().unwrap();
    let (path, file) = (directory.path().join("a.db"), directory.path().join("g.csv"));
    let store = path.to_str().unwrap();
    let head = "start,end,g_per_kwh,signal,boundary,method";
    fs::write(&file, format!("{head}\n2020-01-01T00:00Z,2100-01-01T00:00Z,77,marginal,direct,location\n"))
        .unwrap();
    let options = ["--zone", "FR", "--intensity-file", file.to_str().unwrap()];
    assert_eq!(run(store, &options, &["sh", "-c", WORK]), Some(0));
    let of_file = json(store, &["report", "--by", "run"]);
    assert_eq!(of_file["factors"][0]["g_per_kwh"], 77.0);
    assert_eq!(of_file["factors"][0]["basis"], "location-based, hourly marginal");
    // A time that it has no value for is the place's yearly average; and two kinds have no sum.
    fs::write(&file, format!("{head}\n2020-01-01T00:00Z,2020-01-02T00:00Z,77,marginal,direct,location\n"))
        .unwrap();
    assert_eq!(run(store, &options, &["sh", "-c", WORK]), Some(0));
    let both = json(store, &["report", "--by", "run"]);
    assert_eq!(both["total"]["grams"], Value::Null);
    assert!(both["notes"].to_string().contains("different things"), "{}", both["notes"]);
    fs::write(&file, "start,g\n").unwrap();
    assert_eq!(run(store, &options, &["true"]), Some(125));
}

#[test]
fn a_run_whose_carbon_was_killed_is_there_and_its_energy_unknown() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let store = path.to_str().unwrap();
    let mark = directory.path().join("started");
    let script = format!("touch {} && exec sleep 30", mark.display());
    let mut child = Command::new(env!("CARGO_BIN_EXE_carbon"))
        .args(MEASURE)
        .args(["-p", "lost", "--", "sh", "-c", &script])
        .env("CARBON_STORE", store)
        .spawn()
        .unwrap();
    for _ in 0..1000 {
        if mark.exists() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let list = json(store, &["runs", "list"]);
    assert_eq!(
        (&list["runs"][0]["status"], &list["runs"][0]["dynamic_uj"]),
        (&"running".into(), &Value::Null)
    );
    let report = json(store, &["report"]);
    assert_eq!(report["rows"][0]["dynamic_uj"], Value::Null);
    assert!(report["notes"].to_string().contains("1 runs have not ended"), "{}", report["notes"]);
    // It has left its id where the user sees it.
    let said = carbon(store, &["run", "--accounting", "proc", "--meter=model", "--zone", "FR", "--", "true"]);
    let id = json(store, &["runs", "list"])["runs"][1]["id"].as_str().unwrap().to_owned();
    assert!(stderr(&said).contains(&format!("recorded as run {id} in {store}")), "{}", stderr(&said));
}

/// A figure that leaves without saying that nobody gave a place would be taken for one of that place.
#[test]
fn an_unknown_place_is_flagged_on_every_output() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("a.db");
    let store = store.to_str().unwrap();
    let measured = carbon(store, &["run", "--accounting", "proc", "--meter=model", "--", "sh", "-c", WORK]);
    assert!(stderr(&measured).contains("no zone given"), "{}", stderr(&measured));
    let flagged = |asked: &[&str], format: &str| {
        let said = text(&carbon(store, &[asked, &["--format", format]].concat()));
        let marked =
            ["ASSUMED", "assumed\": true", "no place was given"].iter().any(|mark| said.contains(mark));
        // In rows for programs it is a column.
        let head = said.lines().next().unwrap_or_default().to_owned();
        let column = head.split(',').position(|key| key == "assumed" || key == "x_Assumed");
        let row = said.lines().nth(1).unwrap_or_default().to_owned();
        marked || column.is_some_and(|at| ["true", "1"].contains(&row.split(',').nth(at).unwrap_or_default()))
    };
    for format in ["table", "json", "csv", "markdown", "html", "focus-csv", "latex", "bibtex", "model-card"] {
        assert!(flagged(&["report", "--by", "run"], format), "{format}");
    }
    for asked in [["runs", "list"], ["runs", "sum"]] {
        for format in ["table", "json", "csv", "markdown"] {
            assert!(flagged(&asked, format), "{asked:?} {format}");
        }
    }
    assert_eq!(run(store, &["--zone", "FR"], &["sh", "-c", WORK]), Some(0));
    let rows = &json(store, &["runs", "list"])["runs"];
    assert_eq!((&rows[0]["assumed"], &rows[1]["assumed"]), (&true.into(), &false.into()));
}

#[test]
fn gates_answer_with_a_status() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("a.db");
    let store = store.to_str().unwrap();
    assert_eq!(run(store, &["--max-energy", "1MJ"], &["true"]), Some(0));
    assert_eq!(run(store, &["--max-energy", "0.001mJ"], &["sh", "-c", WORK]), Some(1));
    assert_eq!(
        run(store, &["--max-energy", "0.001mJ"], &["sh", "-c", "exit 9"]),
        Some(9),
        "the command's own"
    );
    assert_eq!(run(store, &["--max-energy", "much"], &["true"]), Some(125));
    assert_eq!(
        run(store, &["--repeat", "4", "--experiment", "few", "--name", "few"], &["sh", "-c", WORK]),
        Some(0)
    );
    let many = WORK.replace("30000", "300000");
    assert_eq!(
        run(store, &["--repeat", "4", "--experiment", "many", "--name", "many"], &["sh", "-c", &many]),
        Some(0)
    );
    let compare = |a: &str, b: &str, limit: &str| {
        carbon(store, &["runs", "compare", a, b, "--fail-above", limit, "--format", "json"])
    };
    let worse = compare("experiment:few", "experiment:many", "5%");
    assert_eq!(worse.status.code(), Some(1));
    let found: Value = serde_json::from_slice(&worse.stdout).unwrap();
    assert_eq!((&found["verdict"], &found["a"]["runs"]), (&"worse".into(), &4.into()));
    assert!(found["p"].as_f64().unwrap() < 0.05);
    assert_eq!(compare("experiment:many", "experiment:few", "5%").status.code(), Some(0));
    assert_eq!(compare("experiment:few", "experiment:none", "5%").status.code(), Some(2));
    assert_eq!(compare("experiment:few", "experiment:many", "five").status.code(), Some(2));
    // The repeats of one command are one series.
    let runs = json(store, &["runs", "list"]);
    let series = runs["runs"].as_array().unwrap().last().unwrap()["series"].as_str().unwrap().to_owned();
    assert_eq!(compare(&series, &series, "0%").status.code(), Some(0));
    let by_name = compare("few", "many", "5%");
    let found: Value = serde_json::from_slice(&by_name.stdout).unwrap();
    assert_eq!(
        (&found["verdict"], &found["a"]["runs"], &found["b"]["runs"]),
        (&"worse".into(), &4.into(), &4.into())
    );
    // Who fails has used little, and has not done the work.
    assert_eq!(run(store, &["--experiment", "broken"], &["sh", "-c", "exit 1"]), Some(1));
    let broken = compare("experiment:many", "experiment:broken", "5%");
    let found: Value = serde_json::from_slice(&broken.stdout).unwrap();
    assert_eq!((broken.status.code(), &found["verdict"]), (Some(1), &"worse".into()), "{found}");
}

#[test]
fn repeats_are_told_by_their_schema() {
    let directory = tempfile::tempdir().unwrap();
    let store = directory.path().join("a.db");
    let store = store.to_str().unwrap();
    let repeat = |more: &[&str]| {
        let options = ["run", "--accounting", "proc", "--meter=model", "--zone", "FR", "--format", "json"];
        let output = carbon(store, &[&options[..], more, &["--", "sh", "-c", WORK]].concat());
        document(&output.stderr)
    };
    let repeated = repeat(&["--repeat", "3"]);
    assert_eq!((&repeated["schema"], &repeated["runs"]), (&"carbon.repeat/1".into(), &3.into()));
    let list = json(store, &["runs", "list"]);
    let runs = list["runs"].as_array().unwrap();
    assert!(runs.len() == 3 && runs.iter().all(|run| run["series"] == repeated["series"]), "{list}");
    let joules =
        |run: &Value| (run["dynamic_uj"].as_f64().unwrap() + run["static_uj"].as_f64().unwrap()) / 1e6;
    let mean = runs.iter().map(joules).sum::<f64>() / 3.0;
    assert!((repeated["mean_j"].as_f64().unwrap() - mean).abs() < 1e-9, "{repeated}");
}

#[test]
fn a_run_whose_intensity_is_known_later_is_rated_again_once_and_marked() {
    let directory = tempfile::tempdir().unwrap();
    let (path, file) = (directory.path().join("a.db"), directory.path().join("g.csv"));
    let (store, file) = (path.to_str().unwrap(), file.to_str().unwrap());
    assert_eq!(run(store, &["-p", "x", "--zone", "FR", "--pue", "1.2"], &["sh", "-c", WORK]), Some(0));
    assert_eq!(run(store, &["-p", "y", "--zone", "DE"], &["sh", "-c", WORK]), Some(0));
    let head = "start,end,g_per_kwh,signal,boundary,method";
    let known = |g: u32| {
        let row = format!("2020-01-01T00:00Z,2100-01-01T00:00Z,{g},average,lifecycle,location");
        fs::write(file, format!("{head}\n{row}\n")).unwrap();
    };
    known(100);
    let before = json(store, &["runs", "list"]);
    let again = ["ledger", "rerate", "--zone", "FR", "--intensity-file", file];
    let told = text(&carbon(store, &again));
    assert!(told.contains("1 runs of FR rated again; 0 are not covered"), "{told}");
    let after = json(store, &["runs", "list"]);
    let grams = |list: &Value, run: usize| list["runs"][run]["grams"].as_f64().unwrap();
    assert!((grams(&after, 0) / grams(&before, 0) - 100.0 / 41.44).abs() < 1e-9);
    assert_eq!((&after["runs"][0]["rerated"], &before["runs"][0]["rerated"]), (&true.into(), &false.into()));
    assert_eq!(after["runs"][0]["dynamic_uj"], before["runs"][0]["dynamic_uj"]);
    assert_eq!(after["runs"][1], before["runs"][1], "another zone's");
    let report = json(store, &["report", "--by", "project"]);
    let row = report["rows"].as_array().unwrap().iter().find(|row| row["key"] == "x").unwrap();
    assert_eq!(row["rerated"], true);
    assert!(report["notes"].to_string().contains("some runs were rated again"), "{}", report["notes"]);
    assert!(
        report["factors"]
            .as_array()
            .unwrap()
            .iter()
            .any(|row| row["g_per_kwh"] == 100.0 && row["zone"] == "FR")
    );
    // The place is still known: what it would be by the tables of today.
    let current = json(store, &["report", "--by", "project", "--factors", "current"]);
    let current = current["rows"].as_array().unwrap().iter().find(|row| row["key"] == "x").unwrap();
    assert!((current["grams"].as_f64().unwrap() / grams(&before, 0) - 1.0).abs() < 1e-9);
    let id = after["runs"][0]["id"].as_str().unwrap();
    let chain = text(&carbon(store, &["explain", id]));
    assert!(
        chain.contains("it came after its run; recorded first by 41.44 g/kWh")
            && chain.contains("x PUE 1.2 x 100 g/kWh"),
        "{chain}"
    );
    // Once; and carried to another ledger it is the same, and is not rated again there.
    known(500);
    let other = directory.path().join("b.db");
    let lines = directory.path().join("lines");
    text(&carbon(store, &["ledger", "export", "--output", lines.to_str().unwrap()]));
    text(&carbon(other.to_str().unwrap(), &["ledger", "import", lines.to_str().unwrap()]));
    for store in [store, other.to_str().unwrap()] {
        assert!(text(&carbon(store, &again)).contains("0 runs of FR rated again"), "once");
        assert_eq!(json(store, &["runs", "list"]), after);
        assert!(text(&carbon(store, &["ledger", "verify"])).contains("all sums hold"));
    }
}

/// A ledger with energies of three namespaces over two days.
fn filled(path: &Path) {
    let mut ledger = Ledger::open(&Location::File(path.into())).unwrap();
    let flushes: Vec<_> = (0..48)
        .map(|half| {
            minute("n", BEGIN + half * 60 * MINUTE, &[(0, 1_000_000), (1, 2_000_000), (2, 3)], (7, 2))
        })
        .collect();
    ledger.flush(&flushes).unwrap();
}

#[test]
fn a_report_reconciles_to_the_microjoule_in_every_form() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    filled(&path);
    let store = path.to_str().unwrap();
    let ask = ["report", "--by", "namespace", "--from", "2026-01-01", "--to", "2026-01-03"];
    let report = json(store, &ask);
    let rows = report["rows"].as_array().unwrap();
    let of = |key: &str| rows.iter().find(|row| row["key"] == key).unwrap()["dynamic_uj"].as_u64().unwrap();
    assert_eq!((of("ns0"), of("ns1"), of("ns2")), (48_000_000, 96_000_000, 144));
    assert_eq!(report["reconciliation"]["metered_uj"], 48 * (3_000_003 + 9));
    assert_eq!(report["reconciliation"]["holds"], true);
    let days = json(store, &[&ask[..], &["--per", "day", "--tz", "Europe/Paris"]].concat());
    let days: Vec<(&str, u64)> = days["rows"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["key"] == "ns0")
        .map(|row| (row["period"].as_str().unwrap(), row["dynamic_uj"].as_u64().unwrap()))
        .collect();
    // A day in Paris ends an hour before one of UTC: of the first, 23 hours are there.
    assert_eq!(days, [("2026-01-01", 23_000_000), ("2026-01-02", 24_000_000)]);
    for (format, mark) in [
        ("table", "reconciled"),
        (
            "csv",
            "key,period,runs,cpu_ns,dynamic_uj,static_uj,held_uj,stddev_uj,grams,grams_low,grams_high,quality,rerated,assumed",
        ),
        ("markdown", "| ns1 |"),
        ("html", "<td>ns1</td>"),
        ("focus-csv", "ChargePeriodStart,"),
        ("latex", "\\begin{tabular}"),
        ("bibtex", "@misc{carbon-"),
        ("model-card", "co2_eq_emissions:"),
    ] {
        let said = text(&carbon(store, &[&ask[..], &["--format", format]].concat()));
        assert!(said.contains(mark), "{format}: {said}");
    }
    // An end before the first day: nothing, and not from the first day backwards.
    let before = json(store, &["report", "--by", "namespace", "--to", "1970-01-01"]);
    assert_eq!((&before["scope"]["from"], &before["rows"]), (&before["scope"]["to"], &serde_json::json!([])));
    // A bill's rows are each of their own time.
    let days = ["--per", "day", "--tz", "Europe/Paris", "--format", "focus-csv"];
    let bill = text(&carbon(store, &[&ask[..], &days].concat()));
    assert!(bill.contains("\n2026-01-02T00:00:00+01:00,2026-01-03T00:00:00+01:00,Usage,"), "{bill}");
    // Who publishes a figure states whose factor it is by.
    for format in ["latex", "bibtex", "model-card"] {
        let said = text(&carbon(store, &[&ask[..], &["--format", format]].concat()));
        assert!(
            said.contains("(Ember (2026), with major processing by Our World in Data, CC BY 4.0)"),
            "{said}"
        );
    }
    let parquet = carbon(store, &[&ask[..], &["--format", "parquet"]].concat()).stdout;
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    let sci = json(store, &[&ask[..], &["--sci", "--per", "request=1000"]].concat());
    let said = text(&carbon(store, &[&ask[..], &["--sci", "--per", "request=12345"]].concat()));
    assert!(said.contains("per request of 12345 "), "{said}");
    let parts = ["--sci", "--per", "request=1000", "--embodied-parts", "cpus=2,die_mm2=1200,memory_gb=256"];
    let of_parts = json(store, &[&ask[..], &parts].concat());
    let method = of_parts["sci"]["embodied_method"].as_str().unwrap();
    assert!(method.contains("UBA Texte 94/2021"), "{method}");
    let per_request = sci["sci"]["score_g"].as_f64().unwrap();
    let parts = sci["sci"]["operational_g"].as_f64().unwrap() + sci["sci"]["embodied_g"].as_f64().unwrap();
    assert!(
        (per_request - parts / 1000.0).abs() < 1e-9 && parts > 1000.0,
        "two days of a server are some hundred grams"
    );
}

#[test]
fn an_hour_that_is_known_later_is_rated_again_and_marked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    filled(&path);
    let store = path.to_str().unwrap();
    let file = directory.path().join("intensities.csv");
    let values = "start,end,g_per_kwh,signal,boundary,method\n\
                  2026-01-01T00:00Z,2026-01-01T01:00Z,100,average,lifecycle,location\n\
                  2026-01-01T01:00Z,2026-01-01T01:30Z,100,average,lifecycle,location\n";
    fs::write(&file, values).unwrap();
    let file = file.to_str().unwrap();
    let ask = ["report", "--by", "node", "--from", "2026-01-01", "--to", "2026-01-02"];
    let before = json(store, &ask);
    let again = ["ledger", "rerate", "--zone", "FR", "--intensity-file", file];
    assert!(text(&carbon(store, &again)).contains("1 hours of FR rated again; 1 are not covered"));
    let after = json(store, &ask);
    assert_eq!((&before["rows"][0]["rerated"], &after["rows"][0]["rerated"]), (&false.into(), &true.into()));
    assert_eq!(before["reconciliation"], after["reconciliation"]);
    // One of 24 hours at 100 instead of 41.44 g/kWh: the energy of all is the same.
    let grams = |report: &Value| report["total"]["grams"].as_f64().unwrap();
    let ratio = grams(&after) / grams(&before);
    assert!((ratio - (23.0 + 100.0 / 41.44) / 24.0).abs() < 1e-9, "{ratio}");
    assert!(after["notes"].to_string().contains("rated again when their intensity became known"));
    assert!(text(&carbon(store, &again)).contains("0 hours of FR rated again"), "once");
    // The chain of the hour, and of one workload in a day, to the microjoule.
    let hour = text(&carbon(store, &["explain", "2026-01-01T00"]));
    for said in [
        "2026-01-01T00:00:00+00:00 to 2026-01-01T01:00:00+00:00, from the hours of",
        "3000012 uJ metered = 3000003 attributed to what ran + 7 static (idle power) + 2 lost",
        "3. energy: /pods/1: 2000000 uJ dynamic of package-0 (66.7 % of what was attributed)",
        "4. factor ",
        "it came after its hour; recorded first by 41.44 g/kWh",
        "5. grams: 3000003 uJ / 3.6e12 uJ/kWh x PUE 1.2 x 100 g/kWh = 0.0001000001 g",
    ] {
        assert!(hour.contains(said), "{said}: {hour}");
    }
    let day = text(&carbon(store, &["explain", "2026-01-01", "--workload", "pods/0"]));
    assert!(day.contains("23000000 uJ / 3.6e12") && day.contains("1000000 uJ / 3.6e12"), "{day}");
    assert!(!day.contains("/pods/1"), "{day}");
    let minute = text(&carbon(store, &["explain", "2026-01-01T00:01"]));
    assert!(minute.contains("joules and grams are unknown, not zero"), "{minute}");
    let marginal = values.replace("average", "marginal");
    fs::write(file, marginal).unwrap();
    let refused = stderr(&carbon(store, &again));
    assert!(refused.contains("are different things") && refused.contains("nothing was changed"), "{refused}");
}

#[test]
fn what_cannot_be_asked_is_said_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    filled(&path);
    let store = path.to_str().unwrap();
    let cases: [(&[&str], &str); 19] = [
        (&["report", "--from", "soon"], "not a date or time"),
        (&["report", "--from", "2030-01-01", "--to", "2029-01-01"], "not before the end"),
        (&["report", "--tz", "Mars/Olympus"], "--tz"),
        (&["report", "--by", "namespace", "--factors", "Atlantis"], "unknown zone"),
        (&["report", "--sci", "--per", "request"], "UNIT=COUNT"),
        (&["report", "--sci", "--per", "day"], "a score is per functional unit"),
        (&["report", "--sci", "--per", "r=1", "--format", "csv"], "this format has rows alone"),
        (&["report", "--per", "request=5"], "add --sci"),
        (&["report", "--per", "day", "--per", "hour"], "two periods"),
        (&["report", "--sci", "--per", "r=1", "--embodied-parts", "gpus=1"], "impossible part"),
        (&["report", "--sci", "--per", "r=1", "--life-years", "0"], "impossible machine"),
        (&["runs", "show", "nothing"], "no run \"nothing\""),
        (&["advise", "--provider", "acme"], "not a provider"),
        (&["advise", "--provider", "aws", "--near", "mars-1"], "not a region of aws"),
        (&["intensity", "aws:mars-1"], "unknown zone"),
        (&["ledger", "import", "/nonexistent"], "ledger import /nonexistent: cannot open it: "),
        (&["ledger", "rerate", "--zone", "XX", "--live", "uk", "--offline"], "unknown zone \"XX\""),
        (&["explain", "2026-13-01"], "there is no such time"),
        (&["report", "--sci", "--per", "r=1", "--embodied-kg", "-1"], "give a number, 0 or more"),
    ];
    for (arguments, said) in cases {
        let output = carbon(store, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            stderr(&output).contains(said) && stderr(&output).lines().count() == 1,
            "{}",
            stderr(&output)
        );
    }
    let nowhere = carbon("/nonexistent/ledger.db", &["runs", "list"]);
    assert!(stderr(&nowhere).contains("nothing was recorded there yet"), "{}", stderr(&nowhere));
    assert!(stderr(&carbon("none", &["report"])).contains("needs a ledger"));
    assert!(stderr(&carbon("mysql://x", &["report"])).contains("no store"));
}

#[test]
fn a_ledger_that_cannot_be_used_stops_only_who_named_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    fs::write(&path, "no ledger at all ".repeat(100)).unwrap();
    let output = carbon(path.to_str().unwrap(), &[&MEASURE[..], &["--", "echo", "ran"]].concat());
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(125), &b""[..]));
    // Not named: the default's, of a user whose data directory is a file. It is said in the report.
    let mut command = if rustix::process::geteuid().is_root() {
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let copy = directory.path().join("carbon");
        fs::copy(env!("CARGO_BIN_EXE_carbon"), &copy).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(copy).current_dir("/");
        command
    } else {
        Command::new(env!("CARGO_BIN_EXE_carbon"))
    };
    command.args(["run", "--accounting", "proc", "--meter=model", "--format", "json", "--", "echo", "ran"]);
    let output = command.env_remove("CARBON_STORE").env("XDG_DATA_HOME", &path).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"ran\n"[..]));
    let report: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert!(report["notes"].to_string().contains("this run is not recorded"), "{}", report["notes"]);
}

/// Where there is no room, what is there is read, what would be written is said, and later all is well.
#[test]
fn a_full_disk_is_said_and_what_is_there_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    filled(&path);
    // A small disk of its own, in a namespace that ends with the shell.
    let script = r#"
        set -e
        mkdir "$2/disk"
        mount -t tmpfs -o size=1m none "$2/disk" 2>/dev/null || { echo NO MOUNT; exit 0; }
        cp "$2/a.db" "$2/disk/a.db"
        export CARBON_STORE="$2/disk/a.db"
        head -c 2000000 /dev/zero > "$2/disk/fill" 2>/dev/null || true
        "$1" report --by namespace | grep reconciled
        "$1" run -- true 2>&1 | grep "no space is left for the ledger" && echo SAID
        rm "$2/disk/fill"
        "$1" ledger verify
        "$1" run -- true 2>&1 | grep "recorded as run"
    "#;
    let shell = ["--mount", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_carbon")];
    if !rustix::process::geteuid().is_root() {
        println!(
            "SKIPPED: a_full_disk_is_said_and_what_is_there_is_read: only root can mount a disk of its own"
        );
        return;
    }
    let output = Command::new("unshare")
        .args(shell)
        .arg(directory.path())
        .env("CARBON_STATE", "none")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    if said.contains("NO MOUNT") {
        println!("SKIPPED: a_full_disk_is_said_and_what_is_there_is_read: nothing can be mounted here");
        return;
    }
    for mark in [": reconciled", "SAID", "all sums hold", "recorded as run"] {
        assert!(said.contains(mark), "{mark}: {said} {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Who may not write it reads all of it; what would write says so, before a command runs.
#[test]
fn a_ledger_that_may_only_be_read_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("kept");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("a.db");
    filled(&path);
    let copy = directory.path().join("carbon");
    fs::copy(env!("CARGO_BIN_EXE_carbon"), &copy).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
    let carbon = |arguments: &[&str]| {
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy);
            command
        } else {
            Command::new(&copy)
        };
        command.args(arguments).current_dir("/").env_remove("CARBON_ZONE").env("CARBON_STORE", &path);
        command.output().unwrap()
    };
    let output = carbon(&["report", "--by", "namespace", "--format", "json"]);
    let report: Value = serde_json::from_str(&text(&output)).unwrap();
    assert_eq!(report["reconciliation"]["metered_uj"], 48 * (3_000_003 + 9));
    assert!(text(&carbon(&["ledger", "verify"])).contains("all sums hold"));
    let compact = carbon(&["ledger", "compact"]);
    assert!(
        !compact.status.success() && stderr(&compact).contains("may only be read"),
        "{}",
        stderr(&compact)
    );
    let run = carbon(&[&MEASURE[..], &["--", "echo", "ran"]].concat());
    assert_eq!((run.status.code(), run.stdout.as_slice()), (Some(125), &b""[..]), "{}", stderr(&run));
    assert!(stderr(&run).contains("may only be read"), "{}", stderr(&run));
    // Of a writer who has it open: what is in its log is read too.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut writer = Ledger::open(&Location::File(path.clone())).unwrap();
    writer.flush(&[minute("n", BEGIN + 60, &[(0, 1)], (0, 0))]).unwrap();
    let report: Value =
        serde_json::from_str(&text(&carbon(&["report", "--by", "node", "--format", "json"]))).unwrap();
    assert_eq!(report["reconciliation"]["metered_uj"], 48 * (3_000_003 + 9) + 1);
}

/// How often it is killed: `CARBON_TEST_KILLS`, else 200.
fn kills() -> u64 {
    std::env::var("CARBON_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(200)
}

/// Killed at any instant while it writes, a ledger has each line of a file whole or not at all, and its sums hold.
#[test]
fn kill_9_loses_nothing_that_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.db");
    let store = path.to_str().unwrap();
    drop(Ledger::open(&Location::File(path.clone())).unwrap());
    let source = directory.path().join("source.db");
    let mut written = 0_u64;
    for kill in 0..kills() {
        // Thirty minutes of a node of their own: all of them are imported, or none.
        let mut from = Ledger::open(&Location::File(source.clone())).unwrap();
        let node = format!("n{kill}");
        let flushes: Vec<_> =
            (0..30).map(|number| minute(&node, BEGIN + number * MINUTE, &[(1, 1000)], (1, 1))).collect();
        from.flush(&flushes).unwrap();
        let mut lines = Vec::new();
        from.export(&mut lines).unwrap();
        drop(from);
        fs::remove_file(&source).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_carbon"))
            .args(["ledger", "import", "-"])
            .env("CARBON_STORE", store)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&lines).unwrap();
        std::thread::sleep(std::time::Duration::from_micros(kill * 7_919 % 37_000));
        let _ended = child.kill();
        let said = child.wait_with_output().unwrap();
        let mut ledger = Ledger::open(&Location::File(path.clone())).unwrap();
        let segments = ledger.segments(BEGIN, BEGIN + 86_400).unwrap();
        let now: u64 = ledger.sums(&segments).unwrap().iter().map(|sum| sum.energy_uj).sum();
        assert!(now == written || now == written + 30_000, "{kill}: {written} then {now}");
        if said.stdout.starts_with(b"imported") {
            assert_eq!(now, written + 30_000, "{kill}: what was said to be written is there");
        }
        written = now;
        assert_eq!(ledger.verify().unwrap().faults, Vec::<String>::new(), "{kill}");
    }
    println!("{} of {} imports were written before the kill", written / 30_000, kills());
}
