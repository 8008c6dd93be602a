//! What a terminal of 80 columns shows: cut or wrapped to its width, and without what it would obey.

/// Columns of a table.
pub(super) const WIDTH: usize = 80;

/// Cut to a width, with `…` where something is missing.
pub(super) fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// Without what a terminal would obey: control characters, and those that turn the direction of writing.
pub(super) fn plain(text: &str) -> String {
    let turns = |char| matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|char| if char.is_control() || turns(char) { '?' } else { char }).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

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
