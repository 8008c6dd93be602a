//! Sinks of notifications.

use super::{Check, owned, shared};
use crate::config::sinks::{Form, MAX_SINKS, PAGE, Sink, Url};
use crate::config::value::{Data, Table};
use crate::filters::auth::settings::Secret;
use crate::telemetry::events::stream::Kind;
use http::HeaderValue;
use std::sync::Arc;

/// Characters of what is put into messages as it is.
const MAX_PLACE: usize = 512;

/// Bytes of a secret at least; what is shorter is guessed from one message.
const MIN_SECRET: usize = 16;

/// Every sink of the file; nothing for those that are wrong, or whose secrets are gone.
pub fn all(root: &Table, check: &mut Check<'_>) -> Vec<Option<Sink>> {
    check.distinct("notify sinks", root.tables("notify").map(|sink| sink.get("name")));
    if let Some(more) = root.tables("notify").nth(MAX_SINKS) {
        let hint = "each is told of everything that happens: let one of them pass it on";
        check.error(more.span.clone(), format!("there are more than {MAX_SINKS} notify sinks"), hint);
    }
    root.tables("notify").map(|table| sink(table, check)).collect()
}

fn sink(table: &Table, check: &mut Check<'_>) -> Option<Sink> {
    check.file(table, "ca");
    let form = Form::named(table.text("kind")?)?;
    let secret = secret(table, form, check);
    let authorization = authorization(table, check);
    let words = table.list("events").iter().filter_map(|word| match &word.data {
        Data::Text(word) => Some(word.as_str()),
        _ => None,
    });
    Some(Sink {
        name: shared(table, "name")?,
        form,
        kinds: words.clone().filter_map(Kind::named).collect(),
        pages: words.clone().any(|word| word == PAGE),
        url: url(table, form, check)?,
        secret: secret?,
        authorization: authorization?,
        timeout: table.duration("timeout")?,
        group_wait: table.duration("group_wait")?,
        ca: owned(table.path("ca")),
        instance: instance(table, form, check)?,
        runbook: place(table, "runbook", check)?.into(),
    })
}

fn url(table: &Table, form: Form, check: &mut Check<'_>) -> Option<Url> {
    let value = table.get("url")?;
    let url = Url::parse(value.text()?);
    if url.is_none() && !(value.filled && check.env.stands_in()) {
        let message = format!("{} is not a URL", check.quote(&value.span));
        let hint = "it begins with https://, has a host, and no user name (see authorization)";
        check.error(value.span.clone(), message, hint);
    }
    if url.as_ref().is_some_and(|url| url.uri().scheme_str() == Some("http") && !is_near(url)) {
        let hint = "use https: whoever is on the way reads what happens, and can say otherwise";
        check.warning(value.span.clone(), "people are told without TLS", hint);
    }
    // Whoever knows the path of a hook may speak there; an Alertmanager's is no secret.
    let has_path =
        url.as_ref().is_some_and(|url| url.uri().path_and_query().is_some_and(|path| path.as_str() != "/"));
    if form != Form::Alertmanager && has_path && !value.filled {
        let hint = "if its path is a secret, fill it in: url = \"${file:/run/secrets/oncall-url}\"";
        check.warning(value.span.clone(), "the URL is kept in the history, which every viewer reads", hint);
    }
    url
}

/// Nothing outside if it is wrong, nothing inside if there is none.
fn instance(table: &Table, form: Form, check: &mut Check<'_>) -> Option<Option<Arc<str>>> {
    let Some(value) = table.get("instance") else { return Some(None) };
    if form == Form::Slack {
        let hint = "it is a label of alerts, and in a webhook's messages; leave it out";
        check.error(value.span.clone(), "`instance` means nothing for this kind", hint);
        return None;
    }
    place(table, "instance", check).map(|place| Some(place.into()))
}

/// A text that stands in messages as it is, where a space, a quote or a second # would end it.
fn place<'a>(table: &'a Table, key: &str, check: &mut Check<'_>) -> Option<&'a str> {
    let value = table.get(key)?;
    let text = value.text()?;
    let plain = |c: char| c.is_ascii_graphic() && !"#<>|`\"'".contains(c);
    let stands_in = value.filled && check.env.stands_in();
    if !stands_in && (text.is_empty() || text.len() > MAX_PLACE || !text.chars().all(plain)) {
        let message = format!("{} cannot stand in a message", check.quote(&value.span));
        let hint = "at most 512 characters, without spaces, quotes, <, > and #: host:port, or a URL";
        check.error(value.span.clone(), message, hint);
        return None;
    }
    Some(text)
}

/// It is on this machine.
fn is_near(url: &Url) -> bool {
    let host = url.uri().host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Nothing outside if it is wrong, nothing inside if there is none.
fn secret(table: &Table, form: Form, check: &mut Check<'_>) -> Option<Option<Secret>> {
    let Some(value) = table.get("secret") else { return Some(None) };
    let text = value.text()?;
    if form != Form::Webhook {
        let hint = "only a webhook is signed; leave it out, or use authorization";
        check.error(value.span.clone(), "`secret` means nothing for this kind", hint);
        return None;
    }
    if !value.filled {
        let hint = "fill it in: secret = \"${file:/run/secrets/oncall}\"";
        check.error(value.span.clone(), "a secret in the file would be in its history", hint);
        return None;
    }
    if text.len() < MIN_SECRET {
        let message =
            format!("the secret has fewer than {MIN_SECRET} bytes; it can be guessed from one message");
        check.error(value.span.clone(), message, "`tidegate hash-token --generate` makes a good one");
        return None;
    }
    Some(Some(Secret(text.as_bytes().into())))
}

/// The same of a header.
fn authorization(table: &Table, check: &mut Check<'_>) -> Option<Option<HeaderValue>> {
    let Some(value) = table.get("authorization") else { return Some(None) };
    let text = value.text()?;
    if !value.filled {
        let hint = "fill it in: authorization = \"Bearer ${ALERTS_TOKEN}\"";
        check.error(value.span.clone(), "a credential in the file would be in its history", hint);
        return None;
    }
    let Ok(mut header) = HeaderValue::from_str(text.trim()) else {
        let message = format!("{} holds characters that no header can carry", check.quote(&value.span));
        check.error(value.span.clone(), message, "it is one line, such as \"Bearer ${ALERTS_TOKEN}\"");
        return None;
    };
    header.set_sensitive(true);
    Some(Some(header))
}
