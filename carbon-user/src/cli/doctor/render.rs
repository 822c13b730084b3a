//! Doctor's two outputs.

use super::{Check, Diagnosis, State};
use crate::meters::MeterFinding;
use crate::sched::Rung;
use crate::units::Quality;
use serde::Serialize;
use std::fmt::Write;

/// `carbon.doctor/1`: keys may be added, these stay.
#[derive(Serialize)]
struct DoctorJson<'a> {
    schema: &'static str,
    usable: bool,
    quality: Option<&'static str>,
    accounting: Option<&'static str>,
    checks: Vec<CheckJson<'a>>,
    rungs: Vec<RungJson<'a>>,
    meters: Vec<MeterJson<'a>>,
}

#[derive(Serialize)]
struct CheckJson<'a> {
    section: &'a str,
    name: &'a str,
    state: &'static str,
    finding: &'a str,
    advice: Option<&'a str>,
}

#[derive(Serialize)]
struct RungJson<'a> {
    rung: &'static str,
    available: bool,
    in_use: bool,
    reason: &'a str,
    advice: Option<&'a str>,
}

#[derive(Serialize)]
struct MeterJson<'a> {
    name: &'a str,
    chosen: bool,
    quality: &'static str,
    reason: &'a str,
    advice: Option<&'a str>,
}

pub(super) fn json(diagnosis: &Diagnosis) -> Result<String, serde_json::Error> {
    let in_use = diagnosis.rung();
    let quality = diagnosis.quality();
    let document = DoctorJson {
        schema: "carbon.doctor/1",
        usable: quality.is_some(),
        quality: quality.map(Quality::as_str),
        accounting: in_use.map(Rung::as_str),
        checks: diagnosis.checks.iter().map(check_json).collect(),
        rungs: diagnosis
            .findings
            .rungs
            .iter()
            .map(|finding| RungJson {
                rung: finding.rung.as_str(),
                available: finding.available,
                in_use: in_use == Some(finding.rung),
                reason: &finding.reason,
                advice: finding.advice.as_deref(),
            })
            .collect(),
        meters: diagnosis
            .findings
            .meters
            .iter()
            .map(|finding| MeterJson {
                name: &finding.name,
                chosen: finding.chosen,
                quality: finding.quality.as_str(),
                reason: &finding.reason,
                advice: finding.advice.as_deref(),
            })
            .collect(),
    };
    serde_json::to_string_pretty(&document).map(|text| text + "\n")
}

fn check_json(check: &Check) -> CheckJson<'_> {
    CheckJson {
        section: check.section,
        name: check.name,
        state: check.state.as_str(),
        finding: &check.finding,
        advice: check.advice.as_deref(),
    }
}

/// One line of the table.
struct Row<'a> {
    state: State,
    name: &'a str,
    finding: &'a str,
    advice: Option<&'a str>,
}

pub(super) fn table(diagnosis: &Diagnosis, colours: bool) -> String {
    let mut text = String::new();
    let mut section = "";
    for check in &diagnosis.checks {
        if check.section != section {
            section = check.section;
            heading(&mut text, section, colours);
        }
        let Check { state, name, finding, advice, .. } = check;
        row(&mut text, &Row { state: *state, name, finding, advice: advice.as_deref() }, colours);
    }
    heading(&mut text, "accounting", colours);
    let in_use = diagnosis.rung();
    for finding in &diagnosis.findings.rungs {
        let state = match (finding.available, in_use == Some(finding.rung)) {
            (true, true) => State::Ok,
            (true, false) => State::Note,
            (false, _) => State::No,
        };
        let advice = finding.advice.as_deref();
        row(
            &mut text,
            &Row { state, name: finding.rung.as_str(), finding: &finding.reason, advice },
            colours,
        );
    }
    heading(&mut text, "meters", colours);
    for finding in &diagnosis.findings.meters {
        let state = if finding.chosen { State::Ok } else { State::Note };
        let advice = finding.advice.as_deref();
        row(&mut text, &Row { state, name: &finding.name, finding: &finding.reason, advice }, colours);
    }
    heading(&mut text, "reports", colours);
    verdict(&mut text, diagnosis, colours);
    text
}

fn verdict(text: &mut String, diagnosis: &Diagnosis, colours: bool) {
    // Meters, not their domains, whose names have the meter's before a blank.
    let whole = |meter: &&MeterFinding| meter.chosen && !meter.name.contains(' ');
    let chosen = diagnosis.findings.meters.iter().filter(whole).map(|meter| meter.name.as_str());
    let chosen: Vec<&str> = chosen.collect();
    match (diagnosis.quality(), diagnosis.rung()) {
        (Some(quality), Some(rung)) => {
            let finding = format!("{quality}: CPU time by {rung}, joules by {}", chosen.join(" and "));
            row(text, &Row { state: State::Ok, name: "quality", finding: &finding, advice: None }, colours);
        }
        (_, rung) => {
            let (finding, advice) = if rung.is_none() {
                (
                    "nothing can be measured: no way of taking CPU time works",
                    "follow the advice under accounting",
                )
            } else {
                ("nothing can be measured: there is no source of joules", "follow the advice under meters")
            };
            row(text, &Row { state: State::No, name: "quality", finding, advice: Some(advice) }, colours);
        }
    }
}

fn heading(text: &mut String, name: &str, colours: bool) {
    let separator = if text.is_empty() { "" } else { "\n" };
    let (bold, plain) = if colours { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    append(text, format_args!("{separator}{bold}{name}{plain}\n"));
}

fn row(text: &mut String, row: &Row<'_>, colours: bool) {
    // SGR colours of ECMA-48, by number, so that the terminal's own palette is used.
    let colour = match row.state {
        State::Ok => "\x1b[32m",
        State::Warn | State::Unknown => "\x1b[33m",
        State::No => "\x1b[31m",
        State::Note => "\x1b[2m",
    };
    let (colour, plain) = if colours { (colour, "\x1b[0m") } else { ("", "") };
    let state = row.state.as_str();
    // A longer name still has a blank behind it.
    append(text, format_args!("  {colour}{state:<8}{plain}{:<26} {}\n", row.name, row.finding));
    if let Some(advice) = row.advice {
        append(text, format_args!("{:37}-> {advice}\n", ""));
    }
}

/// Writing to a string cannot fail.
fn append(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).ok();
}
