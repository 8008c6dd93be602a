//! Messages for Slack and whatever takes the same: one readable text with what, since when, how much, and the next
//! command to type. The weightiest come first; what is too much for a phone is counted.

use super::lasting::Stands;
use super::message::{Item, Message};
use super::sender::Sender;
use jiff::Timestamp;
use serde_json::json;
use std::fmt::Write;

/// Items that are told.
const MAX_ITEMS: usize = 15;
/// Characters of one sentence.
const MAX_SENTENCE: usize = 400;

/// The body.
pub fn body(message: &Message, sender: &Sender) -> String {
    json!({ "text": text(message, sender) }).to_string()
}

fn text(message: &Message, sender: &Sender) -> String {
    let mut items: Vec<&Item> = message.items.iter().collect();
    items.sort_by_key(|item| (item.topic.family.severity, item.stands == Stands::Resolved));
    let shown = items.iter().take(MAX_ITEMS).map(|item| lines(item, sender));
    let mut text = shown.collect::<Vec<_>>().join("\n");
    if items.len() > MAX_ITEMS {
        let more = items.len() - MAX_ITEMS;
        // Writing to a String cannot fail.
        let _ = write!(text, "\nand {more} more: `tidegate events`");
    }
    text
}

fn lines(item: &Item, sender: &Sender) -> String {
    let sentence = escaped(item.sentence());
    let place = escaped(&sender.place());
    let word = match item.stands {
        Stands::Resolved => "over",
        _ => item.topic.family.severity.as_str(),
    };
    let mut out = format!("*[{word}]* {place}: {sentence}");
    let mut more = Vec::new();
    if item.stands != Stands::Happened {
        more.push(since(item));
    }
    if item.late {
        more.push("late: the process ended before it was told".to_owned());
    }
    if item.lasting > 1 {
        more.push(format!("{} now", item.lasting));
    }
    if item.count > 1 {
        more.push(format!("{} events", item.count));
    }
    if item.members.len() > 1 {
        more.push(escaped(&item.members.join(", ")));
    }
    // Writing to a String cannot fail.
    if !more.is_empty() {
        let _ = write!(out, " ({})", more.join("; "));
    }
    if item.stands != Stands::Resolved {
        let chapter = escaped(&sender.chapter(item.topic.family));
        let _ = write!(out, "\n    next: `{}`, runbook: {chapter}", escaped(&item.next()));
    }
    out
}

fn since(item: &Item) -> String {
    let clock = item.since.strftime("%H:%M:%S");
    match item.last().filter(|_| item.stands == Stands::Resolved) {
        Some(record) => format!("it lasted {}", span(item.since, record.at)),
        None => format!("since {clock} UTC"),
    }
}

/// In the two largest units.
fn span(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.duration_since(from).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

/// Nothing that is said calls people, links or breaks a line.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (place, character) in text.chars().enumerate() {
        match character {
            _ if place >= MAX_SENTENCE => return out + "…",
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '`' => out.push('\''),
            control if control.is_control() => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::notify::family::{AUDITED, DOWN, SHEDDING};
    use crate::control::notify::samples::{message, notice, sender};

    #[test]
    fn a_text_says_what_since_when_how_much_and_what_to_type() {
        let message = message([
            notice(&DOWN, "users", "a", Stands::Resolved, 95),
            notice(&SHEDDING, "orders", "queue_full", Stands::Firing, 5),
        ]);
        let expected = "\
*[page]* edge-1 (production): orders/queue_full is firing (since 03:00:00 UTC)
    next: `tidegate permits --upstream orders`, runbook: https://wiki.example/RUNBOOK.md#tidegateshedding
*[over]* edge-1 (production): users/a is resolved (it lasted 1 min 35 s)";
        assert_eq!(text(&message, &sender()), expected);
    }

    #[test]
    fn many_events_of_many_backends_are_counted_and_some_are_named() {
        let mut item = Item::of(notice(&DOWN, "orders", "b0", Stands::Firing, 0));
        for n in 1..50 {
            item.join(crate::control::notify::lasting::Notice {
                lasting: n + 1,
                ..notice(&DOWN, "orders", &format!("b{n}"), Stands::Firing, 1)
            });
        }
        let text = lines(&item, &sender());
        assert!(text.contains("(since 03:00:00 UTC; 50 now; 50 events; b0, b1, b2"), "{text}");
        assert!(text.len() < 400, "{text}");
    }

    #[test]
    fn nobody_is_called_by_what_somebody_wrote() {
        let mut notice = notice(&AUDITED, "ops", "apply", Stands::Happened, 0);
        let said = "<!channel> `rm` & <https://evil.example|click>\n*[page]* all is lost";
        notice.record = crate::control::notify::samples::record(AUDITED.kind, said, 0, &[]);
        let text = text(&message([notice]), &sender());
        assert!(!text.contains("<!") && !text.contains("<https"), "{text}");
        assert_eq!(text.lines().count(), 2, "{text}");
    }

    #[test]
    fn a_storm_of_topics_fits_a_phone() {
        let message = message((0..200).map(|n| notice(&DOWN, &format!("u{n}"), "a", Stands::Firing, 0)));
        let text = text(&message, &sender());
        assert!(text.ends_with("and 185 more: `tidegate events`") && text.lines().count() <= 31, "{text}");
    }
}
