//! The page as HTML: semantic, without script, and with every word escaped that came from a person or a file.

use crate::control::incidents::incident::{Severity, State};
use crate::control::incidents::public::{Component, Overview, Public};
use crate::control::incidents::pulse::Health;
use std::fmt::{self, Write};

/// Renders it.
pub(super) fn render(overview: &Overview) -> String {
    let mut out = String::with_capacity(4096);
    // Writing to a String cannot fail.
    let _ = page(&mut out, overview);
    out
}

fn page(out: &mut String, overview: &Overview) -> fmt::Result {
    let (title, told) = (Escaped(&overview.title), sentence(overview.state));
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"refresh\" content=\"60\">\n<title>{title}: {told}</title>\n\
         <link rel=\"stylesheet\" href=\"/style.css\">\n\
         <link rel=\"alternate\" type=\"application/json\" href=\"/status.json\">\n</head>\n<body>\n\
         <header>\n<h1>{title}</h1>\n<p class=\"overall {}\" role=\"status\">{told}</p>\n</header>\n<main>",
        overview.state.as_str()
    )?;
    let open: Vec<&Public> = overview.incidents.iter().filter(|it| it.state == State::Open).collect();
    if !open.is_empty() {
        section(out, "Now", &open)?;
    }
    writeln!(out, "<section>\n<h2>Services</h2>\n<ul>")?;
    overview.components.iter().try_for_each(|it| component(out, it))?;
    writeln!(out, "</ul>\n</section>")?;
    let closed: Vec<&Public> = overview.incidents.iter().filter(|it| it.state == State::Closed).collect();
    if !closed.is_empty() {
        section(out, "Last seven days", &closed)?;
    }
    let at = Escaped(&overview.at);
    writeln!(
        out,
        "</main>\n<footer><p class=\"quiet\">As of <time datetime=\"{at}\">{at}</time>. \
         Also as <a href=\"/status.json\">JSON</a>.</p></footer>\n</body>\n</html>"
    )
}

fn component(out: &mut String, component: &Component) -> fmt::Result {
    let (word, told) = (component.state.as_str(), component.state.told());
    write!(out, "<li class=\"component\"><div>{}", Escaped(&component.name))?;
    if let Some(description) = &component.description {
        write!(out, "<div class=\"quiet\">{}</div>", Escaped(description))?;
    }
    writeln!(out, "</div><span class=\"state {word}\">{told}</span></li>")
}

fn section(out: &mut String, heading: &str, incidents: &[&Public]) -> fmt::Result {
    writeln!(out, "<section>\n<h2>{heading}</h2>")?;
    incidents.iter().try_for_each(|it| incident(out, it))?;
    writeln!(out, "</section>")
}

fn incident(out: &mut String, incident: &Public) -> fmt::Result {
    let id = incident.id;
    writeln!(
        out,
        "<article id=\"incident-{id}\" aria-labelledby=\"title-{id}\">\n<h3 id=\"title-{id}\">{}</h3>",
        Escaped(&incident.title)
    )?;
    let (word, told) = match incident.severity {
        Severity::Minor => ("minor", "Minor"),
        Severity::Major => ("major", "Major"),
        Severity::Critical => ("critical", "Critical"),
    };
    write!(out, "<div class=\"quiet\"><span class=\"{word}\">{told}</span>")?;
    if !incident.components.is_empty() {
        write!(out, " · {}", Escaped(&incident.components.join(", ")))?;
    }
    write!(out, " · since {}", Moment(&incident.opened_at))?;
    if let Some(closed) = &incident.closed_at {
        write!(out, " · resolved {}", Moment(closed))?;
    }
    writeln!(out, "</div>")?;
    for update in &incident.updates {
        writeln!(out, "{}\n<p>{}</p>", Moment(&update.at), Escaped(&update.text))?;
    }
    writeln!(out, "</article>")
}

/// All in a sentence.
const fn sentence(health: Health) -> &'static str {
    match health {
        Health::Operational => "All services are operational",
        Health::Degraded => "Some services are degraded",
        Health::PartialOutage => "Partial outage",
        Health::MajorOutage => "Major outage",
    }
}

/// A moment to the minute for people, in full for programs.
struct Moment<'a>(&'a str);

impl fmt::Display for Moment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short: String =
            self.0.chars().take(16).map(|char| if char == 'T' { ' ' } else { char }).collect();
        write!(f, "<time datetime=\"{}\">{} UTC</time>", Escaped(self.0), Escaped(&short))
    }
}

/// Text that can be no markup, in elements and in quoted attributes.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for char in self.0.chars() {
            match char {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // Whatever turns the direction of writing, or steers.
                char if char.is_control() && char != '\n' => f.write_char('\u{fffd}')?,
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => f.write_char('\u{fffd}')?,
                char => f.write_char(char)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::incidents::public::Said;

    fn overview(words: &str) -> Overview {
        Overview {
            title: words.into(),
            at: words.into(),
            state: Health::MajorOutage,
            components: vec![Component {
                name: words.into(),
                description: Some(words.into()),
                state: Health::Degraded,
            }],
            incidents: vec![Public {
                id: 3,
                state: State::Closed,
                title: words.into(),
                severity: Severity::Critical,
                components: vec![words.into()],
                opened_at: words.into(),
                closed_at: Some(words.into()),
                updates: vec![Said { at: words.into(), text: words.into() }],
            }],
        }
    }

    #[test]
    fn no_word_of_a_person_becomes_markup_wherever_it_stands() {
        for evil in [
            "<script>alert(1)</script>",
            "\"><img src=x onerror=alert(1)>",
            "' onmouseover='alert(1)",
            "</title><script>",
            "&lt;script&gt;",
            "<!--",
            "\u{202e}evil\u{0}",
        ] {
            let (page, plain) = (render(&overview(evil)), render(&overview("x")));
            for mark in ["<", ">", "\"", "'", "<!--", "<script", "\u{202e}", "\u{0}"] {
                let [seen, expected] = [&page, &plain].map(|page| page.matches(mark).count());
                assert_eq!(seen, expected, "{mark} of {evil} in {page}");
            }
        }
    }

    #[test]
    fn it_says_in_words_what_it_says_in_colours() {
        let page = render(&overview("Orders"));
        for words in
            ["Major outage", ">Degraded<", ">Critical<", "<h1>Orders</h1>", "resolved", "role=\"status\""]
        {
            assert!(page.contains(words), "{words} in {page}");
        }
    }
}
