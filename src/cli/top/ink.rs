//! What is written with: cells cut to their width, bars, small charts of the past, and styles.
//!
//! Everything is legible without colours, which `NO_COLOR` takes away, and in plain ASCII where the locale knows
//! no more. Widths are those of a terminal: a wide character takes two columns and is never cut in half.

pub(super) use crate::cli::table::time;
use crate::cli::table::{latency, plain};
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;
use serde_json::Value;

/// What a terminal can show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ink {
    /// Colours may be used.
    pub colours: bool,
    /// Characters beyond ASCII may be used.
    pub unicode: bool,
}

/// To which side a cell keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

impl Ink {
    /// As the environment says.
    pub fn of_environment() -> Ink {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| set(name)).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        Ink {
            colours: set("NO_COLOR").is_none(),
            unicode: locale.contains("utf-8") || locale.contains("utf8"),
        }
    }

    fn coloured(self, style: Style, colour: Color) -> Style {
        if self.colours { style.fg(colour) } else { style }
    }

    /// Trouble.
    pub fn bad(self) -> Style {
        self.coloured(Style::new().add_modifier(Modifier::BOLD), Color::Red)
    }

    /// What should be looked at.
    pub fn warning(self) -> Style {
        self.coloured(Style::new().add_modifier(Modifier::BOLD), Color::Yellow)
    }

    /// All is well.
    pub fn good(self) -> Style {
        self.coloured(Style::new(), Color::Green)
    }

    /// Less important, or old.
    pub fn faint(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Headings.
    pub fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// What is chosen.
    pub fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// How full something is, in `width` columns; `part` is 0 to 1.
    pub fn bar(self, part: f64, width: u16) -> String {
        let (full, empty) = if self.unicode { ('█', '░') } else { ('#', '.') };
        let filled = (part.clamp(0.0, 1.0) * f64::from(width)).ceil() as u16;
        (0..width).map(|at| if at < filled { full } else { empty }).collect()
    }

    /// The last `width` values, the newest to the right, against `most` or the largest of them; a gap where nothing
    /// is known.
    pub fn spark(self, values: &[Option<f64>], width: usize, most: Option<f64>) -> String {
        const FINE: [char; 9] = ['▁', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        const COARSE: [char; 9] = ['_', '_', '.', '-', '-', '=', '=', '#', '#'];
        let levels = if self.unicode { FINE } else { COARSE };
        let shown = &values[values.len().saturating_sub(width)..];
        let largest = shown.iter().flatten().copied().fold(0.0, f64::max);
        let top = most.unwrap_or(largest).max(largest).max(f64::MIN_POSITIVE);
        let level = |value: &f64| levels[((value / top * 8.0).ceil() as usize).min(8)];
        let drawn: String = shown.iter().map(|value| value.as_ref().map_or(' ', level)).collect();
        format!("{drawn:>width$}")
    }

    /// A latency, or the edge that it is beyond.
    pub fn latency(self, seconds: Option<f64>, at_least: bool) -> String {
        let text = latency(seconds, at_least);
        if self.unicode { text } else { text.replace('≥', ">") }
    }

    /// Stands where something was cut off.
    fn more(self) -> &'static str {
        if self.unicode { "…" } else { "~" }
    }

    /// Writes a text into one row of `area`, cut to its width.
    pub fn put(self, buffer: &mut Buffer, area: Rect, text: &str, style: Style) {
        self.put_to(buffer, area, text, style, Side::Left);
    }

    /// The same, to one side.
    pub fn put_to(self, buffer: &mut Buffer, area: Rect, text: &str, style: Style, side: Side) {
        let area = area.intersection(buffer.area);
        if area.is_empty() {
            return;
        }
        let wanted = width(text);
        let room = usize::from(area.width);
        let start = match side {
            Side::Right if wanted < room => area.right() - wanted as u16,
            _ => area.x,
        };
        if wanted <= room {
            buffer.set_stringn(start, area.y, text, room, style);
            return;
        }
        let (end, _) = buffer.set_stringn(area.x, area.y, text, room - 1, style);
        buffer.set_stringn(end, area.y, self.more(), 1, style);
    }
}

/// What is left of an area under its first rows.
pub(super) fn below(area: Rect, rows: u16) -> Rect {
    let rows = rows.min(area.height);
    Rect { y: area.y + rows, height: area.height - rows, ..area }
}

/// The first rows of an area.
pub(super) fn first(area: Rect, rows: u16) -> Rect {
    Rect { height: rows.min(area.height), ..area }
}

/// Columns that a text takes on a terminal.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// A text in lines of at most `room` columns, broken between words, or inside of one that is longer than a line.
pub(super) fn wrap(text: &str, room: usize) -> Vec<String> {
    let room = room.max(2);
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let (mut line, mut used) = (String::new(), 0);
        for word in paragraph.split_whitespace() {
            if used > 0 && used + 1 + width(word) > room {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            for char in word.chars() {
                let wide = width(char.encode_utf8(&mut [0; 4]));
                if used + wide > room {
                    lines.push(std::mem::take(&mut line));
                    used = 0;
                }
                line.push(char);
                used += wide;
            }
        }
        lines.push(line);
    }
    lines
}

