//! What a terminal of 80 columns shows: cut to its width, and without what it would obey.

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
