//! A picture as SVG 1.1, by hand: text and a few shapes need no font and no library.

use super::figures::printable;
use std::fmt::Write;

// Colours that people see apart who are colour-blind (Okabe and Ito, 2008), and greys beside them.
pub(super) const BLUE: &str = "#0072b2";
pub(super) const ORANGE: &str = "#d55e00";
pub(super) const GREY: &str = "#777";
pub(super) const PALE: &str = "#ddd";
pub(super) const BLACK: &str = "black";

/// Stripes of 45 degrees, in the pixels of the picture.
const HATCH: &str = "<pattern id=\"hatch\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
                     <rect width=\"2\" height=\"6\" fill=\"white\" fill-opacity=\"0.6\"/></pattern>";

/// Which end of a text is at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// Its beginning.
    Start,
    /// Its middle.
    Middle,
    /// Its end.
    End,
}

/// A picture; lengths in pixels, from the upper left corner.
#[derive(Clone, Debug)]
pub struct Svg {
    text: String,
}

/// A count of rows, to be multiplied by their height.
#[expect(clippy::cast_precision_loss, reason = "a count of rows")]
pub(super) fn lines(count: usize) -> f64 {
    count as f64
}

impl Svg {
    /// White, and nothing on it.
    pub fn new(width: f64, height: f64) -> Self {
        Self {
            text: format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
                 font-size=\"11\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
            ),
        }
    }

    /// A line of text on its base line.
    pub fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, color: &str, content: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let content = escaped(content);
        self.put(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{color}\">{content}</text>"
        ));
    }

    /// A straight line.
    pub fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), color: &str, width: f64) {
        self.put(format_args!(
            "<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\" stroke=\"{color}\" stroke-width=\"{width}\"/>"
        ));
    }

    /// A full circle.
    pub fn circle(&mut self, (x, y): (f64, f64), radius: f64, color: &str) {
        self.put(format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{color}\"/>"));
    }

    /// A full rectangle, from its upper left corner.
    pub fn rectangle(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), color: &str) {
        self.put(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{color}\"/>"
        ));
    }

    /// A full rectangle with white stripes over it: what is modelled, in whatever colour, without one too.
    pub fn hatched(&mut self, at: (f64, f64), size: (f64, f64), color: &str) {
        if !self.text.contains(HATCH) {
            self.put(format_args!("{HATCH}"));
        }
        self.rectangle(at, size, color);
        self.rectangle(at, size, "url(#hatch)");
    }

    /// All of it.
    pub fn finish(self) -> String {
        self.text + "</svg>\n"
    }

    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        writeln!(self.text, "{element}").unwrap_or_default();
    }
}

/// Text for XML: what others named brings no elements, and no characters that XML 1.0 does not have.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in printable(text).chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

/// The least of 1, 2 and 5 times a power of ten by which `most` has up to `steps` steps.
pub fn step(most: f64, steps: f64) -> f64 {
    let least = most / steps;
    if !(least.is_finite() && least > 0.0) {
        return 1.0;
    }
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|digit| digit * power).find(|step| *step >= least).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_others_named_is_text_and_nothing_else() {
        let mut svg = Svg::new(10.0, 10.0);
        svg.text((1.0, 2.0), Anchor::End, "black", "<script>&\u{7}");
        let text = svg.finish();
        assert!(text.contains(">&lt;script&gt;&amp;\u{fffd}</text>"), "{text}");
    }

    proptest! {
        #[test]
        fn steps_are_few_and_round(most in 1e-9_f64..1e12) {
            let steps = most / step(most, 5.0);
            prop_assert!((1.9..=5.0 + 1e-9).contains(&steps), "{steps}");
        }
    }
}
