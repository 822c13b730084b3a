//! Advice as a picture: regions with what is not known of them, and the hours of a day.

use super::advice::Advice;
use super::figures::significant;
use super::hours::BestHours;
use super::svg::{Anchor, BLACK, BLUE, GREY, ORANGE, PALE, Svg, lines, step};
use crate::units::Microjoules;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 220.0;
const RIGHT: f64 = 20.0;
const ROW: f64 = 16.0;
const HEAD: f64 = 44.0;
const FOOT: f64 = 58.0;
const HOURS_HEIGHT: f64 = 180.0;

/// Regions in the picture at most.
const ROWS_MAX: usize = 60;

/// The picture, as SVG.
pub fn svg(advice: &Advice) -> String {
    let rows = advice.regions.len().min(ROWS_MAX);
    let regions = HEAD + lines(rows) * ROW + FOOT;
    let hours = advice.hours.as_ref().map_or(0.0, |_| HEAD + HOURS_HEIGHT + FOOT);
    let mut svg = Svg::new(WIDTH, regions + hours);
    draw_regions(&mut svg, advice, rows);
    if let Some(hours) = &advice.hours {
        draw_hours(&mut svg, hours, regions);
    }
    svg.finish()
}

/// A round number without its zeros.
fn tick(at: f64) -> String {
    ((at * 1e6).round() / 1e6).to_string()
}

fn draw_regions(svg: &mut Svg, advice: &Advice, rows: usize) {
    let kwh = significant(Microjoules(advice.energy_uj_per_month).kilowatt_hours(), 3);
    let title = format!("kgCO2e for {kwh} kWh of the machines in a month, with 90 % intervals");
    svg.text((WIDTH / 2.0, 18.0), Anchor::Middle, BLACK, &title);
    let shown = || advice.regions.iter().take(rows);
    let most = shown().map(|row| row.grams_high / 1e3).fold(f64::MIN_POSITIVE, f64::max);
    let place = |grams: f64| LEFT + (WIDTH - LEFT - RIGHT) * (grams / 1e3 / most).clamp(0.0, 1.0);
    let bottom = HEAD + lines(rows) * ROW;
    let step = step(most, 5.0);
    let ticks = std::iter::successors(Some(0.0), |at| Some(at + step)).take_while(|at| *at <= most * 1.000_1);
    for at in ticks {
        let x = place(at * 1e3);
        svg.line((x, HEAD - 6.0), (x, bottom), PALE, 1.0);
        svg.text((x, bottom + 15.0), Anchor::Middle, BLACK, &tick(at));
    }
    for (number, row) in shown().enumerate() {
        let y = HEAD + (lines(number) + 0.5) * ROW;
        let color = match () {
            () if advice.near.as_deref() == Some(row.region.as_str()) => ORANGE,
            () if row.told_from_first => GREY,
            () => BLUE,
        };
        svg.text((LEFT - 8.0, y + 4.0), Anchor::End, color, &format!("{} {}", row.region, row.city));
        svg.line((place(row.grams_low), y), (place(row.grams_high), y), color, 1.5);
        svg.circle((place(row.grams_per_month), y), 3.5, color);
    }
    let mut words = vec!["blue: cannot be told from the least; grey: more, with 90 % certainty".to_owned()];
    words.extend(advice.near.as_ref().map(|near| format!("orange: {near}, where the work is")));
    let left_out = advice.regions.len() - rows;
    words.extend((left_out > 0).then(|| format!("{left_out} more are not drawn")));
    svg.text((WIDTH / 2.0, bottom + 32.0), Anchor::Middle, BLACK, &words.join("; "));
    // Whose figures these are goes with the picture, where their licence asks for that.
    if let Some(notice) = advice.notes.iter().find(|note| note.contains("ODbL")) {
        svg.text((WIDTH / 2.0, bottom + 46.0), Anchor::Middle, GREY, notice);
    }
}

fn draw_hours(svg: &mut Svg, hours: &BestHours, top: f64) {
    let title = format!("g/kWh of {} by hour ({}), {}: {}", hours.zone, hours.tz, hours.basis, hours.kind);
    svg.text((WIDTH / 2.0, top + 18.0), Anchor::Middle, BLACK, &title);
    let left = 50.0;
    let most = hours.hours.iter().map(|hour| hour.g_per_kwh).fold(f64::MIN_POSITIVE, f64::max);
    let bottom = top + HEAD + HOURS_HEIGHT;
    let place = |g: f64| bottom - HOURS_HEIGHT * (g / most).clamp(0.0, 1.0);
    let step = step(most, 5.0);
    let ticks = std::iter::successors(Some(0.0), |at| Some(at + step)).take_while(|at| *at <= most * 1.000_1);
    for at in ticks {
        svg.line((left, place(at)), (WIDTH - RIGHT, place(at)), PALE, 1.0);
        svg.text((left - 6.0, place(at) + 4.0), Anchor::End, BLACK, &tick(at));
    }
    let width = (WIDTH - RIGHT - left) / lines(hours.hours.len().max(1));
    for (number, hour) in hours.hours.iter().enumerate() {
        let x = left + lines(number) * width;
        let (y, color) = (place(hour.g_per_kwh), if hour.best { BLUE } else { GREY });
        svg.rectangle((x + 1.0, y), (width - 2.0, bottom - y), color);
        if number % 3 == 0 {
            svg.text((x, bottom + 15.0), Anchor::Start, BLACK, hour.clock());
        }
    }
    let mean = place(hours.mean_g_per_kwh);
    svg.line((left, mean), (WIDTH - RIGHT, mean), BLACK, 1.0);
    let words = format!(
        "blue: the best hours, {:.0} % below the mean (line); {}",
        100.0 * hours.saving_ratio,
        hours.source
    );
    svg.text((WIDTH / 2.0, bottom + 32.0), Anchor::Middle, BLACK, &words);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carbon::place::CloudRegion;
    use crate::report::advice::Candidate;

    #[test]
    fn each_region_is_drawn_and_its_source_is_named() {
        let candidates: Vec<Candidate> = CloudRegion::all("azure")
            .into_iter()
            .map(|region| Candidate {
                intensity: region.intensity().unwrap(),
                pue: region.pue(),
                km: None,
                region,
            })
            .collect();
        let advice = Advice::new(&candidates, None, Microjoules(3_600_000_000_000), None);
        let picture = svg(&advice);
        let drawn = advice.regions.len().min(ROWS_MAX);
        assert_eq!(picture.matches("<circle ").count(), drawn);
        assert!(advice.regions.len() <= ROWS_MAX || picture.contains("more are not drawn"));
        assert!(picture.contains("made available under the ODbL"));
        assert!(
            !["NaN", "\"inf", "Minf", "Linf"].iter().any(|odd| picture.contains(odd)),
            "a number that is none"
        );
        assert_eq!((tick(0.1 + 0.2), tick(20.0)), ("0.3".to_owned(), "20".to_owned()));
        // Nothing to draw is no fault.
        assert!(svg(&Advice::new(&[], None, Microjoules(1), None)).ends_with("</svg>\n"));
    }
}
