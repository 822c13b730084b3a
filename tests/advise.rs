//! `carbon advise`, from outside: best hours by forecasts of local stubs, by what is kept, and by the user's file; the picture.

#![expect(clippy::unwrap_used, reason = "clippy excuses functions with #[test] only, not those they call")]

use crate::live::{Stub, documented};
use crate::measuring::document;
use serde_json::Value;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn advise(cache: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carbon"));
    command.args(["advise", "--provider", "aws"]).args(arguments);
    command.env_remove("CARBON_LIVE").env_remove("CARBON_OFFLINE").env("CARBON_STORE", "none");
    command.env("ELECTRICITYMAPS_TOKEN", "t0ken").env("WATTTIME_USER", "u").env("WATTTIME_PASSWORD", "p");
    command.env("CARBON_LIVE_CACHE", cache).output().unwrap()
}

fn said(cache: &Path, arguments: &[&str]) -> Value {
    let output = advise(cache, &[arguments, &["--format", "json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    document(&output.stdout)
}

/// The next whole hour.
fn next_hour() -> i64 {
    jiff::Timestamp::now().as_second() / 3600 * 3600 + 3600
}

/// Electricity Maps' forecast for a zone: 300 g/kWh, but 100 in the fourth and fifth hour from now.
fn forecast(zone: &str) -> String {
    let first = next_hour() - 3600;
    let point = |hour: i64| {
        let at = jiff::Timestamp::from_second(first + hour * 3600).unwrap();
        let g = if (4..6).contains(&hour) { 100 } else { 300 };
        format!(r#"{{"carbonIntensity":{g},"datetime":"{at}"}}"#)
    };
    let points: Vec<String> = (0..30).map(point).collect();
    format!(r#"{{"zone":"{zone}","forecast":[{}],"updatedAt":"2026-05-05T09:10:00.000Z"}}"#, points.join(","))
}

#[test]
fn best_hours_are_those_of_the_forecast_and_are_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let body = forecast("IE");
    let stub = Stub::new(move |_| (200, body.clone()));
    let plot = folder.path().join("plot.svg");
    let live = ["--near", "eu-west-1", "--live", "electricitymaps", "--live-url", &stub.url, "--hours", "2"];
    let drawn = ["--plot", plot.to_str().unwrap(), "--tz", "Europe/Dublin"];
    let advice = said(folder.path(), &[&live[..], &drawn].concat());
    let hours = &advice["hours"];
    assert_eq!((&hours["basis"], &hours["zone"]), (&"forecast".into(), &"IE".into()));
    let start: jiff::Timestamp = hours["best_from"].as_str().unwrap().parse().unwrap();
    assert_eq!(start.as_second(), next_hour() + 3 * 3600);
    assert_eq!(hours["hours"].as_array().unwrap().iter().filter(|hour| hour["best"] == true).count(), 2);
    // 24 hours of which two have 100: what is saved is of 100 kWh and the site's PUE.
    let mean = (2.0 * 100.0 + 22.0 * 300.0) / 24.0;
    let here =
        advice["regions"].as_array().unwrap().iter().find(|row| row["region"] == "aws:eu-west-1").unwrap();
    let saving = 100.0 * here["pue"].as_f64().unwrap() * (mean - 100.0);
    assert!((hours["saving_g_per_month"].as_f64().unwrap() - saving).abs() < 1e-6);
    assert!(here["km"].as_f64().unwrap() < 1.0 && here["saving_g_per_month"] == 0.0);
    assert!((0.0..=1.0).contains(&advice["pairs_told_ratio"].as_f64().unwrap()));
    let head = stub.heads().remove(0);
    assert!(head.starts_with("GET /carbon-intensity/forecast?zone=IE&"), "{head}");
    let picture = fs::read_to_string(&plot).unwrap();
    assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
    assert!(
        picture.contains("aws:eu-west-1 Dublin") && picture.contains("g/kWh of IE by hour (Europe/Dublin)")
    );
    // Asked once an hour; and what is kept holds without a network.
    said(folder.path(), &live);
    let offline = said(folder.path(), &[&live[..], &["--offline"]].concat());
    assert_eq!((&offline["hours"]["mean_g_per_kwh"], stub.heads().len()), (&hours["mean_g_per_kwh"], 1));
    let text = advise(folder.path(), &live);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("best hours: ") && text.contains("its publisher does not say"), "{text}");
}

#[test]
fn each_service_is_asked_for_its_forecast_by_its_own_name_of_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        (
            "watttime",
            "us-west-1",
            "watttime_v3",
            "GET /v3/forecast?region=&signal_type=&horizon_hours=",
            "/v3/forecast?region=CAISO_NORTH&signal_type=co2_moer&horizon_hours=24",
        ),
        ("uk", "eu-west-2", "uk_carbon_intensity", "GET /intensity/{from}/fw24h", "Z/fw24h"),
        (
            "energy-charts",
            "eu-central-1",
            "energy_charts",
            "GET /co2eq?country=de[&start=&end=]",
            "/co2eq?country=de&start=",
        ),
    ];
    for (service, region, api, request, asked) in cases {
        let stub = Stub::new(move |head| {
            let login = head.starts_with("GET /login");
            (200, documented(api, if login { "GET /login" } else { request }))
        });
        let live = ["--near", region, "--live", service, "--live-url", &stub.url];
        let advice = said(folder.path(), &live);
        let heads = stub.heads();
        assert!(heads.last().unwrap().contains(asked), "{heads:?}");
        // The documented days are over: that no hour to come is known is said.
        assert_eq!(advice["hours"], Value::Null, "{service}");
        assert!(
            advice["notes"].to_string().contains("which hours are best is not known"),
            "{}",
            advice["notes"]
        );
    }
}

#[test]
fn no_forecast_is_said_and_nothing_is_asked_unless_told() {
    let folder = tempfile::tempdir().unwrap();
    let none = said(folder.path(), &["--near", "eu-west-1"]);
    assert_eq!(none["hours"], Value::Null);
    assert!(none["notes"].to_string().contains("give --live or --intensity-file"), "{}", none["notes"]);
    let stub = Stub::new(|_| (403, String::new()));
    let live = ["--near", "eu-west-1", "--live", "electricitymaps", "--live-url", &stub.url];
    let offline = said(folder.path(), &[&live[..], &["--offline"]].concat());
    assert!(offline["notes"].to_string().contains("no forecast: nothing is asked"), "{}", offline["notes"]);
    assert_eq!(stub.heads().len(), 0);
    // A plan without forecasts; another place than was asked for.
    let refused = said(folder.path(), &live);
    assert!(refused["notes"].to_string().contains("what the plan allows"), "{}", refused["notes"]);
    // What runs have kept of the place stands in, as the days that were.
    let point = |hour: i64| {
        let g = if hour % 24 == 7 { 50 } else { 400 };
        format!(r#"{{"start_s":{},"g_per_kwh":{g}.0,"estimated":false}}"#, 1_767_225_600 + hour * 3600)
    };
    let points: Vec<String> = (0..120).map(point).collect();
    let kept = format!(
        r#"{{"schema":"carbon.live/1","service":"Electricity Maps","place":"IE","zone":"IE","boundary":"lifecycle",
        "basis":"location-based, hourly average","source":"a test","asked_s":0,"failures":0,"points":[{}]}}"#,
        points.join(",")
    );
    fs::write(folder.path().join("live-Electricity_Maps-IE.json"), kept).unwrap();
    let before = stub.heads().len();
    let typical = said(folder.path(), &[&live[..], &["--hours", "1"]].concat());
    let hours = &typical["hours"];
    assert_eq!(
        (&hours["basis"], &hours["days"], &hours["best_from"]),
        (&"typical day".into(), &5.into(), &"07:00".into())
    );
    assert!(typical["notes"].to_string().contains("is asked again in"), "{}", typical["notes"]);
    assert_eq!(stub.heads().len(), before, "a service that fails is left alone");
    let elsewhere = tempfile::tempdir().unwrap();
    let stub = Stub::new(|_| (200, forecast("DE")));
    let other = said(
        elsewhere.path(),
        &["--near", "eu-west-1", "--live", "electricitymaps", "--live-url", &stub.url],
    );
    assert_eq!(other["hours"], Value::Null);
    assert!(other["notes"].to_string().contains("it is of DE, not of IE"), "{}", other["notes"]);
    // Where the place has no name for a service.
    let nowhere = said(elsewhere.path(), &["--live", "uk", "--live-url", &stub.url]);
    assert!(nowhere["notes"].to_string().contains("give --live-place"), "{}", nowhere["notes"]);
}

