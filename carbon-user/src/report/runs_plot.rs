//! Runs as a picture: the energy of each with its interval, in the order in which they ran.

use super::figures::{interval, of_quality, significant};
use super::runs::RunRow;
use super::svg::{Anchor, BLACK, BLUE, GREY, ORANGE, PALE, SKY, Svg, lines, step};
use crate::attribution::uncertainty::SIGMAS_OF_90_PERCENT;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 280.0;
const RIGHT: f64 = 110.0;
const ROW: f64 = 20.0;
const HEAD: f64 = 44.0;
const FOOT: f64 = 58.0;

/// Runs in the picture at most: the newest.
const ROWS_MAX: usize = 60;

/// Characters of a name.
const NAME_MAX: usize = 34;

/// The picture, as SVG. A run whose energy is unknown has no bar, and says so.
pub fn svg(runs: &[RunRow]) -> String {
    let left_out = runs.len().saturating_sub(ROWS_MAX);
    let shown: Vec<&RunRow> = runs.iter().skip(left_out).collect();
    let bottom = HEAD + lines(shown.len()) * ROW;
    let mut svg = Svg::new(WIDTH, bottom + FOOT);
    let bars: Vec<Option<Bar>> = shown.iter().map(|run| Bar::of(run)).collect();
    let most = bars.iter().flatten().map(|bar| bar.high.max(bar.joules)).fold(0.0, f64::max);
    let (unit, scale) = unit_of(most);
    svg.text(
        (WIDTH / 2.0, 18.0),
        Anchor::Middle,
        BLACK,
        &format!("energy of each run in {unit}, with 90 % intervals"),
    );
    let place = |joules: f64| {
        let part = if most > 0.0 { (joules / most).clamp(0.0, 1.0) } else { 0.0 };
        LEFT + (WIDTH - LEFT - RIGHT) * part
    };
    let by = step(most / scale, 5.0) * scale;
    let ticks = std::iter::successors(Some(0.0), |at| Some(at + by)).take_while(|at| *at <= most * 1.000_1);
    for at in ticks {
        svg.line((place(at), HEAD - 6.0), (place(at), bottom), PALE, 1.0);
        let digits = ((at / scale) * 1e6).round() / 1e6;
        svg.text((place(at), bottom + 15.0), Anchor::Middle, BLACK, &digits.to_string());
    }
    for (number, (run, bar)) in shown.iter().zip(&bars).enumerate() {
        let y = HEAD + lines(number) * ROW;
        let middle = y + ROW / 2.0;
        svg.text((LEFT - 8.0, middle + 4.0), Anchor::End, BLACK, &title(run));
        let Some(bar) = bar else {
            svg.text((LEFT + 4.0, middle + 4.0), Anchor::Start, GREY, "unknown");
            continue;
        };
        let color = match () {
            () if run.status != "done" => ORANGE,
            () if bar.modelled => SKY,
            () => BLUE,
        };
        let length = (place(bar.joules) - LEFT).max(1.0);
        svg.rectangle((LEFT, y + 3.0), (length, ROW - 6.0), color);
        let (low, high) = (place(bar.low), place(bar.high));
        svg.line((low, middle), (high, middle), BLACK, 1.5);
        svg.line((low, middle - 3.0), (low, middle + 3.0), BLACK, 1.5);
        svg.line((high, middle - 3.0), (high, middle + 3.0), BLACK, 1.5);
        let figures = of_quality(run.quality.unwrap_or("none"));
        let said = format!("{} {unit}", significant(bar.joules / scale, figures));
        svg.text((high.max(LEFT + length) + 8.0, middle + 4.0), Anchor::Start, BLACK, &said);
    }
    let mut words = vec!["blue: measured; pale: modelled; orange: did not end well".to_owned()];
    words.extend((left_out > 0).then(|| format!("{left_out} older runs are not drawn")));
    svg.text((WIDTH / 2.0, bottom + 34.0), Anchor::Middle, BLACK, &words.join("; "));
    svg.finish()
}

struct Bar {
    joules: f64,
    low: f64,
    high: f64,
    modelled: bool,
}

impl Bar {
    fn of(run: &RunRow) -> Option<Self> {
        let joules = run.joules()?;
        let quality = run.quality.unwrap_or("none");
        let stddev = run.dynamic_stddev_uj.unwrap_or(0.0) / 1e6;
        let (low, high) = interval(joules, stddev, quality);
        // A model may not know its value at all: the picture stays readable, and the interval goes to its edge.
        let widest = joules * (SIGMAS_OF_90_PERCENT * 2.0).exp();
        Some(Self { joules, low, high: high.min(widest), modelled: quality == "modelled" })
    }
}

/// A unit in which the largest has few digits.
fn unit_of(joules: f64) -> (&'static str, f64) {
    match joules {
        it if it >= 3.6e6 => ("kWh", 3.6e6),
        it if it >= 1e4 => ("kJ", 1e3),
        it if it >= 1.0 || it <= 0.0 => ("J", 1.0),
        _ => ("mJ", 1e-3),
    }
}

fn title(run: &RunRow) -> String {
    let name = run.name.clone().unwrap_or_else(|| run.command.join(" "));
    let all = match &run.project {
        Some(project) => format!("{project}: {name}"),
        None => name,
    };
    if all.chars().count() <= NAME_MAX {
        return all;
    }
    all.chars().take(NAME_MAX - 1).chain(['\u{2026}']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, uj: Option<u64>) -> RunRow {
        RunRow {
            id: "0197".into(),
            start: jiff::Timestamp::UNIX_EPOCH,
            end: None,
            node: "n".into(),
            status: "done",
            exit_status: Some(0),
            organisation: None,
            project: Some("<b>".into()),
            experiment: None,
            name: Some(name.into()),
            series: None,
            tags: Vec::new(),
            command: Vec::new(),
            duration_ns: Some(1),
            cpu_ns: Some(1),
            outlived_by: None,
            dynamic_uj: uj,
            dynamic_stddev_uj: uj.map(|_| 1e5),
            static_uj: uj.map(|_| 0),
            held_uj: None,
            grams: None,
            grams_low: None,
            grams_high: None,
            quality: uj.map(|_| "measured"),
            accounting: None,
            hardware: None,
            factors: Vec::new(),
            rerated: false,
            assumed: false,
        }
    }

    #[test]
    fn each_run_has_its_bar_and_an_unknown_one_has_none() {
        let picture = svg(&[run("one", Some(2_000_000)), run("two", None)]);
        // The background, and one bar.
        assert_eq!(picture.matches("<rect ").count(), 2, "{picture}");
        assert!(picture.contains(">unknown</text>") && picture.contains("&lt;b&gt;: one"), "{picture}");
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
        assert!(svg(&[]).ends_with("</svg>\n"), "nothing to draw is no fault");
        let many: Vec<RunRow> = (0..70).map(|number| run(&number.to_string(), Some(1))).collect();
        assert!(svg(&many).contains("10 older runs are not drawn"));
    }
}
