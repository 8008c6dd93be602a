//! Why somebody did something, in their words: others read it in lists, logs, notifications and terminals, so it is a
//! line of bounded length that can neither steer what shows it nor read otherwise than it is written.

/// The longest reason that is taken, in characters.
pub const MAX_REASON: usize = 500;

/// Everything that turns the direction of writing, or steers a terminal.
pub fn is_unfit(char: char) -> bool {
    char.is_control() || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a reason is a line that may be shown as it is.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub fn check_reason(reason: &str) -> Result<(), String> {
    if let Some(unfit) = reason.chars().find(|char| is_unfit(*char)) {
        let code = u32::from(unfit);
        return Err(format!(
            "The reason is one line, without control characters and without marks that turn the direction of \
             writing: it has U+{code:04X}."
        ));
    }
    match reason.chars().count() {
        count if count > MAX_REASON => {
            Err(format!("The reason is a line of at most {MAX_REASON} characters: it has {count}."))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_line_that_reads_as_it_is_written() {
        for fit in ["", "cold caches", "größer; 50 % – נסיון", &"ü".repeat(MAX_REASON)] {
            assert_eq!(check_reason(fit), Ok(()));
        }
        for (unfit, code) in [
            ("a\nb", "U+000A"),
            ("\u{1b}[31m", "U+001B"),
            ("by kim\u{202e}mik yb", "U+202E"),
            ("\u{2066}x", "U+2066"),
        ] {
            let why = check_reason(unfit).expect_err("it is refused");
            assert!(why.contains("control characters") && why.contains(code), "{why}");
            assert!(!why.contains(unfit) && !why.contains("at most"), "{why}");
        }
        let why = check_reason(&"x".repeat(501)).expect_err("it is too long");
        assert!(why.contains("at most 500 characters: it has 501"), "{why}");
    }
}