/// What the network said, without what a terminal would obey, all the way down; lines stay lines.
pub(super) fn cleaned(value: Value) -> Value {
    let text = |text: String| match text.chars().any(|char| !char.is_ascii() || char.is_control()) {
        true => text.split('\n').map(plain).collect::<Vec<_>>().join("\n"),
        false => text,
    };
    match value {
        Value::String(said) => Value::String(text(said)),
        Value::Array(items) => items.into_iter().map(cleaned).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (text(name), cleaned(value))).collect()
        }
        other => other,
    }
}

/// A number in at most five columns: 7, 7.5, 12k, 3M.
pub(super) fn short(number: f64) -> String {
    match number {
        small if small < 9.95 && small.fract().abs() > 0.04 => format!("{small:.1}"),
        small if small < 9_999.5 => format!("{small:.0}"),
        large if large < 999_500.0 => format!("{:.0}k", large / 1e3),
        huge => format!("{:.0}M", huge / 1e6),
    }
}

/// 25%, 2.5%.
pub(super) fn percent(percent: f64) -> String {
    format!("{}%", (percent * 10.0).round() / 10.0)
}

/// A drawing as text, without the spaces at the ends of its lines.
pub(super) fn text(buffer: &Buffer) -> String {
    let wide = usize::from(buffer.area.width).max(1);
    let row = |cells: &[Cell]| {
        let mut line = String::new();
        let mut hidden = 0;
        for cell in cells {
            match hidden {
                0 => line.push_str(cell.symbol()),
                _ => hidden -= 1,
            }
            hidden = hidden.max(width(cell.symbol()).saturating_sub(1));
        }
        line.trim_end().to_owned() + "\n"
    };
    buffer.content.chunks(wide).map(row).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What tests are drawn with.
    pub const PLAIN: Ink = Ink { colours: false, unicode: true };

    fn put(text_: &str, columns: u16, side: Side) -> String {
        let mut buffer = Buffer::empty(Rect::new(0, 0, columns + 1, 1));
        PLAIN.put_to(&mut buffer, Rect::new(0, 0, columns, 1), text_, Style::new(), side);
        text(&buffer).trim_end().to_owned()
    }

    #[test]
    fn a_cell_is_cut_where_its_width_ends_and_never_inside_a_wide_character() {
        assert_eq!(put("orders", 6, Side::Left), "orders");
        assert_eq!(put("orders-eu", 6, Side::Left), "order…");
        assert_eq!(put("12", 6, Side::Right), "    12");
        assert_eq!(put("注文サービス", 6, Side::Left), "注文…", "two columns each");
        assert_eq!(put("x", 0, Side::Left), "");
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_left_in_what_the_network_said() {
        let said =
            serde_json::json!({"a\u{1b}]0;x\u{7}": ["\u{9b}31m", {"b": "one\ntwo\r\u{202e}"}], "n": 1});
        let clean = cleaned(said).to_string();
        let clean: Value = serde_json::from_str(&clean).expect("still JSON");
        assert_eq!(clean, serde_json::json!({"a?]0;x?": ["?31m", {"b": "one\ntwo??"}], "n": 1}));
    }

    #[test]
    fn the_past_is_drawn_against_its_largest_value_and_gaps_stay_gaps() {
        let values = [Some(0.0), None, Some(5.0), Some(10.0)];
        assert_eq!(PLAIN.spark(&values, 6, None), "  ▁ ▄█");
        assert_eq!(PLAIN.spark(&values, 2, Some(20.0)), "▂▄");
        assert_eq!(PLAIN.spark(&[], 3, None), "   ");
        assert_eq!(Ink { unicode: false, ..PLAIN }.spark(&values, 4, None), "_ -#");
        assert_eq!(
            (PLAIN.bar(0.5, 4), PLAIN.bar(f64::NAN, 2), PLAIN.bar(9.0, 2)),
            ("██░░".into(), "░░".into(), "██".into())
        );
    }

    #[test]
    fn sentences_are_wrapped_between_words_and_nothing_is_lost() {
        assert_eq!(wrap("the glass was broken", 10), ["the glass", "was broken"]);
        assert_eq!(wrap("abcdefgh ij\n\nk", 4), ["abcd", "efgh", "ij", "", "k"]);
        assert_eq!(wrap("注文サ", 4), ["注文", "サ"]);
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 0.25, 7.0, 12.4, 9_999.0, 12_345.0, 3.2e6].map(short);
        assert_eq!(shown, ["0", "0.2", "7", "12", "9999", "12k", "3M"]);
        assert_eq!([0.0042, 0.12, 1.34, 250.0].map(time), ["4.2ms", "120ms", "1.3s", "250s"]);
    }
}
