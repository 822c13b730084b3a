//! Live intensities and metadata services, against local stubs of what is documented of them.

#![expect(clippy::unwrap_used, reason = "clippy excuses functions with #[test] only, not those they call")]

use crate::measuring::document;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

/// A server that answers each request by a function of its head, and remembers the heads.
pub(crate) struct Stub {
    pub(crate) url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    pub(crate) fn new(answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let mut head = String::new();
                for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                    let line = line.unwrap_or_default();
                    if line.is_empty() {
                        break;
                    }
                    head.push_str(&line);
                    head.push('\n');
                }
                let (status, body) = answer(&head);
                kept.lock().unwrap().push(head);
                let length = body.len();
                let _gone = write!(
                    stream,
                    "HTTP/1.1 {status} x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
            }
        });
        Self { url, heads }
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn intensity(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carbon"));
    command.arg("intensity").args(arguments).args(["--format", "json"]);
    command.env_remove("CARBON_ZONE").env_remove("CARBON_OFFLINE").env("CARBON_STORE", "none");
    command.env("ELECTRICITYMAPS_TOKEN", "t0ken").env("WATTTIME_USER", "u").env("WATTTIME_PASSWORD", "p");
    command
}

fn said(arguments: &[&str]) -> Value {
    let output = intensity(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    document(&output.stdout)
}

pub(crate) fn documented(service: &str, request: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/signal-apis.json");
    let all: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    all[service][request].to_string()
}

#[test]
fn a_service_gives_the_present_value_with_its_kind() {
    let stub = Stub::new(|_| (200, documented("electricitymaps_v3", "GET /carbon-intensity/latest")));
    let live = said(&["DE", "--live", "electricitymaps", "--live-url", &stub.url]);
    assert_eq!((&live["g_per_kwh"], &live["zone"]), (&302.0.into(), &"DE".into()));
    assert_eq!(live["basis"], "location-based, hourly average, consumption");
    assert!(live["notes"].to_string().contains("estimate"), "{}", live["notes"]);
    let (low, high) = (live["low_g_per_kwh"].as_f64().unwrap(), live["high_g_per_kwh"].as_f64().unwrap());
    assert!((low - 302.0 / 1.7).abs() < 1e-9 && (high - 302.0 * 1.7).abs() < 1e-9, "{live}");
    let head = stub.heads().remove(0);
    assert!(head.contains("zone=DE") && head.contains("shouldUseFallbackCallerLookup=false"), "{head}");
    assert!(head.to_lowercase().contains("auth-token: t0ken"), "{head}");
    let stub = Stub::new(|head| {
        let login = head.starts_with("GET /login");
        (
            200,
            documented(
                "watttime_v3",
                if login { "GET /login" } else { "GET /v3/forecast?region=&signal_type=&horizon_hours=" },
            ),
        )
    });
    let live = said(&["CAISO_NORTH", "--live", "watttime", "--live-url", &stub.url]);
    assert!((live["g_per_kwh"].as_f64().unwrap() - 394.625).abs() < 0.01);
    assert_eq!(
        (&live["boundary"], &live["basis"]),
        (&"direct, CO2 only".into(), &"location-based, hourly marginal".into())
    );
    assert_eq!((&live["low_g_per_kwh"], &live["high_g_per_kwh"]), (&Value::Null, &Value::Null));
    assert!(live["notes"].to_string().contains("how far off it may be is not known"), "{}", live["notes"]);
    let heads = stub.heads();
    assert!(heads[0].contains("Basic dTpw") && heads[1].contains("Bearer eyJhbGciOi..."), "{heads:?}");
}

#[test]
fn a_service_that_fails_is_told_and_the_table_stands_in() {
    let ask = |stub: &Stub| said(&["FR", "--live", "electricitymaps", "--live-url", &stub.url]);
    // Busy: asked again, with patience.
    let busy = Stub::new(|_| (429, String::new()));
    let live = ask(&busy);
    assert_eq!((live["g_per_kwh"].as_f64(), busy.heads().len()), (Some(41.44), 3));
    assert!(live["notes"].to_string().contains("fails with status 429"), "{}", live["notes"]);
    // A token that is refused: not asked again.
    let refuses = Stub::new(|_| (401, String::new()));
    assert!(ask(&refuses)["notes"].to_string().contains("check the token"));
    assert_eq!(refuses.heads().len(), 1);
    // The answer of another zone, and none.
    let other = Stub::new(|_| (200, documented("electricitymaps_v3", "GET /carbon-intensity/latest")));
    assert!(ask(&other)["notes"].to_string().contains("it is of DE, not of FR"));
    // A value of a time that has not come, and one of an hour that is over.
    let dated = |at: &'static str| {
        let latest = documented("electricitymaps_v3", "GET /carbon-intensity/latest");
        let mut answer: Value = serde_json::from_str(&latest).unwrap();
        (answer["zone"], answer["datetime"]) = ("FR".into(), at.into());
        Stub::new(move |_| (200, answer.to_string()))
    };
    let live = ask(&dated("2999-01-01T00:00:00Z"));
    assert_eq!(live["g_per_kwh"], 41.44);
    assert!(live["notes"].to_string().contains("which has not come yet"), "{}", live["notes"]);
    let live = ask(&dated("2026-01-01T00:00:00Z"));
    assert!(live["notes"].to_string().contains(" h old"), "{}", live["notes"]);
    let nonsense = Stub::new(|_| (200, "<html>".into()));
    assert_eq!(ask(&nonsense)["g_per_kwh"], 41.44);
    // Nobody there.
    let live = said(&["FR", "--live", "uk", "--live-url", "http://127.0.0.1:1"]);
    assert_eq!(live["g_per_kwh"], 41.44);
    assert_eq!(intensity(&["FR", "--live", "acme"]).status.code(), Some(2));
}

