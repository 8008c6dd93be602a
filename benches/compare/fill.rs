//! Fills a committed configuration: `@name@` becomes a value, and the lines between `@each@` and `@end@` come once
//! for each of so many numbers, which `@n@` is. A name without a value is an error, so that nothing is measured
//! with a hole in its settings.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What the names of a template stand for, and how often its repeated lines come.
#[derive(Debug, Clone, Default)]
pub struct Values {
    names: BTreeMap<String, String>,
    /// How often the lines between `@each@` and `@end@` come.
    pub repeat: usize,
}

impl Values {
    /// Gives a name its value.
    pub fn set(&mut self, name: &str, value: impl ToString) -> &mut Self {
        self.names.insert(name.to_owned(), value.to_string());
        self
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.names.get(name).map(String::as_str)
    }
}

/// The template with everything filled in.
pub fn fill(template: &str, values: &Values) -> Result<String> {
    let mut text = String::with_capacity(template.len());
    let mut lines = template.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "@each@" {
            line_of(&mut text, line, values, None)?;
            continue;
        }
        let block: Vec<_> = lines.by_ref().take_while(|line| line.trim() != "@end@").collect();
        for n in 0..values.repeat {
            for line in &block {
                line_of(&mut text, line, values, Some(n))?;
            }
        }
    }
    Ok(text)
}

fn line_of(text: &mut String, line: &str, values: &Values, n: Option<usize>) -> Result<()> {
    let mut rest = line;
    while let Some((before, name, after)) = name_in(rest) {
        text.push_str(before);
        match (name, n) {
            ("n", Some(n)) => write!(text, "{n}")?,
            ("each" | "end", _) => bail!("@{name}@ stands alone on its line"),
            _ => text.push_str(values.get(name).with_context(|| format!("no value for @{name}@"))?),
        }
        rest = after;
    }
    text.push_str(rest);
    text.push('\n');
    Ok(())
}

/// The first name, with what stands before and after it. A lone `@` (as in `"@type"`) is none.
fn name_in(line: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    loop {
        let start = from + line[from..].find('@')?;
        let rest = &line[start + 1..];
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit() && c != '_')?;
        if end > 0 && rest[end..].starts_with('@') {
            return Some((&line[..start], &rest[..end], &rest[end + 1..]));
        }
        from = start + 1;
    }
}

#[cfg(test)]
#[allow(unused_imports, dead_code, reason = "a bench has no harness: tests/compare.rs runs them")]
mod tests {
    use super::*;

    fn values(repeat: usize) -> Values {
        let mut values = Values { repeat, ..Values::default() };
        values.set("port", 8080).set("folder", "/tmp/a");
        values
    }

    #[test]
    fn names_become_values_and_lone_ats_stay() {
        let text = fill("listen @port@; in @folder@/@port@\n\"@type\": x@y\n@names of things@\n", &values(0));
        let expected = "listen 8080; in /tmp/a/8080\n\"@type\": x@y\n@names of things@\n";
        assert_eq!(text.expect("filled"), expected);
    }

    #[test]
    fn a_block_comes_as_often_as_it_is_wanted() {
        let template = "a\n  @each@\n  route @n@ @port@\n  @end@\nz\n";
        assert_eq!(fill(template, &values(0)).expect("filled"), "a\nz\n");
        assert_eq!(fill(template, &values(2)).expect("filled"), "a\n  route 0 8080\n  route 1 8080\nz\n");
    }

    #[test]
    fn a_hole_in_the_settings_is_an_error() {
        assert!(fill("listen @prot@\n", &values(0)).expect_err("unknown").to_string().contains("@prot@"));
        assert!(fill("route @n@\n", &values(0)).is_err());
    }
}
