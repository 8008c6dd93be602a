//! Whatever the text: no panic, places inside the text, and a plan exactly when there is no error.

use super::*;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const FILES: [&str; 3] = [
    include_str!("../../../config/tidegate.toml"),
    include_str!("../../../config/quickstart.toml"),
    include_str!("../../../config/tls-edge.toml"),
];

/// Pieces that parsers stumble over.
const PIECES: [&str; 20] = [
    "\"",
    "'''",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    "\n",
    "#",
    "${",
    "${X}",
    "ö",
    "\u{0}",
    "-1",
    "1e9",
    "99999999999999999999",
    "\"x\"",
];

fn holds(text: &str) -> Result<(), TestCaseError> {
    let checked = checked(text);
    let errors = checked.errors();
    prop_assert_eq!(checked.plan.is_none(), !errors.is_empty(), "{:?}", errors);
    for finding in &checked.findings {
        prop_assert!(text.get(finding.span.clone()).is_some(), "{:?}", finding);
    }
    let rendered = checked.findings.is_empty() || !checked.render(false).is_empty();
    prop_assert!(rendered);
    prop_assert_eq!(checked.json().as_array().map(Vec::len), Some(checked.findings.len()));
    Ok(())
}

fn boundary(text: &str, index: Index) -> usize {
    let mut at = index.index(text.len() + 1);
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_are_reported_and_never_panic(
        file in select(&FILES[..]),
        edits in proptest::collection::vec((any::<Index>(), 0usize..40, select(&PIECES[..])), 1..6),
    ) {
        let mut text = file.to_owned();
        for (at, length, piece) in edits {
            let start = boundary(&text, at);
            let mut end = (start + length).min(text.len());
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.replace_range(start..end, piece);
        }
        holds(&text)?;
    }

    #[test]
    fn lines_in_any_order_never_panic(file in select(&FILES[..]), order in any::<[Index; 40]>()) {
        let lines: Vec<&str> = file.lines().collect();
        let text: Vec<&str> = order.iter().map(|at| *at.get(&lines)).collect();
        holds(&text.join("\n"))?;
    }

    #[test]
    fn any_value_for_any_key_never_panics(
        line in any::<Index>(),
        value in select(vec![
            "\"\"", "0", "-1", "1.5", "nan", "true", "[]", "{}", "[[]]", "[{}]", "{ a = 1 }", "1979-05-27", "\"${X}\"", "\"0%\"",
            "\"0s\"", "\"/\"", "\"*\"", "\"a:1\"", "18446744073709551615", "\"999999h\"",
        ]),
    ) {
        let lines: Vec<&str> = FILES[0].lines().collect();
        let at = line.index(lines.len());
        let changed = match lines[at].trim_start_matches('#').split_once(" = ") {
            Some((key, _)) => format!("{key} = {value}"),
            None => lines[at].to_owned(),
        };
        let text = [&lines[..at], &[changed.as_str()], &lines[at + 1..]].concat().join("\n");
        holds(&text)?;
    }

    #[test]
    fn any_text_never_panics(text in "\\PC{0,200}") {
        holds(&text)?;
    }
}
