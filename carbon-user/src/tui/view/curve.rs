//! Power over time: one sign a window in the table, and a few rows of them for the machine.

use super::put;
use super::theme::Theme;
use crate::tui::app::App;
use crate::tui::figures::number;
use crate::tui::history::WINDOWS;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// From low to high. Zero and what is not known have signs of their own.
const LEVELS: [char; 8] =
    ['\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}', '\u{2587}', '\u{2588}'];
const LEVELS_ASCII: [char; 8] = ['.', ':', '-', '=', '+', '*', '%', '#'];
const ZERO: char = '_';
const MISSING: (char, char) = ('\u{b7}', '?');

/// The newest `width` values, the newest at the right, against the highest of them.
pub(super) fn curve(values: &[Option<f64>], width: usize, unicode: bool) -> String {
    let newest = values.get(values.len().saturating_sub(width)..).unwrap_or_default();
    let most = newest.iter().flatten().copied().fold(0.0, f64::max);
    let mut text = " ".repeat(width - newest.len());
    text.extend(newest.iter().map(|value| sign(*value, most, unicode)));
    text
}

fn sign(value: Option<f64>, most: f64, unicode: bool) -> char {
    let levels = if unicode { LEVELS } else { LEVELS_ASCII };
    match value {
        None => {
            if unicode {
                MISSING.0
            } else {
                MISSING.1
            }
        }
        Some(value) if value > 0.0 => {
            level(value / most, levels.len()).map_or(ZERO, |level| levels.get(level).copied().unwrap_or(ZERO))
        }
        Some(_) => ZERO,
    }
}

/// Which of `count` levels, from 0; the lowest for anything above zero.
fn level(ratio: f64, count: usize) -> Option<usize> {
    (1..=count).find(|step| ratio <= part(*step, count)).or(Some(count)).map(|step| step - 1)
}

#[expect(clippy::cast_precision_loss, reason = "small whole numbers")]
fn part(step: usize, count: usize) -> f64 {
    step as f64 / count as f64
}

/// The machine's power over the last windows.
pub(super) fn chart(app: &App, theme: Theme, buffer: &mut Buffer, area: Rect) {
    if area.height < 2 {
        return;
    }
    let history = &app.seen().history;
    let values: Vec<Option<f64>> = history.watts.iter().copied().collect();
    let width = usize::from(area.width).min(WINDOWS);
    let newest = values.get(values.len().saturating_sub(width)..).unwrap_or_default();
    let most = newest.iter().flatten().copied().fold(0.0, f64::max);
    let quality = app.seen().history.last.as_ref().and_then(|update| update.top.domains.first());
    let quality = quality.map(|domain| domain.quality);
    let title =
        format!("machine, W: 0 to {} over the last {} windows", number(most, quality, 3), newest.len());
    put(buffer, area, (0, 0), &title, theme.dim());
    let bars = usize::from(area.height - 1);
    let steps = bars * LEVELS.len();
    let levels = if theme.unicode { LEVELS } else { LEVELS_ASCII };
    for (column, value) in (0_u16..).zip(newest) {
        let height = match value {
            None => {
                let sign = if theme.unicode { MISSING.0 } else { MISSING.1 };
                put(buffer, area, (column, area.height - 1), sign.encode_utf8(&mut [0; 4]), theme.dim());
                continue;
            }
            Some(value) if *value > 0.0 => level(value / most, steps).map_or(0, |level| level + 1),
            Some(_) => {
                put(buffer, area, (column, area.height - 1), "_", theme.dim());
                continue;
            }
        };
        for bar in 0..bars {
            let filled = height.saturating_sub(bar * LEVELS.len()).min(LEVELS.len());
            let Some(sign) = filled.checked_sub(1).and_then(|level| levels.get(level)) else { break };
            let row = area.height - 1 - u16::try_from(bar).unwrap_or(0);
            put(buffer, area, (column, row), sign.encode_utf8(&mut [0; 4]), theme.curve());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_little_and_unknown_look_different() {
        let values = [Some(0.0), Some(0.001), None, Some(4.0), Some(8.0)];
        assert_eq!(curve(&values, 7, true), "  _\u{2581}\u{b7}\u{2584}\u{2588}");
        assert_eq!(curve(&values, 3, false), "?=#");
        assert_eq!(curve(&[], 2, true), "  ");
    }
}
