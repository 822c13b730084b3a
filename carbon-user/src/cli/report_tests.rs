//! Reports of ledgers whose details are gone: each joule is in one row.

use super::args::{Cli, Command};
use super::report::made;
use super::report_args::ReportArgs;
use super::report_factors::factor_for;
use super::report_score::add_score;
use crate::attribution::uncertainty::Uncertainty;
use crate::carbon::Intensity;
use crate::ledger::query::{DAY, HOUR};
use crate::ledger::rows::{BalanceRow, DomainId, EnergyKind, EnergyRow, Flush, Workload};
use crate::ledger::{Factor, Ledger, Location};
use crate::reference;
use crate::report::ledger::LedgerReport;
use crate::report::paper;
use crate::units::{CpuNanos, Microjoules, Pue, Quality};
use clap::Parser;
use proptest::prelude::*;
use std::path::Path;
use std::time::Duration;

/// Unix time of 2026-01-01.
const BEGIN: i64 = 1_767_225_600;
const DAYS: i64 = 6;

fn minute(start_s: i64, uj: u64) -> Flush {
    let domain = DomainId {
        domain: "package".into(),
        device: "package-0".into(),
        source: "a test".into(),
        quality: Quality::Measured,
    };
    Flush {
        node: "n".into(),
        name: format!("boot/{start_s}"),
        start_s,
        rows: vec![EnergyRow {
            workload: Workload { identity: "/w".into(), ..Workload::default() },
            domain: domain.clone(),
            kind: EnergyKind::Dynamic,
            factor: Factor::new(Intensity::of("FR").unwrap(), Pue(1.2)),
            quality: Quality::Measured,
            energy: Microjoules(uj),
            cpu: CpuNanos(uj / 7),
            uncertainty: Uncertainty { split_uj: 3.0, model_uj: 0.0, meter_uj: 4.0 },
        }],
        balances: vec![BalanceRow {
            domain,
            covered_ns: 60_000_000_000,
            metered: Microjoules(uj + 11),
            attributed: Microjoules(uj),
            static_energy: Microjoules(10),
            lost: Microjoules(1),
            gaps: 0,
        }],
    }
}

/// A minute of each hour of six days, all with different energies; details before these days, counted from the first, are gone.
fn filled(folder: &Path, minutes_from: i64, hours_from: i64) -> Ledger {
    let mut ledger = Ledger::open(&Location::File(folder.join("a.db"))).unwrap();
    let hours = DAYS * DAY / HOUR;
    let flushes: Vec<Flush> = (0..hours)
        .map(|hour| minute(BEGIN + hour * HOUR + hour % 60 * 60, 1_000_000 + hour.unsigned_abs()))
        .collect();
    ledger.flush(&flushes).unwrap();
    ledger.compact(BEGIN + minutes_from * DAY, BEGIN + hours_from * DAY).unwrap();
    ledger
}

fn asked(words: &[&str]) -> ReportArgs {
    let command = ["carbon", "report", "--by", "domain"];
    match Cli::try_parse_from(command.iter().chain(words)).unwrap().command {
        Command::Report(args) => *args,
        other => panic!("{other:?}"),
    }
}

fn report(ledger: &mut Ledger, words: &[&str]) -> LedgerReport {
    made(&asked(words), None, ledger).unwrap()
}

#[test]
fn periods_finer_than_what_is_kept_have_each_bucket_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = filled(folder.path(), DAYS, DAYS);
    let ask = ["--from", "2026-01-01", "--to", "2026-01-07"];
    let all = report(&mut ledger, &ask);
    let paris = report(&mut ledger, &[&ask[..], &["--tz", "Europe/Paris", "--per", "day"]].concat());
    // The day before is touched by the first hour in Paris, and nothing was recorded in it.
    assert_eq!(paris.reconciliation, all.reconciliation);
    let days: Vec<&str> = paris.rows.iter().filter_map(|row| row.period.as_deref()).collect();
    assert_eq!(days.first().copied(), Some("2026-01-01"));
    assert_eq!(days.len(), 6);
    let hours = report(&mut ledger, &[&ask[..], &["--per", "hour"]].concat());
    assert_eq!((hours.reconciliation, hours.rows.len()), (all.reconciliation, 6));
    assert_eq!(hours.rows[1].period.as_deref(), Some("2026-01-02T00:00+00:00"));
    // A row says of which time it is.
    assert_eq!(
        (hours.rows[1].span.from.as_str(), hours.rows[1].span.to.as_str()),
        ("2026-01-02T00:00:00+00:00", "2026-01-03T00:00:00+00:00")
    );
    let said = hours.notes.join("\n");
    assert!(said.contains("is in the period in which it begins, and 138 periods"), "{said}");
    assert!(hours.reconciliation.holds);
}