#[test]
fn the_region_is_told_by_the_metadata_service() {
    let aws = Stub::new(|head| match head {
        _ if head.starts_with("PUT /latest/api/token") => (200, "secret-token".into()),
        _ if head.contains("placement/region") && head.contains("secret-token") => (200, "eu-west-1".into()),
        _ => (401, String::new()),
    });
    assert_eq!(said(&["--here", "--metadata-url", &aws.url])["zone"], "aws:eu-west-1");
    assert_eq!(aws.heads().len(), 2, "what was told is not asked of others");
    // A proxy would answer for its own machine.
    let proxy = Stub::new(|_| (200, "us-east-1".into()));
    let mut behind = command(&["--here", "--metadata-url", &aws.url]);
    for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        behind.env(variable, &proxy.url);
    }
    assert_eq!(document(&behind.output().unwrap().stdout)["zone"], "aws:eu-west-1");
    assert_eq!(proxy.heads().len(), 0);
    let azure = Stub::new(|head| {
        let asked = head.starts_with("GET /metadata/") && head.to_lowercase().contains("metadata: true");
        if asked { (200, "northeurope".into()) } else { (404, String::new()) }
    });
    assert_eq!(said(&["--here", "--metadata-url", &azure.url])["zone"], "azure:northeurope");
    let gcp = Stub::new(|head| {
        let asked = head.starts_with("GET /computeMetadata/")
            && head.to_lowercase().contains("metadata-flavor: google");
        if asked { (200, "projects/1/zones/europe-west9-b".into()) } else { (404, String::new()) }
    });
    assert_eq!(said(&["--here", "--metadata-url", &gcp.url])["zone"], "gcp:europe-west9");
    // None that is known: the world, marked.
    let none = Stub::new(|_| (404, String::new()));
    let unknown = said(&["--here", "--metadata-url", &none.url]);
    assert_eq!((&unknown["zone"], &unknown["assumed"]), (&"WORLD".into(), &true.into()));
    let notes = unknown["notes"].to_string();
    assert!(
        ["cannot be told", "aws: ", "azure: ", "gcp: "].iter().all(|said| notes.contains(said)),
        "{notes}"
    );
    // One that is shut off has no token and no plan.
    let shut = Stub::new(|_| (403, String::new()));
    let notes = said(&["--here", "--metadata-url", &shut.url])["notes"].to_string();
    assert!(notes.contains("the metadata service refuses") && !notes.contains("plan"), "{notes}");
}

#[test]
fn offline_opens_no_socket() {
    let stub = Stub::new(|_| (200, "eu-west-1".into()));
    let here = said(&["--here", "--offline", "--metadata-url", &stub.url]);
    assert_eq!(here["assumed"], true);
    let live = said(&["FR", "--offline", "--live", "uk", "--live-url", &stub.url]);
    assert_eq!(live["g_per_kwh"], 41.44);
    assert_eq!(stub.heads().len(), 0);
}

/// The report of a short command by a service's live value, kept in `cache`.
fn run_live(url: &str, cache: &Path, more: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carbon"));
    command.args(["run", "--accounting", "proc", "--meter=model", "--format", "json", "--zone", "FR"]);
    command.args(["--live", "electricitymaps", "--live-url", url]).args(more).args(["--", "true"]);
    command.env_remove("CARBON_ZONE").env_remove("CARBON_OFFLINE").env("CARBON_STORE", "none");
    command.env("ELECTRICITYMAPS_TOKEN", "t0ken").env("CARBON_LIVE_CACHE", cache);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stderr).unwrap()
}

