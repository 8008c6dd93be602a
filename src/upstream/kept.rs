//! What is kept of a request while it is sent, so that it can be sent again when its connection ends under it: it must
//! be idempotent and without a body (RFC 9110, 9.2.2), or the backend must say that it did not look at it (RFC 9113,
//! 8.7).
//!
//! Nearly no request is ever sent again, and nearly every one is kept: so its fields are kept as text in a buffer
//! that the core uses over and over, and made into fields again only if they are needed.

use crate::upstream::request_body::RequestBody;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use std::cell::RefCell;
use std::rc::Rc;

/// Buffers kept for the next request, and how large they may have grown.
const BUFFERS: usize = 64;
const LARGE: usize = 16 * 1024;

/// Beside the lengths of a field: HTTP/2 must not put its value into a table.
const SECRET: u64 = 1 << 63;

/// A core's buffers for kept requests.
#[derive(Debug, Default)]
pub(super) struct Buffers(RefCell<Vec<Vec<u8>>>);

/// A request that can be sent again.
pub(super) struct Kept {
    method: Method,
    target: Target,
    /// Each field: the lengths of its name and its value in four bytes each, name, value.
    fields: Vec<u8>,
    buffers: Rc<Buffers>,
}

/// Where it goes: as text where it is one, so that the client's buffer is not held.
enum Target {
    /// A path and query, so many bytes at the end of the buffer.
    Path(usize),
    Whole(Uri),
}

impl Kept {
    /// Keeps a request that has no body.
    pub(super) fn of(request: &Request<RequestBody>, buffers: &Rc<Buffers>) -> Self {
        let mut fields = buffers.0.borrow_mut().pop().unwrap_or_default();
        for (name, value) in request.headers() {
            let secret = if value.is_sensitive() { SECRET } else { 0 };
            let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
            let lengths = secret | (name.len() as u64) << 32 | value.len() as u64;
            fields.extend_from_slice(&lengths.to_be_bytes());
            fields.extend_from_slice(name);
            fields.extend_from_slice(value);
        }
        let uri = request.uri();
        let target = match (uri.authority(), uri.path_and_query()) {
            (None, Some(path)) => {
                fields.extend_from_slice(path.as_str().as_bytes());
                Target::Path(path.as_str().len())
            }
            _ => Target::Whole(uri.clone()),
        };
        Kept { method: request.method().clone(), target, fields, buffers: buffers.clone() }
    }

    /// The request as it was; nothing if it cannot be read, which it always can.
    pub(super) fn restore(mut self) -> Option<Request<RequestBody>> {
        let bytes = std::mem::take(&mut self.fields);
        let (fields, uri) = match &self.target {
            Target::Whole(uri) => (&bytes[..], uri.clone()),
            Target::Path(length) => {
                let (fields, path) = bytes.split_at_checked(bytes.len().checked_sub(*length)?)?;
                (fields, Uri::try_from(path).ok()?)
            }
        };
        let mut request = Request::new(RequestBody::empty());
        *request.method_mut() = std::mem::take(&mut self.method);
        *request.uri_mut() = uri;
        *request.headers_mut() = read(fields)?;
        Some(request)
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        let mut buffers = self.buffers.0.borrow_mut();
        if buffers.len() < BUFFERS && (1..=LARGE).contains(&fields.capacity()) {
            fields.clear();
            buffers.push(fields);
        }
    }
}

fn read(mut fields: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    while let Some((lengths, rest)) = fields.split_first_chunk() {
        let lengths = u64::from_be_bytes(*lengths);
        let (secret, lengths) = (lengths & SECRET != 0, lengths & !SECRET);
        let (name, rest) = rest.split_at_checked(usize::try_from(lengths >> 32).ok()?)?;
        let (value, rest) = rest.split_at_checked(usize::try_from(lengths & u64::from(u32::MAX)).ok()?)?;
        let mut value = HeaderValue::from_bytes(value).ok()?;
        value.set_sensitive(secret);
        headers.append(HeaderName::from_bytes(name).ok()?, value);
        fields = rest;
    }
    fields.is_empty().then_some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kept(request: &Request<RequestBody>, buffers: &Rc<Buffers>) -> Request<RequestBody> {
        Kept::of(request, buffers).restore().expect("what was kept can be read")
    }

    proptest! {
        #[test]
        fn what_is_kept_comes_back_as_it_was(
            fields in proptest::collection::vec(("[a-z][a-z0-9-]{0,20}", "[ -~\u{80}-\u{ff}]{0,40}"), 0..20),
            path in "/[a-z0-9/]{0,30}(\\?[a-z=&]{0,20})?",
            named in any::<bool>(),
        ) {
            let uri = if named { format!("http://a.example{path}") } else { path };
            let mut request = Request::builder().method("DELETE").uri(uri).body(RequestBody::empty()).unwrap();
            for (name, value) in &fields {
                let mut value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
                value.set_sensitive(name.len() % 2 == 0);
                request.headers_mut().append(name.parse::<HeaderName>().unwrap(), value);
            }
            let buffers = Rc::default();
            // The second time it is a buffer that has been used.
            for _ in 0..2 {
                drop(Kept::of(&request, &buffers));
                let again = kept(&request, &buffers);
                prop_assert_eq!(again.method(), request.method());
                prop_assert_eq!(again.uri(), request.uri());
                prop_assert_eq!(again.headers(), request.headers());
                let secret = |headers: &HeaderMap| -> Vec<_> {
                    headers.values().map(HeaderValue::is_sensitive).collect()
                };
                prop_assert_eq!(secret(again.headers()), secret(request.headers()));
            }
        }
    }

    #[test]
    fn a_core_keeps_few_buffers_and_no_large_ones() {
        let buffers: Rc<Buffers> = Rc::default();
        let with = |length: usize| {
            let value = "x".repeat(length);
            Request::builder().header("x-long", value).body(RequestBody::empty()).unwrap()
        };
        drop(Kept::of(&with(LARGE), &buffers));
        assert_eq!(buffers.0.borrow().len(), 0);
        let many: Vec<_> = (0..2 * BUFFERS).map(|_| Kept::of(&with(10), &buffers)).collect();
        drop(many);
        assert_eq!(buffers.0.borrow().len(), BUFFERS);
    }
}
