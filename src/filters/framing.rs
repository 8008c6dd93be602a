//! How a backend's answer says where it ends must be as unambiguous as a request's: what the engine reads one
//! way and a client another is response smuggling (RFC 9112, 6.3).

use crate::reject::{Reason, Reject};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};

const UNCLEAR: &str = "the backend's answer has no clear length";

/// Refuses answers that frame themselves twice or in a coding that the engine does not undo; several equal
/// lengths become one.
pub fn check(headers: &mut HeaderMap) -> Result<(), Reject> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = codings.next().map(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    if chunked == Some(false) || codings.next().is_some() {
        return Err(broken("the backend's answer has a transfer coding that is not supported"));
    }
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next().cloned() else { return Ok(()) };
    if chunked.is_some() {
        return Err(broken("the backend's answer has both a length and a transfer coding"));
    }
    let digits = !first.is_empty() && first.as_bytes().iter().all(u8::is_ascii_digit);
    let Some(second) = lengths.next() else {
        return if digits { Ok(()) } else { Err(broken(UNCLEAR)) };
    };
    if !digits || *second != first || lengths.any(|more| *more != first) {
        return Err(broken(UNCLEAR));
    }
    headers.insert(CONTENT_LENGTH, first);
    Ok(())
}

fn broken(detail: &'static str) -> Reject {
    Reject::new(Reason::BadResponse, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn checked(fields: &[(http::HeaderName, &'static str)]) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        check(&mut headers).ok().map(|()| headers)
    }

    #[test]
    fn an_answer_that_ends_in_two_places_is_refused() {
        let (length, coding) = (CONTENT_LENGTH, TRANSFER_ENCODING);
        assert!(checked(&[]).is_some());
        assert!(checked(&[(length.clone(), "5")]).is_some());
        assert!(checked(&[(coding.clone(), "Chunked")]).is_some());
        let one = checked(&[(length.clone(), "5"), (length.clone(), "5")]).expect("equal lengths");
        assert_eq!(one.get_all(CONTENT_LENGTH).iter().count(), 1);
        assert!(checked(&[(length.clone(), "5"), (length.clone(), "6")]).is_none());
        assert!(checked(&[(length.clone(), "5, 5")]).is_none());
        assert!(checked(&[(length.clone(), "")]).is_none());
        assert!(checked(&[(coding.clone(), "chunked"), (length, "5")]).is_none());
        assert!(checked(&[(coding.clone(), "gzip, chunked")]).is_none());
        assert!(checked(&[(coding.clone(), "chunked"), (coding, "chunked")]).is_none());
    }
}
