//! Numbers as people read them: significant figures, intervals, sums that add up as printed.

use crate::attribution::share;
use crate::attribution::uncertainty::SIGMAS_OF_90_PERCENT;

/// Significant figures of a modelled number: more would claim what is not known.
pub const MODELLED: usize = 2;
/// Significant figures of a number from a meter.
pub const METERED: usize = 4;

/// Significant figures of grams: intensities are never known better.
pub const GRAMS: usize = 2;

/// A name that others gave, without what could move the cursor, change colours or be unseen on a terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|char| if is_printable(char) { char } else { '\u{fffd}' }).collect()
}

/// JSON with escapes for what is not [`printable`]; it says the same.
pub fn printable_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for char in json.chars() {
        if is_printable(char) {
            out.push(char);
        } else {
            let mut units = [0; 2];
            out.extend(char.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    out
}

/// Whether a character is seen where it stands, and moves nothing: neither control (Unicode's category Cc), nor format (Cf), nor a
/// separator of lines or paragraphs (Zl, Zp).
pub fn is_printable(char: char) -> bool {
    !char.is_control() && !formats(char)
}

/// Unicode 16, `DerivedGeneralCategory.txt`: Cf, Zl and Zp.
fn formats(char: char) -> bool {
    matches!(char,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}'
        | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
        | '\u{2066}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}'
        | '\u{e0020}'..='\u{e007f}')
}

/// How many figures a number of this quality is worth.
pub fn of_quality(quality: &str) -> usize {
    if quality == "modelled" { MODELLED } else { METERED }
}

/// Decimal places that show `figures` significant figures of `value`; negative where the last figure stands left
/// of the point.
fn places(value: f64, figures: usize) -> i32 {
    let figures = i32::try_from(figures.max(1)).unwrap_or(1);
    // The exponent of the rounded number, so that 9.99 with two figures is 10.
    let scientific = format!("{value:.*e}", usize::try_from(figures - 1).unwrap_or(0));
    let exponent = scientific.rsplit_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or(0);
    figures - 1 - exponent
}

fn with_places(value: f64, places: i32) -> String {
    if let Ok(places) = usize::try_from(places) {
        format!("{value:.*}", places.min(9))
    } else {
        let step = 10_f64.powi(-places);
        format!("{:.0}", (value / step).round() * step)
    }
}

/// Decimal places at most, where there is no exponent.
const PLACES_MAX: i32 = 9;
/// From here on there is an exponent: more than that a double does not hold to the unit.
const WHOLE_MAX: f64 = 1e15;

/// `value` with this many significant figures, in nine decimal places at most; with an exponent, such as `4.2e-10`, where these would
/// not show two figures, and from 1e15 on.
pub fn significant(value: f64, figures: usize) -> String {
    if !value.is_finite() {
        return "unknown".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    if places(value, figures.min(MODELLED)) > PLACES_MAX || value.abs() >= WHOLE_MAX {
        return format!("{value:.*e}", figures.max(1) - 1);
    }
    with_places(value, places(value, figures))
}

/// A number as it was given, with an exponent where it has more than fifteen digits before or after the point.
pub fn amount(value: f64) -> String {
    let plain = value.to_string();
    if plain.len() > 16 { format!("{value:e}") } else { plain }
}

/// The 90 % interval of an energy with this standard deviation: log-normal for a modelled one, which is wrong by a
/// factor, else normal and not below zero.
pub fn interval(value: f64, stddev: f64, quality: &str) -> (f64, f64) {
    let half = SIGMAS_OF_90_PERCENT * stddev;
    if quality == "modelled" && value > 0.0 {
        let factor = (half / value).exp();
        (value / factor, value * factor)
    } else {
        ((value - half).max(0.0), value + half)
    }
}

/// The interval in words: from and to for a modelled number, plus-minus for others.
pub fn spread(value: f64, stddev: f64, quality: &str) -> String {
    if value <= 0.0 && stddev <= 0.0 {
        return "0".to_owned();
    }
    let (low, high) = interval(value, stddev, quality);
    between(value, low, high, quality)
}

/// An [`interval`] about `value` in words, where its ends are known.
pub fn between(value: f64, low: f64, high: f64, quality: &str) -> String {
    if high <= 0.0 {
        return "0".to_owned();
    }
    if quality == "modelled" {
        format!("{} to {}", significant(low, MODELLED), significant(high, MODELLED))
    } else {
        format!("\u{b1}{}", significant(high - value, 2))
    }
}

/// Joules of a whole and its parts, all with the decimal places that the whole is worth, rounded together so that
/// the printed parts add up to the printed whole.
pub fn reconciled(whole_uj: u64, parts_uj: &[u64], figures: usize) -> (String, Vec<String>) {
    #[expect(clippy::cast_precision_loss, reason = "a display value")]
    let places = if whole_uj == 0 { 0 } else { places(whole_uj as f64 / 1e6, figures).min(6) };
    let unit_uj = 10_u64.pow(u32::try_from(6 - places).unwrap_or(0).min(19));
    let units = (whole_uj + unit_uj / 2) / unit_uj;
    let weights: Vec<(usize, u64)> = parts_uj.iter().copied().enumerate().collect();
    #[expect(clippy::cast_precision_loss, reason = "a display value")]
    let text = |units: u64| with_places((u128::from(units) * u128::from(unit_uj)) as f64 / 1e6, places);
    (text(units), share::split(units, &weights).into_iter().map(text).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Microjoules;
    use proptest::prelude::*;

    #[test]
    fn what_is_unseen_or_moves_is_replaced_and_json_says_the_same() {
        let hostile = "a\u{1b}\u{ad}\u{200b}\u{2028}\u{202e}\u{feff}\u{e0001}\u{9b}b";
        assert_eq!(printable(hostile), format!("a{}b", "\u{fffd}".repeat(8)));
        assert_eq!(printable("\u{e9}\u{4e2d}\u{1f600} e\u{301}"), "\u{e9}\u{4e2d}\u{1f600} e\u{301}");
        let json = serde_json::to_string(hostile).unwrap();
        let safe = printable_json(&json);
        assert!(safe.is_ascii() && safe.contains("\\udb40\\udc01"), "{safe}");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), hostile);
    }

    #[test]
    fn figures_are_significant() {
        let cases = [
            (0.0, 4, "0"),
            (12.3456, 4, "12.35"),
            (9.996, 2, "10"),
            (99.96, 3, "100"),
            (0.000_123_45, 2, "0.00012"),
            (123_456.0, 2, "120000"),
            (1e-12, 2, "1.0e-12"),
            (4.2e-10, 2, "4.2e-10"),
            (-4.2e-10, 2, "-4.2e-10"),
            (1.234e-7, 4, "0.000000123"),
            (1.234e-9, 4, "1.234e-9"),
            (3.4e303, 2, "3.4e303"),
            (0.000_000_012, 2, "0.000000012"),
            (9.96e-9, 2, "0.000000010"),
            (f64::NAN, 2, "unknown"),
        ];
        for (value, figures, expected) in cases {
            assert_eq!(significant(value, figures), expected, "{value} {figures}");
        }
    }

    #[test]
    fn no_amount_is_hundreds_of_digits() {
        let cases = [(1000.0, "1000"), (0.5, "0.5"), (1e-300, "1e-300"), (1e300, "1e300")];
        for (value, expected) in cases {
            assert_eq!(amount(value), expected);
        }
    }

    #[test]
    fn a_model_is_told_by_its_bounds() {
        let stddev = 12.0 * 1.7_f64.ln() / SIGMAS_OF_90_PERCENT;
        assert_eq!(spread(12.0, stddev, "modelled"), "7.1 to 20");
        assert_eq!(spread(12.0, 0.1, "measured"), "\u{b1}0.16");
        assert_eq!(spread(0.0, 0.0, "measured"), "0");
        assert!(interval(1.0, 5.0, "sampled").0.abs() < 1e-12);
    }

    #[test]
    fn printed_parts_add_up() {
        let (whole, parts) = reconciled(10_000_000, &[3_333_333, 3_333_333, 3_333_334], 2);
        assert_eq!((whole.as_str(), parts.join("+").as_str()), ("10", "3+3+4"));
        assert_eq!(reconciled(0, &[0, 0], 4).0, "0");
        assert_eq!(reconciled(123_456_789_000_000, &[123_456_789_000_000], 2).1, ["120000000"]);
    }

    proptest! {
        /// What is printed is not zero where the number is not, and has the two figures that are promised.
        #[test]
        fn figures_are_there_however_small(digits in 1.0_f64..9.99, exponent in -300_i32..300, figures in 2_usize..5) {
            let value = digits * 10_f64.powi(exponent);
            let printed: f64 = significant(value, figures).parse().unwrap();
            prop_assert!((printed / value - 1.0).abs() <= 0.051, "{value} as {}", significant(value, figures));
            prop_assert!(significant(value, figures).len() <= 16);
        }

        #[test]
        fn printed_parts_always_add_up(parts in prop::collection::vec(0_u64..1_000_000_000_000, 1..5), modelled: bool) {
            let figures = if modelled { MODELLED } else { METERED };
            let (whole, parts) = reconciled(parts.iter().sum(), &parts, figures);
            let exact = |text: &str| Microjoules::from_joules(text.parse().unwrap());
            prop_assert_eq!(exact(&whole), parts.iter().map(|part| exact(part)).sum::<Microjoules>());
        }
    }
}
