//! A picture as PNG, for where SVG cannot be shown: drawn from the SVG, with fonts that come with the program, so that it is the same
//! on every machine.
//!
//! The fonts are of the crate `epaint_default_fonts`: Ubuntu Light (Ubuntu Font Licence 1.0) for what has no fixed width, Hack (MIT, and
//! Bitstream Vera's licence) for what has. They hold Latin, Greek and Cyrillic letters; others are drawn as empty boxes.

use epaint_default_fonts::{HACK_REGULAR, UBUNTU_LIGHT};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::Database;
use resvg::usvg::{FallbackSelectionFn, FontResolver, Options, Tree};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Pixels for each pixel of the SVG: sharp on paper and on dense screens.
const SCALE: f32 = 2.0;

/// Pixels of a side at most: 64 MiB for one that is as wide as it is high.
const SIDE_MAX: u32 = 4096;

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum DrawError {
    /// It cannot be read as SVG.
    #[error("the picture cannot be drawn")]
    Svg(#[from] resvg::usvg::Error),
    /// Nothing to draw on, or more than 4096 pixels on a side.
    #[error("the picture would have {width} x {height} pixels; {SIDE_MAX} is the most for a side")]
    Size {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
    /// It cannot be packed.
    #[error("the picture cannot be written as PNG: {0}")]
    Png(String),
}

/// A picture, and how many letters of it are in no font.
#[derive(Clone, Debug)]
pub struct Drawn {
    /// PNG.
    pub png: Vec<u8>,
    /// Letters that are empty boxes in it.
    pub missing: usize,
}

/// Draws an SVG on white, twice as large.
pub fn of_svg(svg: &str) -> Result<Drawn, DrawError> {
    let missing = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&missing);
    // Asked for another font for a letter that the first has not.
    let select_fallback: FallbackSelectionFn<'_> = Box::new(move |_letter, _fonts, _database| {
        counted.fetch_add(1, Ordering::Relaxed);
        None
    });
    let font_resolver = FontResolver { select_font: FontResolver::default_font_selector(), select_fallback };
    let tree = Tree::from_str(svg, &Options { fontdb: fonts(), font_resolver, ..Options::default() })?;
    let (size, scale) = (tree.size().to_int_size(), Transform::from_scale(SCALE, SCALE));
    let (width, height) = (pixels(size.width()), pixels(size.height()));
    let none = DrawError::Size { width, height };
    if width.max(height) > SIDE_MAX {
        return Err(none);
    }
    let mut drawn = Pixmap::new(width, height).ok_or(none)?;
    drawn.fill(resvg::tiny_skia::Color::WHITE);
    resvg::render(&tree, scale, &mut drawn.as_mut());
    let png = drawn.encode_png().map_err(|error| DrawError::Png(error.to_string()))?;
    Ok(Drawn { png, missing: missing.load(Ordering::Relaxed) })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked against SIDE_MAX; saturates"
)]
#[expect(clippy::cast_precision_loss, reason = "a size that has few digits")]
fn pixels(of_svg: u32) -> u32 {
    (of_svg as f32 * SCALE).ceil() as u32
}

/// Ours, and none of the machine's.
fn fonts() -> Arc<Database> {
    let mut fonts = Database::new();
    let mut family = |font: &'static [u8]| {
        fonts.load_font_data(font.to_vec());
        let name = fonts.faces().last().and_then(|face| face.families.first());
        name.map(|(name, _)| name.clone()).unwrap_or_default()
    };
    let (sans, mono) = (family(UBUNTU_LIGHT), family(HACK_REGULAR));
    fonts.set_sans_serif_family(sans);
    fonts.set_monospace_family(mono);
    Arc::new(fonts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::svg::{Anchor, BLACK, BLUE, Svg};

    fn decoded(png: &[u8]) -> Pixmap {
        Pixmap::decode_png(png).unwrap()
    }

    fn dark(picture: &Pixmap) -> usize {
        picture.pixels().iter().filter(|pixel| pixel.red() < 128).count()
    }

    #[test]
    fn shapes_are_where_the_svg_has_them_and_text_is_drawn() {
        let mut svg = Svg::new(40.0, 20.0);
        svg.rectangle((0.0, 0.0), (20.0, 20.0), BLUE);
        let plain = decoded(&of_svg(&svg.clone().finish()).unwrap().png);
        assert_eq!((plain.width(), plain.height()), (80, 40));
        let (left, right) = (plain.pixel(10, 10).unwrap(), plain.pixel(70, 10).unwrap());
        assert_eq!((left.red(), left.green(), left.blue()), (0x00, 0x72, 0xb2));
        assert_eq!((right.red(), right.green(), right.blue(), right.alpha()), (255, 255, 255, 255));
        svg.text((22.0, 15.0), Anchor::Start, BLACK, "kWh");
        let labelled = decoded(&of_svg(&svg.finish()).unwrap().png);
        assert!(dark(&labelled) > dark(&plain) + 20, "{} of {}", dark(&labelled), dark(&plain));
    }

    #[test]
    fn text_of_a_fixed_width_has_one() {
        let line = |text: &str| {
            let svg = format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 100 20\">\
                 <text x=\"0\" y=\"15\" font-family=\"monospace\" font-size=\"10\">{text}</text></svg>"
            );
            let picture = decoded(&of_svg(&svg).unwrap().png);
            (0..picture.width())
                .rev()
                .find(|x| (0..picture.height()).any(|y| picture.pixel(*x, y).unwrap().red() < 200))
        };
        let (narrow, wide) = (line("iiii|").unwrap(), line("WWWW|").unwrap());
        assert!(narrow.abs_diff(wide) <= 1, "{narrow} {wide}");
    }

    #[test]
    fn what_others_named_draws_and_never_panics() {
        let mut svg = Svg::new(400.0, 60.0);
        for (at, name) in
            ["<img src=x>", "\u{202e}\u{5d0}\u{5d1} \u{627}\u{644}", "\u{4e2d}\u{1f600}\u{1b}[2J"]
                .iter()
                .enumerate()
        {
            svg.text((0.0, 15.0 + 15.0 * crate::report::svg::lines(at)), Anchor::Start, BLACK, name);
        }
        assert!(of_svg(&svg.finish()).unwrap().missing >= 2, "Chinese and a face");
    }

    #[test]
    fn what_is_no_svg_and_what_is_too_large_is_refused() {
        assert!(matches!(of_svg("nothing"), Err(DrawError::Svg(_))));
        assert!(matches!(of_svg(&Svg::new(9e9, 10.0).finish()), Err(DrawError::Size { .. })));
    }
}
