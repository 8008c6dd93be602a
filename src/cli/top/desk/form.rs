//! A line that is typed: bounded, without control characters.

/// As long as a reason may be.
const MOST: usize = 200;

/// A line that is typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::cli::top) struct Typed(String);

impl Typed {
    /// What is there.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// One more character at the end.
    pub fn add(&mut self, char: char) {
        if !char.is_control() && self.0.chars().count() < MOST {
            self.0.push(char);
        }
    }

    /// Pasted text; its lines become one.
    pub fn paste(&mut self, text: &str) {
        text.chars().map(|char| if char == '\n' { ' ' } else { char }).for_each(|char| self.add(char));
    }

    /// Takes the last character away.
    pub fn erase(&mut self) {
        self.0.pop();
    }

    /// Takes everything away.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_an_end_and_holds_no_commands() {
        let mut typed = Typed::default();
        typed.paste("cold\ncaches\u{1b}[31m");
        assert_eq!(typed.text(), "cold caches[31m");
        typed.paste(&"x".repeat(1_000));
        assert_eq!(typed.text().chars().count(), MOST);
        typed.erase();
        assert_eq!(typed.text().chars().count(), MOST - 1);
        typed.clear();
        assert_eq!(typed.text(), "");
    }
}
