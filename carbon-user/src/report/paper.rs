//! The report for others: a web page, a paper, a model card, a bill. Each says hardware, location, intensity, method and
//! the hash of the factors, so that the figure can be recomputed years later.

use super::figures::{of_quality, printable, significant};
use super::grid::{Cell, Grid, html_escaped, latex_escaped};
use super::ledger::{LedgerReport, NO_SPREAD};
use crate::units::Microjoules;

/// Title and body of a page, as HTML: all that the report says, without any chart.
pub fn html(report: &LedgerReport) -> (String, String) {
    let title = html_escaped(&format!("Energy and CO2e by {}", report.scope.by));
    let lines: Vec<String> =
        report.lines().iter().map(|line| format!("<li>{}</li>", html_escaped(line))).collect();
    let body = format!(
        "<h1>{title}</h1>\n<p class=\"small\">{} to {} ({}), carbon {}</p>\n<div id=\"charts\"></div>\n\
         <section class=\"card\"><div class=\"scroll\">{}</div></section>\n<ul class=\"plain note\">\n{}\n</ul>\n",
        html_escaped(&report.scope.from),
        html_escaped(&report.scope.to),
        html_escaped(&report.scope.tz),
        report.version,
        report.grid().html(),
        lines.join("\n"),
    );
    (title, body)
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
            "{} gCO2e (90 % interval {} to {}{})",
            significant(grams, 2),
            significant(low, 2),
            significant(high, 2),
            if report.notes.iter().any(|note| note == NO_SPREAD) {
                ", of the energy alone where no spread of an intensity is known"
            } else {
                ""
            }
        ),
        _ => "unknown".to_owned(),
    };
    let intensities: Vec<String> = report
        .factors
        .iter()
        .map(|factor| {
            format!(
                "{} gCO2e/kWh for {} ({}), {}, {}, {}, PUE {}{} ({})",
                significant(factor.g_per_kwh, 4),
                factor.zone,
                factor.name,
                factor.year,
                factor.boundary,
                factor.basis,
                significant(factor.pue, 3),
                if factor.assumed { ", assumed since no place was given" } else { "" },
                // Its licence may ask for this line, and who recomputes the figure looks there first.
                factor.source
            )
        })
        .collect();
    let mut said = vec![
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
    ];
    said.extend(report.sci.iter().map(|sci| format!("{}.", sci.line())));
    // Energy that is missing or an interval that is wider than what was asked for is part of the figure.
    said.extend(report.notes.iter().map(|note| format!("Note: {note}.")));
    said.iter().map(|it| printable(it)).collect()
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
    // What JSON quotes is quoted in YAML too, but for control characters, of which none are left.
    let quoted = |text: &str| serde_json::to_string(&printable(text)).unwrap_or_default();
    let places: Vec<String> = report.factors.iter().map(|it| format!("{} ({})", it.zone, it.name)).collect();
    // What has an exponent has it as YAML 1.1 reads it: with a point and a sign.
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
        ("x_Assumed", "x_Assumed", false),
    ]);
    let number =
        |value: Option<f64>| value.map_or_else(Cell::unknown, |value| Cell::number(value.to_string(), value));
    for row in &report.rows {
        let energy = row.energy();
        grid.rows.push(vec![
            Cell::text(&row.span.from),
            Cell::text(&row.span.to),
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
            Cell::text(row.assumed.to_string()),
        ]);
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carbon::Intensity;
    use crate::ledger::Factor;
    use crate::ledger::query::Balance;
    use crate::ledger::rows::EnergyKind;
    use crate::report::group::{Group, Hashed, Part};
    use crate::report::ledger::{Period, Scope};
    use crate::report::reconciliation::Rows;
    use crate::units::{Pue, Quality};
    use std::collections::BTreeMap;

    /// All of it is named by others: a place, its source, the machine, a file and a workload.
    fn named(name: &str) -> LedgerReport {
        let named = || name.to_owned();
        let intensity =
            Intensity { zone: named(), name: named(), source: named(), ..Intensity::of("FR").unwrap() };
        let factor = Hashed::new(Factor::new(intensity, Pue(1.0)));
        let mut group = Group::default();
        group.add(&Part {
            kind: EnergyKind::Dynamic,
            factor: &factor,
            quality: Quality::Measured,
            energy: Microjoules(5),
            cpu_ns: 1,
            common_uj: 0.0,
            variance_uj2: 0.0,
            rerated: false,
        });
        let scope = Scope {
            ledger: named(),
            from: "2026-01-01".into(),
            to: "2026-02-01".into(),
            tz: "UTC".into(),
            by: "pod".into(),
            hardware: vec![named()],
            methods: vec![named()],
        };
        let groups = [(Period::default(), BTreeMap::from([(named(), group)]))];
        LedgerReport::new(scope, &groups, Balance::default(), Rows::Part, None, vec![named()])
    }

    #[test]
    fn no_name_gets_out_of_its_place_in_any_form() {
        let hostile = "x\u{1b}[31m\n\r\u{7f}\u{85}\u{202e}</li><script>|`\"'\\input{y}";
        let report = named(hostile);
        let plain = crate::report::table::Style::default();
        for text in [
            report.table(plain),
            report.markdown(),
            html(&report).1,
            latex(&report),
            bibtex(&report),
            model_card(&report),
        ] {
            let moves = |char: &char| (char.is_control() && *char != '\n') || *char == '\u{202e}';
            assert_eq!(text.chars().find(moves), None, "{text}");
        }
        for text in [report.markdown(), html(&report).0, html(&report).1] {
            assert!(!text.contains("<script"), "{text}");
        }
        for text in [latex(&report), bibtex(&report)] {
            assert!(!text.contains("\\input"), "{text}");
        }
        // 5 microjoules are no 0 g.
        assert!(
            model_card(&report).starts_with("co2_eq_emissions:\n  emissions: 5.8e-11\n"),
            "{}",
            model_card(&report)
        );
        // Each of these is one line, whatever the names.
        assert_eq!(model_card(&report).lines().count(), model_card(&named("x")).lines().count());
        assert_eq!(report.markdown().lines().count(), named("x").markdown().lines().count());
    }
}
