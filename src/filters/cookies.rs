//! HTTP/2 clients may split `Cookie` into crumbs; HTTP/1.1 backends want one line (RFC 9113, 8.2.3).

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// Joins crumbs with `; `.
pub fn join(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    // Parts of valid values joined by valid characters are a valid value.
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crumbs_become_one_line_in_their_order() {
        let mut headers = HeaderMap::new();
        for crumb in ["a=1", "b=2", "c=3"] {
            headers.append(COOKIE, HeaderValue::from_static(crumb));
        }
        join(&mut headers);
        let all: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(all, ["a=1; b=2; c=3"]);
    }
}
