//! What comes to a team's server from elsewhere: CodeCarbon's real client, ours over an outage, files and another server.

use crate::serve::{DEFAULT_EXPERIMENT, Serve, Team, begin, carbon, post_body, posted, said, store};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A virtual environment with CodeCarbon's own package.
fn codecarbon() -> Option<PathBuf> {
    let given = std::env::var_os("CARBON_TEST_CODECARBON").map(PathBuf::from);
    if given.is_some() {
        return given;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("codecarbon-3.3.2");
    let python = folder.join("bin/python");
    let ready = folder.join("ready");
    if !ready.exists() {
        let quiet = |command: &mut Command| {
            command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        };
        let made = quiet(Command::new("python3").args(["-m", "venv"]).arg(&folder))
            && quiet(Command::new(&python).args(["-m", "pip", "install", "-q", "codecarbon==3.3.2"]));
        if !made {
            return None;
        }
        fs::write(&ready, "").unwrap();
    }
    Some(python)
}

const SCRIPT: &str = "
import sys, time
from codecarbon import EmissionsTracker
tracker = EmissionsTracker(project_name='thesis', measure_power_secs=1, api_call_interval=2, save_to_file=False,
    output_methods=['api'], api_endpoint=sys.argv[1], api_key=sys.argv[2], experiment_id=sys.argv[3],
    force_carbon_intensity_g_co2e_kwh=56.0, force_cpu_power=50, log_level='error')
tracker.start()
end = time.time() + 7
while time.time() < end:
    sum(range(10000))
tracker.stop()
data = tracker.final_emissions_data
print(data.energy_consumed, data.emissions)
";

#[test]
fn the_client_of_codecarbon_posts_here_by_its_url_alone() {
    let Some(python) = codecarbon() else {
        println!(
            "SKIPPED: the_client_of_codecarbon_posts_here_by_its_url_alone: pip cannot install codecarbon==3.3.2"
        );
        return;
    };
    let (_folder, store) = store();
    let serve = Serve::start(&store);
    let team = Team::make(&store);
    let output = Command::new(python)
        .args(["-c", SCRIPT])
        .args([&format!("http://{}", serve.address), &team.write, DEFAULT_EXPERIMENT])
        .current_dir(team.folder.path())
        .env("HOME", team.folder.path())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    assert!(!errors.contains("ApiClient"), "{errors}");
    let own = String::from_utf8(output.stdout).unwrap();
    let own: Vec<f64> = own.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let (_, sums) = serve.ask("GET", &format!("/projects/{}/sums", team.project), &team.read, "");
    let (energy, emissions) =
        (sums["energy_consumed"].as_f64().unwrap(), sums["emissions"].as_f64().unwrap());
    assert!(sums["emissions_count"].as_u64().unwrap() >= 2, "{sums}");
    // What it posts after its last whole interval of two seconds may be less than a second long, and then its client keeps it to
    // itself; on a busy machine its intervals come late.
    assert!(energy > own[0] * 0.5 && energy <= own[0] * 1.0001, "{energy} {own:?}");
    assert!((emissions / energy - own[1] / own[0]).abs() < 1e-6, "{emissions} {energy} {own:?}");
    assert!(said(&store, &["report", "--by", "project", "--format", "json"]).contains("\"thesis\""));
}

#[test]
fn a_file_of_codecarbon_is_taken_once() {
    let (_folder, store) = store();
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/codecarbon/emissions-3.3.2.csv");
    let file = fixture.to_str().unwrap();
    let first = said(&store, &["import", file]);
    assert!(first.starts_with("2 runs are new, 0 went on"), "{first}");
    let again = said(&store, &["import", file]);
    assert!(again.starts_with("0 runs are new, 0 went on since they were imported, 2 were there"), "{again}");
    let listed = said(&store, &["runs", "sum", "--project", "thesis", "--format", "json"]);
    let sum: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(sum["dynamic_uj"], 720_000_000);
    assert!((sum["grams"].as_f64().unwrap() - 0.0112).abs() < 1e-8, "{sum}");
    // A run that goes on.
    let folder = tempfile::tempdir().unwrap();
    let longer = folder.path().join("emissions.csv");
    let text = fs::read_to_string(&fixture).unwrap();
    fs::write(&longer, text.replace(",20.0,", ",30.0,").replace(",0.0002,", ",0.0003,")).unwrap();
    let went_on = said(&store, &["import", longer.to_str().unwrap()]);
    assert!(went_on.starts_with("0 runs are new, 1 went on"), "{went_on}");
    let sum: Value =
        serde_json::from_str(&said(&store, &["runs", "sum", "--project", "thesis", "--format", "json"]))
            .unwrap();
    assert_eq!(sum["dynamic_uj"], 1_080_000_000);
    // Into a team's project, as posts.
    said(&store, &["serve", "organisation", "add", "lab"]);
    said(&store, &["serve", "project", "add", "lab/thesis"]);
    let (other_folder, other) = crate::serve::store();
    said(&other, &["serve", "organisation", "add", "lab"]);
    let project = said(&other, &["serve", "project", "add", "lab/all"]);
    assert!(said(&other, &["import", file, "--into", "lab/all"]).starts_with("2 runs are new"));
    assert!(said(&other, &["import", file, "--into", "lab/all"]).contains("2 were there already"));
    assert!(said(&other, &["import", longer.to_str().unwrap(), "--into", "lab/all"]).contains("1 went on"));
    let serve = Serve::start(&other);
    let token = said(&other, &["serve", "token", "add", "lab/all", "--scope", "read"]);
    let (_, sums) = serve.ask("GET", &format!("/api/v1/projects/{project}/sums"), &token, "");
    assert_eq!(sums["groups"][0]["energy_uj"], 1_080_000_000_u64 + 3_600_000_000);
    drop(other_folder);
    let refused = carbon(&store, &["import", "/etc/passwd"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no column"), "{refused:?}");
}

#[test]
fn the_history_of_a_server_is_taken_under_its_ids() {
    let (_folder, store) = store();
    let serve = Serve::start(&store);
    let team = Team::make(&store);
    let (run, _) = posted(&serve, &team);
    let next = json!({"timestamp": "2026-11-20T12:00:30+00:00", "energy_consumed": 2e-4});
    let mut body = post_body(&run);
    body.as_object_mut().unwrap().extend(next.as_object().unwrap().clone());
    assert_eq!(serve.ask("POST", "/emissions", &team.write, &body.to_string()).0, 201);
    let (_other_folder, other) = crate::serve::store();
    let token = team.folder.path().join("token");
    fs::write(&token, &team.chief).unwrap();
    let url = format!("http://{}", serve.address);
    let words = ["import", "--from-server", &url, "--token-file", token.to_str().unwrap()];
    let first = said(&other, &words);
    assert!(first.starts_with("1 runs are new"), "{first}");
    let again = said(&other, &words);
    assert!(again.starts_with("0 runs are new, 0 went on since they were imported, 1 were"), "{again}");
    let copy = Serve::start(&other);
    let reader = said(&other, &["serve", "token", "add", "lab/thesis", "--scope", "read"]);
    let path = format!("/projects/{}/sums", team.project);
    let (status, copied) = copy.ask("GET", &path, &reader, "");
    assert_eq!(status, 200, "{copied}");
    assert_eq!(copied, serve.ask("GET", &path, &team.read, "").1);
    assert_eq!(copy.ask("GET", &format!("/runs/{run}"), &reader, "").0, 200);
    fs::write(&token, "carbon_of_nobody_at_all").unwrap();
    let refused = carbon(&other, &words);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("refuses with status 401"), "{refused:?}");
}

const OUTAGE: &str = "
import sys
from dataclasses import fields
from carbon_tracker.emissions import EmissionsData
from carbon_tracker.output.api import CodeCarbonAPIOutput
known = dict(timestamp='2026-11-20T12:00:00', project_name='thesis', run_id=sys.argv[3], experiment_id=sys.argv[4],
    duration=15.0, emissions=5.6e-6, energy_consumed=1e-4, cpu_energy=1e-4, os='Linux', python_version='3',
    codecarbon_version='carbon_tracker', cpu_model='x', tracking_mode='process')
text = {'country_name', 'country_iso_code', 'region', 'cloud_provider', 'cloud_region', 'gpu_model'}
data = EmissionsData(**{f.name: known.get(f.name, '' if f.name in text else 0) for f in fields(EmissionsData)})
output = CodeCarbonAPIOutput(sys.argv[1], sys.argv[4], sys.argv[2])
output.out(data, data)
output.exit()
";

#[test]
fn an_outage_loses_nothing_of_our_python_client() {
    let usable =
        Command::new("python3").args(["-c", "import sys; sys.exit(sys.version_info < (3, 9))"]).status();
    if !usable.is_ok_and(|status| status.success()) {
        println!(
            "SKIPPED: an_outage_loses_nothing_of_our_python_client: there is no python3 of 3.9 or later"
        );
        return;
    }
    let (_folder, store) = store();
    let mut serve = Serve::start(&store);
    let team = Team::make(&store);
    let spool = team.folder.path().join("spool");
    let url = format!("http://{}", serve.address);
    let result = |run: &str| {
        let output = Command::new("python3")
            .args(["-c", OUTAGE, &url, &team.write, run, DEFAULT_EXPERIMENT])
            .env("PYTHONPATH", Path::new(env!("CARGO_MANIFEST_DIR")).join("../python/src"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("CARBON_SPOOL", &spool)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    serve.kill();
    result("first");
    let (waiting, copy) = (spool.join("first.json"), team.folder.path().join("copy"));
    fs::copy(&waiting, &copy).unwrap();
    serve.child = begin(&store, &serve.address).0;
    result("second");
    assert!(!waiting.exists(), "the next results take what waited with them");
    // As if no answer had come: it is sent once more.
    fs::copy(&copy, &waiting).unwrap();
    result("third");
    assert!(!waiting.exists());
    let sums = serve.ask("GET", &format!("/api/v1/projects/{}/sums", team.project), &team.read, "").1;
    assert_eq!(
        (&sums["groups"][0]["posts"], &sums["groups"][0]["energy_uj"]),
        (&json!(3), &json!(1_080_000_000))
    );
}