#[test]
fn a_widened_interval_is_told_as_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = filled(folder.path(), DAYS, 2);
    let ask = ["--from", "2026-01-02T10:30", "--to", "2026-01-04T10:30", "--tz", "Asia/Kolkata"];
    let report = report(&mut ledger, &ask);
    // 05:00 UTC of the 2nd, of which only the day is kept; 05:00 UTC of the 4th, of which the hours are.
    assert_eq!(
        (report.scope.from.as_str(), report.scope.to.as_str()),
        ("2026-01-02T05:30:00+05:30", "2026-01-04T10:30:00+05:30")
    );
    assert_eq!((&report.total.span.from, &report.total.span.to), (&report.scope.from, &report.scope.to));
    assert!(report.notes.iter().any(|note| note.contains("the ends are widened")), "{:?}", report.notes);
    for text in [
        report.table(crate::report::table::Style::default()),
        report.markdown(),
        paper::html(&report).1,
        paper::latex(&report),
        paper::bibtex(&report),
        paper::model_card(&report),
    ] {
        assert!(text.contains("2026-01-02T05:30:00+05:30"), "{text}");
    }
}

/// What a paper states has what the report says, missing energy and the score too.
#[test]
fn what_is_said_is_in_every_form_of_text() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = filled(folder.path(), DAYS, DAYS);
    let ask = ["--from", "2026-01-01T06:00", "--to", "2026-01-07", "--sci", "--per", "request=7"];
    let report = report(&mut ledger, &ask);
    assert!(report.notes.iter().any(|note| note.contains("the ends are widened")), "{:?}", report.notes);
    for text in [
        report.markdown(),
        paper::html(&report).1,
        paper::latex(&report),
        paper::bibtex(&report),
        paper::model_card(&report),
    ] {
        assert!(text.contains("SCI (ISO/IEC 21031): ") && text.contains("per request of 7 "), "{text}");
        for note in &report.notes {
            // LaTeX and Markdown escape what has a meaning there.
            let (words, _) =
                note.split_once(['_', '%', '<', '[', '|', '&', '(', ':', ';', ',']).unwrap_or((note, ""));
            assert!(text.contains(words), "{note}: {text}");
        }
    }
}

#[test]
fn a_score_has_no_place_in_rows() {
    for format in ["csv", "parquet", "focus-csv"] {
        let refused = asked(&["--sci", "--per", "request=7", "--format", format]).check_per().unwrap_err();
        assert!(refused.message().contains("this format has rows alone"), "{}", refused.message());
        asked(&["--per", "day", "--format", format]).check_per().unwrap();
    }
    for format in ["table", "json", "markdown", "html", "latex", "bibtex", "model-card"] {
        asked(&["--sci", "--per", "request=7", "--format", format]).check_per().unwrap();
    }
}

#[test]
fn a_score_of_a_moment_and_of_hardly_anything_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = filled(folder.path(), 0, 0);
    let args = asked(&["--from", "2026-01-01", "--to", "2026-01-02", "--sci", "--per", "request=1e-300"]);
    let mut report = made(&args, None, &mut ledger).unwrap();
    add_score(&args, &mut report, Duration::from_millis(321)).unwrap();
    let line = report.sci.unwrap().line();
    assert!(line.contains("per request of 1e-300 ") && line.contains(", 0.3210 s, share 1;"), "{line}");
    assert!(line.len() < 400, "{line}");
}

