//! The report for others: a web page, a paper, a model card, a bill. Each says hardware, location, intensity, method and
//! the hash of the factors, so that the figure can be recomputed years later.

use super::figures::{of_quality, significant};
use super::grid::{Cell, Grid, html_escaped, latex_escaped};
use super::ledger::LedgerReport;
use crate::units::Microjoules;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em}\
                     table{border-collapse:collapse}th,td{padding:.3em .7em;text-align:left;border-bottom:1px solid #ccc}\
                     .number{text-align:right;font-variant-numeric:tabular-nums}";

/// A page that needs nothing else: no script, no font, no picture.
pub fn html(report: &LedgerReport) -> String {
    let title = format!("Energy and CO2e by {}", report.scope.by);
    let lines: Vec<String> =
        report.lines().iter().map(|line| format!("<li>{}</li>", html_escaped(line))).collect();
    let lines = lines.join("\n");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>{STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n{}<ul>\n{lines}\n</ul>\n</body>\n</html>\n",
        report.grid().html(),
        title = html_escaped(&title)
    )
}

/// What a paper must state, in one sentence each.
fn statements(report: &LedgerReport) -> Vec<String> {
    let list = |values: &[String], unknown: &str| {
        if values.is_empty() { unknown.to_owned() } else { values.join("; ") }
    };
    let total = &report.total;
    let quality = total.quality.unwrap_or("none");
    let energy = match total.energy() {
        Some(energy) => {
            let figures = of_quality(quality);
            format!(
                "{} J ({} kWh), {quality}",
                significant(energy.joules(), figures),
                significant(energy.kilowatt_hours(), figures)
            )
        }
        None => "unknown".to_owned(),
    };
    let grams = match (total.grams, total.grams_low, total.grams_high) {
        (Some(grams), Some(low), Some(high)) => format!(
            "{} gCO2e (90 % interval {} to {})",
            significant(grams, 2),
            significant(low, 2),
            significant(high, 2)
        ),
        _ => "unknown".to_owned(),
    };
    let intensities: Vec<String> = report
        .factors
        .iter()
        .map(|factor| {
            format!(
                "{} gCO2e/kWh for {} ({}), {}, {}, {}, PUE {}{}",
                significant(factor.g_per_kwh, 4),
                factor.zone,
                factor.name,
                factor.year,
                factor.boundary,
                factor.basis,
                significant(factor.pue, 3),
                if factor.assumed { ", assumed since no place was given" } else { "" }
            )
        })
        .collect();
    vec![
        format!("Energy: {energy}."),
        format!("Emissions: {grams}."),
        format!("Hardware: {}.", list(&report.scope.hardware, "as in the ledger")),
        format!("Carbon intensity: {}.", list(&intensities, "unknown")),
        format!(
            "Method: {}; Carbon {}; static (idle) energy shown apart unless stated.",
            list(&report.scope.methods, "scheduler time and energy meters, joined per window"),
            report.version
        ),
        format!("Factor set: sha256 {}.", report.factor_set),
        format!("Time: {} to {} ({}).", report.scope.from, report.scope.to, report.scope.tz),
    ]
}

/// A table and a paragraph.
pub fn latex(report: &LedgerReport) -> String {
    let mut text = String::from("\\begin{table}[t]\n\\centering\n");
    text.push_str(&report.grid().latex());
    let caption = format!(
        "\\caption{{Energy and emissions by {}.}}\n\\end{{table}}\n\n",
        latex_escaped(&report.scope.by)
    );
    text.push_str(&caption);
    let statements: Vec<String> = statements(report).iter().map(|it| latex_escaped(it)).collect();
    text.push_str(&statements.join("\n"));
    text.push('\n');
    text
}

/// A reference.
pub fn bibtex(report: &LedgerReport) -> String {
    let year = report.scope.to.get(..4).unwrap_or_default();
    format!(
        "@misc{{carbon-{},\n  title = {{Energy and emissions by {}, measured with Carbon {}}},\n  year = {{{year}}},\n  \
         note = {{{}}}\n}}\n",
        report.factor_set.get(..12).unwrap_or_default(),
        latex_escaped(&report.scope.by),
        report.version,
        statements(report).iter().map(|it| latex_escaped(it)).collect::<Vec<_>>().join(" ")
    )
}

/// The `co2_eq_emissions` part of the metadata of a model card, as Hugging Face's hub reads it: grams.
pub fn model_card(report: &LedgerReport) -> String {
    let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let places: Vec<String> = report.factors.iter().map(|it| format!("{} ({})", it.zone, it.name)).collect();
    let grams = report.total.grams.map_or_else(|| "null".to_owned(), |grams| significant(grams, 2));
    format!(
        "co2_eq_emissions:\n  emissions: {grams}\n  source: {}\n  training_type: \"unknown\"\n  \
         geographical_location: {}\n  hardware_used: {}\n",
        quoted(&statements(report).join(" ")),
        quoted(&places.join("; ")),
        quoted(&report.scope.hardware.join("; "))
    )
}

/// Rows with the column names of the FinOps cost and usage specification (FOCUS 1.0) where they have a meaning here,
/// and columns of our own, which begin with `x_` as it asks. There is no cost in it.
pub fn focus(report: &LedgerReport) -> Grid {
    let mut grid = Grid::new(&[
        ("ChargePeriodStart", "ChargePeriodStart", false),
        ("ChargePeriodEnd", "ChargePeriodEnd", false),
        ("ChargeCategory", "ChargeCategory", false),
        ("ChargeDescription", "ChargeDescription", false),
        ("ResourceName", "ResourceName", false),
        ("ResourceType", "ResourceType", false),
        ("ConsumedQuantity", "ConsumedQuantity", true),
        ("ConsumedUnit", "ConsumedUnit", false),
        ("x_Period", "x_Period", false),
        ("x_EmissionsGrams", "x_EmissionsGrams", true),
        ("x_EmissionsGramsLow", "x_EmissionsGramsLow", true),
        ("x_EmissionsGramsHigh", "x_EmissionsGramsHigh", true),
        ("x_Quality", "x_Quality", false),
        ("x_FactorSet", "x_FactorSet", false),
    ]);
    let number =
        |value: Option<f64>| value.map_or_else(Cell::unknown, |value| Cell::number(value.to_string(), value));
    for row in &report.rows {
        let energy = row.energy();
        grid.rows.push(vec![
            Cell::text(&report.scope.from),
            Cell::text(&report.scope.to),
            Cell::text("Usage"),
            Cell::text("energy and emissions"),
            Cell::text(&row.key),
            Cell::text(&report.scope.by),
            number(energy.map(Microjoules::kilowatt_hours)),
            Cell::text("kWh"),
            Cell::text(row.period.as_deref().unwrap_or_default()),
            number(row.grams),
            number(row.grams_low),
            number(row.grams_high),
            Cell::text(row.quality.unwrap_or("none")),
            Cell::text(&report.factor_set),
        ]);
    }
    grid
}
