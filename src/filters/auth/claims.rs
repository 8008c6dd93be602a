//! From what a credential says to what a request passes as: who it is, what the backend is told, and in which class
//! it stands. Everything by allow-list; the credential itself goes nowhere.

use crate::request::Class;
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::sync::Arc;

/// Bytes of what a backend is told of one claim at most; longer ones are left out.
const MAX_VALUE: usize = 1024;
/// Bytes of a subject in logs at most.
const MAX_SUBJECT: usize = 256;

/// What is taken from claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// The claim that names who it is.
    pub subject: String,
    /// What the backend is told: headers, and the claims that fill them.
    pub forward: Vec<(HeaderName, String)>,
    /// Scopes without which a request may not pass.
    pub require_scopes: Vec<String>,
    /// In which class a request stands; the first that matches.
    pub classes: Vec<ClassRule>,
}

/// One rule of classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassRule {
    /// The claim that is looked at.
    pub claim: String,
    /// What it must say; of a list, what it must hold.
    pub value: String,
    /// The class of such requests, unless their route's is shed earlier.
    pub class: Class,
}

/// What a request passes as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Who it is.
    pub subject: Option<Arc<str>>,
    /// What the backend is told.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// In which class it stands, if that is said.
    pub class: Option<Class>,
}

impl Grants {
    /// What these claims grant; nothing if a scope is missing.
    pub fn of(&self, claims: &Map<String, Value>) -> Option<Granted> {
        if !self.require_scopes.iter().all(|scope| has_scope(claims, scope)) {
            return None;
        }
        let headers = self.forward.iter().filter_map(|(name, claim)| {
            let value = claims.get(claim).and_then(text)?;
            Some((name.clone(), header(&value)?))
        });
        let rule = self
            .classes
            .iter()
            .find(|rule| claims.get(&rule.claim).is_some_and(|value| says(value, &rule.value)));
        Some(Granted {
            subject: claims.get(&self.subject).and_then(text).map(|text| shortened(&text).into()),
            headers: headers.collect(),
            class: rule.map(|rule| rule.class),
        })
    }
}

/// Scopes stand in `scope`, as words between spaces (RFC 8693), or in `scp`, as words or a list.
fn has_scope(claims: &Map<String, Value>, scope: &str) -> bool {
    ["scope", "scp"].iter().filter_map(|name| claims.get(*name)).any(|value| match value {
        Value::String(words) => words.split(' ').any(|word| word == scope),
        Value::Array(all) => all.iter().any(|one| one.as_str() == Some(scope)),
        _ => false,
    })
}

fn says(value: &Value, wanted: &str) -> bool {
    match value {
        Value::Array(all) => all.iter().any(|one| text(one).is_some_and(|text| text == wanted)),
        one => text(one).is_some_and(|text| text == wanted),
    }
}

/// A claim as a text: lists of texts with commas between. Whoever can put a comma into one item could make two of
/// it, so such a list is none.
fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(text.into()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string().into()),
        Value::Array(all) => {
            let texts: Option<Vec<&str>> =
                all.iter().map(|one| one.as_str().filter(|one| !one.contains(','))).collect();
            Some(texts?.join(",").into())
        }
        Value::Null | Value::Object(_) => None,
    }
}

fn header(text: &str) -> Option<HeaderValue> {
    let fits = (1..=MAX_VALUE).contains(&text.len());
    fits.then(|| HeaderValue::from_bytes(text.as_bytes()).ok()).flatten()
}

fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_SUBJECT)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn grants() -> Grants {
        let forward = |header: &'static str, claim: &str| (HeaderName::from_static(header), claim.to_owned());
        let rule = |value: &str, class| ClassRule { claim: "tier".into(), value: value.into(), class };
        Grants {
            subject: "sub".into(),
            forward: vec![forward("x-user", "sub"), forward("x-roles", "roles"), forward("x-age", "age")],
            require_scopes: vec!["read".into()],
            classes: vec![rule("free", Class::Sheddable), rule("robot", Class::Batch)],
        }
    }

    fn of(claims: Value) -> Option<Granted> {
        grants().of(claims.as_object().expect("an object"))
    }

    #[test]
    fn only_what_is_listed_is_passed_on() {
        let granted = of(json!({
            "sub": "ada", "roles": ["a", "b"], "age": 7, "secret": "x", "scope": "write read", "tier": "free",
        }))
        .expect("granted");
        let told: Vec<_> =
            granted.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(told, [("x-user", &b"ada"[..]), ("x-roles", b"a,b"), ("x-age", b"7")]);
        assert_eq!((granted.subject.as_deref(), granted.class), (Some("ada"), Some(Class::Sheddable)));
    }

    #[test]
    fn without_a_scope_that_is_required_nothing_is_granted() {
        assert_eq!(of(json!({ "sub": "ada", "scope": "reader" })), None);
        assert_eq!(of(json!({ "sub": "ada" })), None);
        assert!(of(json!({ "scp": ["x", "read"] })).is_some());
    }

    #[test]
    fn a_claim_cannot_break_out_of_its_header() {
        for evil in
            [json!("a\r\nx-admin: yes"), json!(["a,admin"]), json!({}), json!(null), json!("a".repeat(2000))]
        {
            let granted = of(json!({ "sub": evil, "scope": "read" })).expect("granted");
            assert_eq!(granted.headers, []);
        }
        let name = "é".repeat(300);
        let subject = of(json!({ "sub": name, "scope": "read" })).and_then(|granted| granted.subject);
        assert_eq!(subject.map(|subject| subject.len()), Some(256));
    }

    #[test]
    fn the_first_rule_that_matches_decides_the_class_also_within_a_list() {
        let class =
            |tier: Value| of(json!({ "tier": tier, "scope": "read" })).and_then(|granted| granted.class);
        assert_eq!(class(json!(["robot", "free"])), Some(Class::Sheddable));
        assert_eq!(class(json!("robot")), Some(Class::Batch));
        assert_eq!(class(json!("gold")), None);
    }
}
