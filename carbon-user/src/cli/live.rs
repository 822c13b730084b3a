//! A text that is drawn over itself on a terminal, with plain control sequences (ECMA-48, DEC private modes).

use super::output::Layout;
use std::io::{self, Write};

/// The screen while a live view is on it: cursor hidden, long lines cut. Put back when dropped.
#[derive(Debug)]
pub struct Screen<W: Write> {
    out: W,
}

const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";
const CUT_LINES: &str = "\x1b[?7l";
const WRAP_LINES: &str = "\x1b[?7h";
const HOME: &str = "\x1b[H";
const CLEAR_BELOW: &str = "\x1b[J";
const CLEAR_LINE_END: &str = "\x1b[K";

impl<W: Write> Screen<W> {
    /// Takes the screen.
    pub fn open(mut out: W) -> io::Result<Self> {
        write!(out, "{HIDE_CURSOR}{CUT_LINES}{HOME}{CLEAR_BELOW}")?;
        out.flush()?;
        Ok(Self { out })
    }

    /// Draws `text` from the top, as much of it as the rows of `layout` hold. One write, so that nothing
    /// flickers; each line is cleared behind its new text and never before.
    pub fn draw(&mut self, text: &str, layout: Layout) -> io::Result<()> {
        // The last row stays empty, so that the final newline does not scroll.
        let rows = layout.rows.map_or(usize::MAX, |rows| usize::from(rows.saturating_sub(1)));
        let mut frame = String::with_capacity(text.len() + 512);
        frame.push_str(HOME);
        for line in text.lines().take(rows) {
            frame.push_str(line);
            frame.push_str(CLEAR_LINE_END);
            frame.push_str("\r\n");
        }
        frame.push_str(CLEAR_BELOW);
        self.out.write_all(frame.as_bytes())?;
        self.out.flush()
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        // The terminal may be gone; then there is nothing to put back.
        drop(write!(self.out, "{WRAP_LINES}{SHOW_CURSOR}"));
        drop(self.out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(text: &str, rows: Option<u16>) -> String {
        let mut out = Vec::new();
        let mut screen = Screen::open(&mut out).unwrap();
        screen.draw(text, Layout { columns: None, rows, colours: false }).unwrap();
        drop(screen);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_screen_is_put_back() {
        let text = drawn("a\nb\n", None);
        assert!(text.starts_with("\x1b[?25l\x1b[?7l"));
        assert!(text.contains("\x1b[Ha\x1b[K\r\nb\x1b[K\r\n\x1b[J"));
        assert!(text.ends_with("\x1b[?7h\x1b[?25h"));
    }

    #[test]
    fn no_more_rows_than_fit() {
        let text = drawn("a\nb\nc\nd\n", Some(3));
        assert!(text.contains("b\x1b[K") && !text.contains('c'));
    }
}
