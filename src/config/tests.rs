//! The room's promises, on whole files.

mod auth;
mod tokens;
mod defaults;
mod mistakes;
mod properties;
mod reference;
mod secrets;
mod sinks;

use super::interpolate::tests::Fake;
use super::*;

/// A small file that is valid, to be broken by tests.
const GOOD: &str = r#"
[[listeners]]
name = "edge"
address = "127.0.0.1:0"

[[upstreams]]
name = "u"
backends = [{ name = "a", address = "127.0.0.1:1" }]

[[routes]]
name = "r"
path_prefix = "/"
upstream = "u"
"#;

/// Checks a text with an empty environment.
fn checked(text: &str) -> Checked {
    check(text, Path::new("/etc/tidegate/tidegate.toml"), &Fake::default())
}

/// The plan of a valid text.
fn plan(text: &str) -> Plan {
    let checked = checked(text);
    let rendered = checked.render(false);
    checked.plan.unwrap_or_else(|| panic!("{rendered}"))
}

/// The line of the first that contains `part`, from 1.
fn line_of(text: &str, part: &str) -> usize {
    text.lines().position(|line| line.contains(part)).expect("the part is in the text") + 1
}

#[test]
fn four_mistakes_in_one_file_are_reported_at_once_with_their_lines() {
    let bad = GOOD.replace("path_prefix", "path_prefx").replace("upstream = \"u\"", "upstream = \"nope\"")
        + "\n[[upstreams]]\nname = \"u2\"\nbackends = []\nconnect_timeout = \"5 parsecs\"\n";
    let checked = checked(&bad);
    assert!(checked.is_refused());
    let text = checked.render(false);
    for part in ["path_prefx", "nope", "parsecs", "backends = []"] {
        assert!(text.contains(&format!("tidegate.toml:{}:", line_of(&bad, part))), "{part} in\n{text}");
    }
    assert!(text.contains("did you mean `path_prefix`?"), "{text}");
    assert_eq!(checked.errors().len(), 4, "{text}");
}

#[test]
fn findings_for_machines_have_place_text_message_hint_and_severity() {
    let bad = GOOD.replace("upstream = \"u\"", "upstream = \"uu\"");
    let found = checked(&bad).json();
    assert_eq!(found.as_array().map(Vec::len), Some(1));
    assert_eq!(found[0]["file"], "/etc/tidegate/tidegate.toml");
    assert_eq!(found[0]["line"], line_of(&bad, "\"uu\""));
    assert_eq!(found[0]["column"], 12);
    assert_eq!(found[0]["text"], "\"uu\"");
    assert_eq!(found[0]["severity"], "error");
    assert!(found[0]["message"].as_str().is_some_and(|message| message.contains("upstream")));
    assert!(found[0].get("hint").is_some());
}

#[test]
fn the_same_text_filled_differently_is_the_same_version_and_another_plan() {
    let text = GOOD.replace("127.0.0.1:1\"", "127.0.0.1:${PORT:1}\"");
    let with = |port| {
        let env = Fake { variables: [("PORT", port)].into(), ..Fake::default() };
        check(&text, Path::new("x.toml"), &env).plan.expect("the text is valid")
    };
    let (one, other) = (with("81"), with("82"));
    assert_eq!(one.hash, other.hash);
    assert_ne!(one, other);
    assert_eq!(one.upstreams[0].balancing.backends[0].address.port, 81);
}

#[test]
fn a_text_that_is_too_large_is_refused_without_being_read() {
    let checked = checked(&"#".repeat(MAX_TEXT + 1));
    assert!(checked.is_refused());
    assert_eq!(checked.errors().len(), 1);
}

#[test]
fn ten_thousand_mistakes_are_counted_and_two_hundred_shown() {
    let text = GOOD.to_owned() + &(0..10_000).map(|i| format!("zzz{i} = 1\n")).collect::<String>();
    let checked = checked(&text);
    assert!(checked.is_refused());
    assert_eq!(checked.findings.len(), MAX_FINDINGS + 1);
    assert!(checked.render(false).contains("9800 more findings are not shown"));
}
