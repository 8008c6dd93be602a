//! A table: the first column takes what the others leave, rows scroll so that the chosen one is seen.

use super::ink::{Ink, Side, below, first};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// One column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// Above it.
    pub title: &'static str,
    /// In columns of the terminal; of the first one, the least.
    pub width: u16,
    /// Numbers keep to the right.
    pub side: Side,
}

/// A text with its style.
pub(super) type Cell = (String, Style);

/// One row.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    /// A cell for each column.
    pub cells: Vec<Cell>,
    /// Stands before it where something is wrong, for terminals without colours.
    pub marked: bool,
}

/// A column of words.
pub(super) const fn words(title: &'static str, width: u16) -> Column {
    Column { title, width, side: Side::Left }
}

/// A column of numbers.
pub(super) const fn numbers(title: &'static str, width: u16) -> Column {
    Column { title, width, side: Side::Right }
}

/// Draws a table with its titles; `chosen` is reversed and kept in sight.
pub(super) fn draw(
    ink: Ink,
    buffer: &mut Buffer,
    area: Rect,
    columns: &[Column],
    lines: &[Line],
    chosen: Option<usize>,
) {
    let titles = columns.iter().map(|column| (column.title.to_owned(), ink.faint())).collect();
    row(ink, buffer, first(area, 1), columns, &Line { cells: titles, marked: false });
    let body = below(area, 1);
    let height = usize::from(body.height);
    let skip = chosen.map_or(0, |chosen| (chosen + 1).saturating_sub(height.max(1)));
    for (place, (line, at)) in lines.iter().skip(skip).zip(body.rows()).enumerate() {
        row(ink, buffer, at, columns, line);
        if chosen == Some(place + skip) {
            buffer.set_style(at, ink.chosen());
        }
    }
    let unseen = lines.len().saturating_sub(skip + height);
    if unseen > 0 && height > 1 {
        let note = format!(" {unseen} more ");
        let last = Rect { y: body.bottom() - 1, height: 1, ..body };
        ink.put_to(buffer, last, &note, ink.faint(), Side::Right);
    }
}

fn row(ink: Ink, buffer: &mut Buffer, area: Rect, columns: &[Column], line: &Line) {
    let others: u16 = columns.iter().skip(1).map(|column| column.width + 1).sum();
    if line.marked {
        ink.put(buffer, Rect { width: 1.min(area.width), ..area }, "!", ink.bad());
    }
    let mut x = area.x + 1;
    for (nth, (column, (text, style))) in columns.iter().zip(&line.cells).enumerate() {
        let wide = match nth {
            0 => area.width.saturating_sub(others + 1).max(column.width),
            _ => column.width,
        };
        let room = area.right().saturating_sub(x).min(wide);
        ink.put_to(buffer, Rect { x, width: room, height: 1, ..area }, text, *style, column.side);
        x = x.saturating_add(wide + 1);
    }
}
