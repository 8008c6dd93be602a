//! Who is told what happens: what holds if nothing is said, and what is refused.

use super::{Checked, Fake, GOOD, check};
use crate::config::sinks::{Form, MAX_SINKS, Sink};
use crate::telemetry::events::stream::Kind;
use std::path::Path;
use std::time::Duration;

const URL: &str = "url = \"https://hooks.example.com/hunter2\"";

fn with(lines: &str) -> Checked {
    let env = Fake {
        files: [("/run/secret", "sixteen bytes at least"), ("/run/short", "short")].into(),
        variables: [("TOKEN", "hunter2"), ("LINES", "a\nb"), ("NONSENSE", "hunter2")].into(),
    };
    let text = format!("{GOOD}\n[[notify]]\nname = \"n\"\n{lines}\n");
    check(&text, Path::new("/etc/tidegate/tidegate.toml"), &env)
}

fn sink(lines: &str) -> Sink {
    let checked = with(lines);
    let rendered = checked.render(false);
    checked.plan.unwrap_or_else(|| panic!("{rendered}")).sinks.remove(0)
}

#[test]
fn a_sink_hears_of_the_contracts_five_and_of_whatever_pages() {
    let sink = sink(URL);
    assert_eq!((sink.form, sink.timeout), (Form::Webhook, Duration::from_secs(5)));
    assert_eq!(sink.group_wait, Duration::from_secs(2));
    for kind in [Kind::Incident, Kind::Rollout, Kind::Ramp, Kind::Shed, Kind::Ejection] {
        assert!(sink.wants(kind, false), "{kind:?}");
    }
    assert!(sink.wants(Kind::Config, true) && !sink.wants(Kind::Config, false));
}

#[test]
fn what_a_sink_asks_for_is_all_that_it_hears() {
    let sink = sink(&format!("{URL}\nevents = [\"limit\"]"));
    assert!(sink.wants(Kind::Limit, false) && !sink.wants(Kind::Shed, true));
}

#[test]
fn a_secret_is_filled_in_long_enough_and_shown_nowhere() {
    let told =
        sink(&format!("{URL}\nsecret = \"${{file:/run/secret}}\"\nauthorization = \"Bearer ${{TOKEN}}\""));
    assert!(told.secret.is_some() && told.authorization.is_some());
    assert!(!format!("{told:?}").contains("hunter2") && !format!("{told:?}").contains("sixteen"), "{told:?}");
    for (lines, why) in [
        ("secret = \"written-in-the-file-itself\"", "in its history"),
        ("secret = \"${file:/run/short}\"", "fewer than 16 bytes"),
        ("kind = \"slack\"\nsecret = \"${file:/run/secret}\"", "means nothing for this kind"),
        ("authorization = \"Bearer abc\"", "in its history"),
        ("authorization = \"${LINES}\"", "no header can carry"),
    ] {
        let errors = with(&format!("{URL}\n{lines}")).errors();
        assert!(errors.len() == 1 && errors[0].contains(why), "{lines}: {errors:?}");
    }
}

#[test]
fn a_url_that_is_none_is_refused_without_being_shown() {
    for url in ["hooks.example.com", "ftp://x/", "https://ops:pass@x/", "${NONSENSE}"] {
        let errors = with(&format!("url = \"{url}\"")).errors();
        assert!(errors.len() == 1 && errors[0].contains("is not a URL"), "{url}: {errors:?}");
        assert!(!errors[0].contains("hunter2"), "{errors:?}");
    }
    let plain = with("url = \"http://hooks.example.com/\"");
    assert!(plain.plan.is_some_and(|plan| plan.notices.iter().any(|notice| notice.contains("without TLS"))));
    let near = with("url = \"http://127.0.0.1:9093\"\nkind = \"alertmanager\"");
    assert!(near.plan.is_some_and(|plan| plan.notices.is_empty()));
}

#[test]
fn there_are_not_more_sinks_than_are_served() {
    let more: String = (0..MAX_SINKS).map(|n| format!("[[notify]]\nname = \"n{n}\"\n{URL}\n")).collect();
    let errors = with(&format!("{URL}\n{more}")).errors();
    assert!(errors.len() == 1 && errors[0].contains("more than 16"), "{errors:?}");
}

#[test]
fn what_stands_in_messages_is_one_word_that_nothing_can_end() {
    let told =
        sink(&format!("{URL}\ninstance = \"edge-1:9900\"\nrunbook = \"https://wiki.example/a/RUNBOOK.md\""));
    assert_eq!(
        (told.instance.as_deref(), &*told.runbook),
        (Some("edge-1:9900"), "https://wiki.example/a/RUNBOOK.md")
    );
    assert_eq!((sink(URL).instance, &*sink(URL).runbook), (None, "deploy/RUNBOOK.md"));
    for (lines, why) in [
        ("runbook = \"\"", "cannot stand in a message"),
        ("runbook = \"https://wiki.example/#runbook\"", "cannot stand in a message"),
        ("runbook = \"https://x|<!channel>\"", "cannot stand in a message"),
        ("instance = \"edge 1\"", "cannot stand in a message"),
        ("kind = \"slack\"\ninstance = \"edge-1\"", "means nothing for this kind"),
    ] {
        let errors = with(&format!("{URL}\n{lines}")).errors();
        assert!(errors.len() == 1 && errors[0].contains(why), "{lines}: {errors:?}");
    }
}