#[test]
fn a_file_of_the_past_gives_a_typical_day_and_kinds_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("g.csv");
    let mut text = "start,end,g_per_kwh,signal,boundary,method\n".to_owned();
    for hour in 0..14 * 24_i64 {
        let at = jiff::Timestamp::from_second(1_767_225_600 + hour * 3600).unwrap();
        let g = if (1..5).contains(&(hour % 24)) { 500 } else { 900 };
        writeln!(text, "{at},,{g},marginal,direct,location").unwrap();
    }
    fs::write(&file, &text).unwrap();
    let by_file = ["--near", "eu-west-1", "--intensity-file", file.to_str().unwrap()];
    let advice = said(folder.path(), &by_file);
    let hours = &advice["hours"];
    assert_eq!((&hours["basis"], &hours["days"]), (&"typical day".into(), &14.into()));
    assert_eq!(hours["zone"], "aws:eu-west-1", "the file has no zone of its own");
    assert_eq!((&hours["best_from"], &hours["best_to"]), (&"01:00".into(), &"05:00".into()));
    assert_eq!(hours["better_days_ratio"], 1.0);
    assert!(
        advice["notes"].to_string().contains("another kind of intensity than the ranking"),
        "{}",
        advice["notes"]
    );
    // In another time zone the same hours have other names.
    let paris = said(folder.path(), &[&by_file[..], &["--tz", "Europe/Paris"]].concat());
    assert_eq!(paris["hours"]["best_from"], "02:00");
    // Half a day says nothing of a day.
    fs::write(&file, text.lines().take(13).collect::<Vec<_>>().join("\n")).unwrap();
    let short = said(folder.path(), &by_file);
    assert_eq!(short["hours"], Value::Null);
    assert!(short["notes"].to_string().contains("knows neither more than 4 hours"), "{}", short["notes"]);
    assert!(short["notes"].to_string().contains("from now on (it "), "{}", short["notes"]);
    fs::write(&file, "start,g\n").unwrap();
    let broken = advise(folder.path(), &by_file);
    assert_eq!(broken.status.code(), Some(2));
    let nowhere = advise(folder.path(), &["--plot", "/nonexistent/plot.svg"]);
    let refused = |output: &Output| {
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(
        refused(&nowhere).contains("--plot /nonexistent/plot.svg: cannot be opened"),
        "{}",
        refused(&nowhere)
    );
    assert!(refused(&advise(folder.path(), &["--hours", "24"])).contains("give 1 to 23 hours"));
    for within in ["nan", "-1"] {
        let near = ["--near", "eu-west-1", "--within", within];
        assert!(refused(&advise(folder.path(), &near)).contains("give a number, 0 or more"));
    }
}
