//! Runs as a picture: the energy of each with its interval, in the order in which they ran.

use super::figures::{interval, of_quality, significant};
use super::runs::RunRow;
use super::svg::{Anchor, BLACK, BLUE, GREY, ORANGE, PALE, Svg, lines, step};
use crate::attribution::uncertainty::SIGMAS_OF_90_PERCENT;

const WIDTH: f64 = 860.0;
/// Room for names at most, and for each of their characters.
const LEFT_MAX: f64 = 280.0;
const CHARACTER: f64 = 6.5;
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
    let titles: Vec<String> = shown.iter().map(|run| title(run)).collect();
    let longest = titles.iter().map(|title| title.chars().count()).max().unwrap_or(0);
    let left = (24.0 + CHARACTER * lines(longest)).min(LEFT_MAX);
    let place = |joules: f64| {
        let part = if most > 0.0 { (joules / most).clamp(0.0, 1.0) } else { 0.0 };
        left + (WIDTH - left - RIGHT) * part
    };
    let by = step(most / scale, 5.0) * scale;
    let ticks = std::iter::successors(Some(0.0), |at| Some(at + by)).take_while(|at| *at <= most * 1.000_1);
    for at in ticks {
        svg.line((place(at), HEAD - 6.0), (place(at), bottom), PALE, 1.0);
        let digits = ((at / scale) * 1e6).round() / 1e6;
        svg.text((place(at), bottom + 15.0), Anchor::Middle, BLACK, &digits.to_string());
    }
    for (number, ((run, title), bar)) in shown.iter().zip(&titles).zip(&bars).enumerate() {
        let y = HEAD + lines(number) * ROW;
        let middle = y + ROW / 2.0;
        svg.text((left - 8.0, middle + 4.0), Anchor::End, BLACK, title);
        let Some(bar) = bar else {
            svg.text((left + 4.0, middle + 4.0), Anchor::Start, GREY, "unknown");
            continue;
        };
        let length = (place(bar.joules) - left).max(1.0);
        fill(&mut svg, (left, y + 3.0), length, run.status == "done", bar.modelled);
        let (low, high) = (place(bar.low), place(bar.high));
        svg.line((low, middle), (high, middle), BLACK, 1.5);
        svg.line((low, middle - 3.0), (low, middle + 3.0), BLACK, 1.5);
        svg.line((high, middle - 3.0), (high, middle + 3.0), BLACK, 1.5);
        let figures = of_quality(run.quality.unwrap_or("none"));
        let said = format!("{} {unit}", significant(bar.joules / scale, figures));
        svg.text((high.max(left + length) + 8.0, middle + 4.0), Anchor::Start, BLACK, &said);
    }
    let mut x = left;
    for (done, modelled) in [(true, false), (true, true), (false, false), (false, true)] {
        let alike = |(run, bar): (&&RunRow, &Option<Bar>)| {
            (run.status == "done") == done && bar.as_ref().is_some_and(|bar| bar.modelled == modelled)
        };
        if !shown.iter().zip(&bars).any(alike) {
            continue;
        }
        let word = if modelled { "modelled" } else { "measured" };
        let said = if done { word.to_owned() } else { format!("{word}, did not end well") };
        fill(&mut svg, (x, bottom + 25.0), 22.0, done, modelled);
        svg.text((x + 28.0, bottom + 36.0), Anchor::Start, BLACK, &said);
        x += 28.0 + CHARACTER * lines(said.chars().count()) + 20.0;
    }
    if left_out > 0 {
        let said = format!("{left_out} older runs are not drawn");
        svg.text((x, bottom + 36.0), Anchor::Start, BLACK, &said);
    }
    svg.finish()
}

/// A bar: its colour says how the run ended, stripes that its energy is modelled.
fn fill(svg: &mut Svg, at: (f64, f64), length: f64, done: bool, modelled: bool) {
    let (size, color) = ((length, ROW - 6.0), if done { BLUE } else { ORANGE });
    if modelled { svg.hatched(at, size, color) } else { svg.rectangle(at, size, color) }
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
        // The background, one bar, and what its colour says.
        assert_eq!(picture.matches("<rect ").count(), 3, "{picture}");
        assert!(picture.contains(">unknown</text>") && picture.contains("&lt;b&gt;: one"), "{picture}");
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
        assert!(svg(&[]).ends_with("</svg>\n"), "nothing to draw is no fault");
        let many: Vec<RunRow> = (0..70).map(|number| run(&number.to_string(), Some(1))).collect();
        assert!(svg(&many).contains("10 older runs are not drawn"));
    }

    #[test]
    fn what_is_modelled_is_striped_however_it_ended() {
        let modelled = |status| RunRow { quality: Some("modelled"), status, ..run("one", Some(2_000_000)) };
        for (status, color, said) in
            [("done", BLUE, ">modelled<"), ("failed", ORANGE, ">modelled, did not end well<")]
        {
            let picture = svg(&[modelled(status)]);
            assert_eq!(picture.matches("url(#hatch)").count(), 2, "{picture}");
            assert_eq!(picture.matches("<pattern").count(), 1, "{picture}");
            assert!(picture.contains(color) && picture.contains(said), "{picture}");
        }
        let measured = svg(&[run("one", Some(2_000_000))]);
        assert!(!measured.contains("hatch") && !measured.contains("modelled"), "{measured}");
    }
}
