//! Fields that a route's owner sets or removes (`request_headers`, `response_headers`).

use http::{HeaderMap, HeaderName, HeaderValue};

/// A route's edits of one direction. Which names may be edited is checked where the configuration is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Set to this value whatever was there.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Removed, all values. What is both removed and set is set.
    pub remove: Vec<HeaderName>,
}

impl HeaderEdits {
    /// Edits a head.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_all_values_and_sets_one() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("x-debug", "1"), ("x-debug", "2"), ("x-team", "a"), ("x-team", "b"), ("x", "y")]
        {
            headers.append(name, HeaderValue::from_static(value));
        }
        let edits = HeaderEdits {
            set: vec![(HeaderName::from_static("x-team"), HeaderValue::from_static("orders"))],
            remove: vec![HeaderName::from_static("x-debug"), HeaderName::from_static("x-team")],
        };
        edits.apply(&mut headers);
        assert_eq!(headers.len(), 2);
        assert_eq!((&headers["x-team"], &headers["x"]), (&"orders".parse().unwrap(), &"y".parse().unwrap()));
    }
}
