//! What a terminal of 80 columns shows: cut or wrapped to its width, and without what it would obey.

use crate::control::words::is_unfit;
use ratatui::crossterm::terminal::window_size;
use std::io::{self, IsTerminal};

/// Columns of a table.
pub(super) const WIDTH: usize = 80;

/// Columns that a name takes at most, wherever it is shown: a longer one is no name, and no line can be that wide.
pub(super) const WIDEST: usize = 1_000;

/// Columns that whoever reads standard output has: those of the terminal; no end where it is none, so that nothing is
/// cut there.
pub(super) fn columns() -> usize {
    if !io::stdout().is_terminal() {
        return usize::MAX;
    }
    // A terminal that does not say how wide it is says 0.
    window_size().ok().map(|size| usize::from(size.columns)).filter(|columns| *columns > 0).unwrap_or(WIDTH)
}

/// Cut to a width, with `…` where something is missing.
pub(super) fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// Cut to a width in the middle, with `…` there: what tells names apart stands at their ends.
pub(super) fn fit_middle(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    let kept = width.saturating_sub(1);
    let (head, tail) = (kept / 2, kept - kept / 2);
    text.chars().take(head).chain(['…']).chain(text.chars().skip(count - tail)).collect()
}

/// Columns for names that have `least` on a screen of [`WIDTH`]: as many as the widest takes, as far as `spare` goes.
pub(super) fn column<'a>(names: impl Iterator<Item = &'a str>, least: usize, spare: usize) -> usize {
    let widest = names.map(|name| plain(name).chars().count()).max().unwrap_or_default();
    widest.clamp(least, least.saturating_add(spare).min(WIDEST))
}

/// Without what a terminal would obey: control characters, and those that turn the direction of writing.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|char| if is_unfit(char) { '?' } else { char }).collect()
}

/// The lines of a text, each wrapped to [`WIDTH`] between words behind its `mark`, its further lines behind as many
/// spaces. Sentences that say what is wrong are not cut: what matters may stand at their end.
pub(super) fn wrapped(text: &str, mark: &str) -> Vec<String> {
    let room = WIDTH - mark.chars().count();
    let indent = " ".repeat(mark.chars().count());
    let pieces = text.lines().flat_map(|line| fold(&plain(line), room));
    let prefix = |at| if at == 0 { mark } else { &indent };
    pieces.enumerate().map(|(at, piece)| format!("{}{piece}", prefix(at))).collect()
}

/// One line in pieces of at most `room` columns; a word that is longer is broken.
fn fold(line: &str, room: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut used = 0;
    for word in line.split_whitespace() {
        let characters: Vec<char> = word.chars().collect();
        for (part, characters) in characters.chunks(room).enumerate() {
            let space = usize::from(used > 0 && part == 0);
            if used + space + characters.len() > room {
                pieces.push(String::new());
                used = 0;
            }
            // There is always one: it began with one.
            let Some(piece) = pieces.last_mut() else { continue };
            if used > 0 && part == 0 {
                piece.push(' ');
                used += 1;
            }
            piece.extend(characters);
            used += characters.len();
        }
    }
    pieces
}

/// The two largest units of a time.
pub(super) fn span(seconds: f64) -> String {
    // A negative or absurd number saturates.
    let seconds = seconds as u64;
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// A time in at most six columns: 4.2ms, 120ms, 1.3s.
pub(super) fn time(seconds: f64) -> String {
    match seconds * 1e3 {
        ms if ms < 9.95 => format!("{ms:.1}ms"),
        ms if ms < 999.5 => format!("{ms:.0}ms"),
        ms if ms < 99_950.0 => format!("{:.1}s", ms / 1e3),
        ms => format!("{:.0}s", ms / 1e3),
    }
}

/// A latency, with `≥` where only an edge of it is known; `-` where nothing is.
pub(super) fn latency(seconds: Option<f64>, at_least: bool) -> String {
    match (seconds, at_least) {
        (None, _) => "-".to_owned(),
        (Some(seconds), true) => format!("≥{seconds}s"),
        (Some(seconds), false) => time(seconds),
    }
}

/// Seconds in a sentence: 9.8 s, 42 s, 3m 20s.
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        few if few < 9.95 => format!("{few:.1} s"),
        some if some < 120.0 => format!("{some:.0} s"),
        many => span(many),
    }
}

/// A number in a sentence: without a fraction unless it is small.
pub(super) fn number(number: f64) -> String {
    if number < 9.95 && number.fract().abs() > 0.04 { format!("{number:.1}") } else { format!("{number:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_too_long_keeps_both_its_ends() {
        assert_eq!(fit_middle("orders-eu-west-1.internal:8080", 15), "orders-…al:8080");
        assert_eq!(fit_middle("orders", 6), "orders");
        assert_eq!(fit_middle("orders", 1), "…");
    }

    #[test]
    fn an_edge_is_not_taken_for_a_latency() {
        assert_eq!(latency(Some(10.0), true), "≥10s");
        assert_eq!(latency(Some(2.5), true), "≥2.5s");
        assert_eq!(latency(Some(0.0123), false), "12ms");
        assert_eq!(latency(None, false), "-");
    }

    #[test]
    fn a_sentence_is_wrapped_between_words_and_nothing_of_it_is_lost() {
        let sentence =
            format!("the file is refused: {}\nand \u{1b}[31mred", "line 7: what is this? ".repeat(9));
        let lines = wrapped(&sentence, "! ");
        assert!(lines.len() > 3 && lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:#?}");
        assert!(lines[0].starts_with("! the file") && lines[1].starts_with("  "), "{lines:#?}");
        assert_eq!(lines.last().map(String::as_str), Some("  and ?[31mred"));
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&lines.join(" ")[2..]), words(&sentence.replace('\u{1b}', "?")));
    }

    #[test]
    fn a_word_without_an_end_is_broken() {
        let lines = wrapped(&"x".repeat(200), "! ");
        assert_eq!(lines.iter().map(|line| line.len()).collect::<Vec<_>>(), [80, 80, 46]);
    }
}
