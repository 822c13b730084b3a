//! Draws the state. Whatever the size: what does not fit is left out.

pub mod areas;
mod curve;
mod details;
mod over;
mod processes;
mod status;
mod table;
mod theme;

use super::app::{App, Over};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use theme::Theme;

/// Draws all of it.
pub fn draw(app: &App, buffer: &mut Buffer) {
    let theme = Theme::new(app.abilities);
    let areas = app.areas();
    status::head(app, theme, buffer, areas.head);
    curve::chart(app, theme, buffer, areas.chart);
    if app.opened.is_some() {
        let table = areas.header.union(areas.rows);
        processes::draw(app, theme, buffer, table);
    } else {
        table::header(app, theme, buffer, areas.header);
        table::rows(app, theme, buffer, areas.rows);
    }
    details::draw(app, theme, buffer, areas.details);
    status::meters(app, theme, buffer, areas.meters);
    status::foot(app, theme, buffer, areas.foot);
    match app.over {
        Over::Nothing => {}
        Over::Help => over::help(app, theme, buffer),
        Over::Information => over::information(app, theme, buffer),
    }
}

/// Writes `text` from column `x` of row `y` of an area, as far as the area goes; gives the column behind it.
fn put(buffer: &mut Buffer, area: Rect, (x, y): (u16, u16), text: &str, style: Style) -> u16 {
    let area = area.intersection(buffer.area);
    if y >= area.height || x >= area.width {
        return x;
    }
    let room = usize::from(area.width - x);
    let (end, _) = buffer.set_stringn(area.x + x, area.y + y, text, room, style);
    end - area.x
}

/// The same, with its end at the area's right.
fn put_right(buffer: &mut Buffer, area: Rect, y: u16, text: &str, style: Style) {
    let columns = u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
    put(buffer, area, (area.width.saturating_sub(columns), y), text, style);
}

#[cfg(test)]
mod tests;
