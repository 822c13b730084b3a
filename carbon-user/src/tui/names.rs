//! Names that others gave, made safe for a line of a terminal.

use crate::report::figures::printable;
use unicode_width::UnicodeWidthChar;

/// Characters of a name that are kept: more than any line shows, and little enough to search and to draw.
pub const CHARACTERS_MAX: usize = 256;
/// Characters without width of their own, such as accents, that may stand one behind the other.
const MARKS_MAX: usize = 2;
/// Says that what follows is read from left to right, without being seen (Unicode's LEFT-TO-RIGHT MARK).
pub const LEFT_TO_RIGHT: char = '\u{200e}';

/// `text` without what could move the cursor, change colours or turn the line, and not without end.
pub fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(4 * CHARACTERS_MAX));
    let mut marks = 0;
    let mut kept = 0;
    for char in text.chars() {
        if kept == CHARACTERS_MAX {
            out.push('\u{2026}');
            break;
        }
        marks = if char.width() == Some(0) { marks + 1 } else { 0 };
        if marks <= MARKS_MAX {
            out.push(char);
            kept += 1;
        }
    }
    printable(&out)
}

/// Whether the text holds letters of a script that is written from right to left: behind them a terminal may put the
/// numbers of the line in another order, unless [`LEFT_TO_RIGHT`] stands between. The blocks are those with
/// `Bidi_Class` R or AL by default (Unicode, `DerivedBidiClass.txt`).
pub fn turns(text: &str) -> bool {
    text.chars().any(|char| {
        matches!(char,
            '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{feff}'
            | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
    })
}

/// What fits in `width` columns; where it is cut, the end says so.
pub fn cut(text: &str, width: usize, unicode: bool) -> String {
    let whole = text.chars().map(|char| char.width().unwrap_or(0)).sum::<usize>();
    if whole <= width {
        return text.to_owned();
    }
    let Some(room) = width.checked_sub(1) else { return String::new() };
    let mut out = String::new();
    let mut used = 0;
    for char in text.chars() {
        let columns = char.width().unwrap_or(0);
        if used + columns > room {
            break;
        }
        used += columns;
        out.push(char);
    }
    out.push(if unicode { '\u{2026}' } else { '~' });
    out
}

/// As [`cut`], but in the middle: names of one kind often differ in their ends.
pub fn cut_middle(text: &str, width: usize, unicode: bool) -> String {
    let columns = |text: &str| text.chars().map(|char| char.width().unwrap_or(0)).sum::<usize>();
    if columns(text) <= width || width < 8 {
        return cut(text, width, unicode);
    }
    let begin = cut(text, width - width / 2, unicode);
    let room = width - columns(&begin);
    let mut end: Vec<char> = Vec::new();
    let mut used = 0;
    for char in text.chars().rev() {
        used += char.width().unwrap_or(0);
        if used > room {
            break;
        }
        end.push(char);
    }
    begin + &end.into_iter().rev().collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_others_wrote_does_nothing_to_the_terminal() {
        assert_eq!(safe("a\x1b[31mb\x07\n"), "a\u{fffd}[31mb\u{fffd}\u{fffd}");
        assert_eq!(safe("\u{202e}gpj.exe\u{2066}"), "\u{fffd}gpj.exe\u{fffd}");
        assert_eq!(safe("<script>&amp;"), "<script>&amp;");
        assert_eq!(safe(&format!("e{}x", "\u{301}".repeat(1000))), "e\u{301}\u{301}x");
        assert_eq!(safe(&"x".repeat(4096)).chars().count(), CHARACTERS_MAX + 1);
    }

    #[test]
    fn scripts_from_right_to_left_are_known() {
        assert!(
            turns("web \u{5e9}\u{5dc}\u{5d5}\u{5dd}") && turns("\u{645}") && !turns("web \u{e9} \u{4e2d}")
        );
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!(cut("abcdef", 6, true), "abcdef");
        assert_eq!(cut("abcdef", 4, true), "abc\u{2026}");
        assert_eq!(cut("abcdef", 4, false), "abc~");
        assert_eq!(cut("\u{4e2d}\u{4e2d}\u{4e2d}", 4, true), "\u{4e2d}\u{2026}");
        assert_eq!(cut("abc", 0, true), "");
        assert_eq!(cut_middle("shop/cart-7d9f / redis", 18, true), "shop/car\u{2026}f / redis");
        assert_eq!(cut_middle("abcdefghij", 10, true), "abcdefghij");
        assert_eq!(cut_middle("abcdefghij", 4, true), "abc\u{2026}");
    }

    proptest! {
        #[test]
        fn no_control_character_is_left(text: String, width in 0_usize..300) {
            let safe = safe(&text);
            prop_assert!(!safe.chars().any(char::is_control));
            let columns: usize = cut(&safe, width, true).chars().map(|char| char.width().unwrap_or(0)).sum();
            prop_assert!(columns <= width);
            let middle = cut_middle(&safe, width, true);
            prop_assert!(middle.chars().map(|char| char.width().unwrap_or(0)).sum::<usize>() <= width);
        }
    }
}