#[test]
fn a_place_that_no_table_knows_stays_as_recorded() {
    let own = Intensity { zone: "file".into(), name: "file".into(), ..Intensity::of("FR").unwrap() };
    let own = Factor::new(own, Pue(1.5));
    let french = Factor::new(Intensity::of("FR").unwrap(), Pue(1.5));
    let current = asked(&["--factors", "current"]);
    assert_eq!(factor_for(&current, &own).unwrap(), own);
    assert_eq!(factor_for(&current, &french).unwrap(), french);
    assert!(factor_for(&asked(&["--factors", "file"]), &french).is_err(), "what is asked for must be known");
    let there = factor_for(&asked(&["--factors", "DE"]), &own).unwrap();
    assert_eq!((there.intensity.zone.as_str(), there.pue), ("DE", Pue(1.5)), "the PUE is that of the site");
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::open(&Location::File(folder.path().join("a.db"))).unwrap();
    let mut other = minute(BEGIN + 60, 3_000_000);
    other.rows[0].factor = own;
    ledger.flush(&[minute(BEGIN, 2_000_000), other]).unwrap();
    let ask = ["--from", "2026-01-01", "--to", "2026-01-02"];
    let recorded = report(&mut ledger, &ask);
    let notes = |report: &LedgerReport| report.notes.join("\n");
    assert!(!notes(&recorded).contains("--factors"), "{}", notes(&recorded));
    let current = report(&mut ledger, &[&ask[..], &["--factors", "current"]].concat());
    assert_eq!(current.total.grams, recorded.total.grams);
    let said = notes(&current);
    assert!(said.contains("PUE is as recorded") && said.contains("no table knows file:"), "{said}");
    let there = notes(&report(&mut ledger, &[&ask[..], &["--factors", "DE"]].concat()));
    assert!(there.contains("by --factors DE") && !there.contains("no table knows"), "{there}");
}

/// Only so can a note tell by the name of a place that it was kept.
#[test]
fn a_place_of_the_tables_has_a_name_that_they_know() {
    let names = reference::grid().flat_map(|row| row.iso2.into_iter().chain([row.iso3]));
    let regions =
        ["aws:eu-west-1", "gcp:europe-west9", "azure:northeurope", "53.35,-6.26", "US-CA", "IT-NO", "EU"];
    for name in names.chain(regions.map(ToOwned::to_owned)) {
        let Ok(found) = Intensity::of(&name) else { continue };
        assert!(Intensity::of(&found.zone).is_ok(), "{name} is {}", found.zone);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    /// The rows of all periods have what the interval has, whatever the zone, the periods and the details that are kept.
    #[test]
    fn periods_add_up_to_the_interval(
        kept in (0..=DAYS, 0..=DAYS),
        zone in prop::sample::select(vec![
            "UTC", "Europe/Paris", "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns", "Pacific/Chatham", "Australia/Lord_Howe",
        ]),
        per in prop::sample::select(vec!["hour", "day", "month"]),
        ends in (-DAY / 60..DAYS * DAY / 60, 1..DAYS * DAY / 60),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut ledger = filled(folder.path(), kept.0.max(kept.1), kept.0.min(kept.1));
        let at = |minute: i64| jiff::Timestamp::from_second(BEGIN + minute * 60).unwrap().to_string();
        let (from, to) = (at(ends.0), at(ends.0 + ends.1));
        let ask = ["--from", &from, "--to", &to, "--tz", zone];
        let all = report(&mut ledger, &ask);
        let each = report(&mut ledger, &[&ask[..], &["--per", per]].concat());
        prop_assert_eq!(each.reconciliation, all.reconciliation);
        prop_assert!(all.reconciliation.holds);
        prop_assert_eq!(each.rows.iter().filter_map(|row| row.dynamic_uj).sum::<u64>(), all.reconciliation.attributed_uj);
        prop_assert_eq!(&each.scope, &all.scope);
        prop_assert_eq!((each.total.cpu_ns, each.total.dynamic_uj), (all.total.cpu_ns, all.total.dynamic_uj));
    }
}