#[test]
fn a_run_has_the_live_intensity_of_its_hour() {
    let folder = tempfile::tempdir().unwrap();
    let now = jiff::Timestamp::now().as_second() - 60;
    let hour = jiff::Timestamp::from_second(now).unwrap().to_string();
    let body = format!(
        r#"{{"zone":"FR","carbonIntensity":77,"datetime":"{hour}","emissionFactorType":"lifecycle"}}"#
    );
    let stub = Stub::new(move |_| (200, body.clone()));
    for asked in [1, 1] {
        let report = run_live(&stub.url, folder.path(), &[]);
        let intensity = &report["intensity"];
        assert_eq!((&intensity["g_per_kwh"], &intensity["zone"]), (&77.0.into(), &"FR".into()));
        assert_eq!(intensity["basis"], "location-based, hourly average, consumption");
        assert!(intensity["source"].as_str().unwrap().starts_with("Electricity Maps"), "{intensity}");
        assert_eq!(stub.heads().len(), asked, "what was said for this hour is not asked for again");
    }
    let offline = run_live(&stub.url, folder.path(), &["--offline"]);
    assert_eq!((&offline["intensity"]["g_per_kwh"], stub.heads().len()), (&77.0.into(), 1));
    // Nothing is kept elsewhere, and a service that refuses is left alone for a minute.
    let elsewhere = tempfile::tempdir().unwrap();
    let refuses = Stub::new(|_| (401, String::new()));
    for said in ["check the token", "is asked again in"] {
        let report = run_live(&refuses.url, elsewhere.path(), &[]);
        assert_eq!(report["intensity"]["g_per_kwh"], 41.44);
        let notes = report["notes"].to_string();
        assert!(notes.contains(said) && notes.contains("the yearly average holds"), "{notes}");
    }
    assert_eq!(refuses.heads().len(), 1);
}

/// The report of a short command at a place that `more` gives.
fn run_at(more: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carbon"));
    command.args(["run", "--accounting", "proc", "--meter=model", "--no-agent", "--format", "json"]);
    command.args(more).args(["--", "true"]).env("CARBON_STORE", "none").env("ELECTRICITYMAPS_TOKEN", "t0ken");
    command.env_remove("CARBON_ZONE").env_remove("CARBON_OFFLINE").env_remove("CARBON_PUE");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stderr).unwrap()
}

/// A service knows grids, not regions of clouds.
#[test]
fn a_service_is_asked_for_the_grid_of_a_region() {
    let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() - 60).unwrap();
    let body = format!(
        r#"{{"zone":"DE","carbonIntensity":88,"datetime":"{now}","emissionFactorType":"lifecycle"}}"#
    );
    let stub = Stub::new(move |_| (200, body.clone()));
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().to_str().unwrap();
    let service = ["--live", "electricitymaps", "--live-url", &stub.url];
    let place = ["--zone", "aws:eu-central-1", "--live-cache", cache];
    assert_eq!(run_at(&[&place[..], &service].concat())["intensity"]["g_per_kwh"], 88.0);
    let mut live = command(&[&["aws:eu-central-1"][..], &service].concat());
    let live = live.env("ELECTRICITYMAPS_TOKEN", "t0ken").output().unwrap();
    assert_eq!(document(&live.stdout)["g_per_kwh"], 88.0);
    assert_eq!(stub.heads().len(), 2);
    for head in stub.heads() {
        assert!(head.contains("zone=DE&"), "{head}");
    }
}

/// `carbon run --here`: the region with its PUE, whether that is published or assumed; where nobody tells it, what was given.
#[test]
fn a_run_is_where_the_metadata_service_says() {
    let told = |region: &'static str| {
        Stub::new(move |head| match head {
            _ if head.starts_with("PUT /latest/api/token") => (200, "t".into()),
            _ => (200, region.into()),
        })
    };
    let published = told("eu-west-1");
    let report = run_at(&["--here", "--metadata-url", &published.url]);
    assert_eq!(report["intensity"]["zone"], "aws:eu-west-1");
    assert!(report["pue"].as_f64().unwrap() > 1.0, "{}", report["pue"]);
    assert!(!report["notes"].to_string().contains("PUE"), "{}", report["notes"]);
    let unpublished = told("ap-east-1");
    let report = run_at(&["--here", "--metadata-url", &unpublished.url]);
    assert_eq!((&report["intensity"]["zone"], &report["pue"]), (&"aws:ap-east-1".into(), &1.19.into()));
    let notes = report["notes"].to_string();
    assert!(notes.contains("PUE 1.19, AWS median, assumed: aws:ap-east-1 publishes none"), "{notes}");
    let own = run_at(&["--here", "--metadata-url", &unpublished.url, "--pue", "1.4"]);
    assert_eq!(own["pue"], 1.4);
    assert!(!own["notes"].to_string().contains("PUE"), "{}", own["notes"]);
    let asked = published.heads().len();
    let offline = run_at(&["--here", "--offline", "--zone", "FR", "--metadata-url", &published.url]);
    assert_eq!((&offline["intensity"]["zone"], published.heads().len()), (&"FR".into(), asked));
    assert!(offline["notes"].to_string().contains("where this machine is cannot be told"), "{offline}");
}
