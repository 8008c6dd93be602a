//! The request's head as a backend of either protocol expects it. The pipeline hands over a path and query
//! as the target, and the client's authority as `Host`.

use crate::upstream::Endpoint;
use crate::upstream::request_body::RequestBody;
use crate::upstream::settings::HostPolicy;
use http::header::{HOST, TRANSFER_ENCODING};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Uri, Version};
use http_body::Body;

/// Origin form and `Host`.
pub(super) fn for_h1(request: &mut Request<RequestBody>, endpoint: &Endpoint, host: &HostPolicy) {
    *request.version_mut() = Version::HTTP_11;
    // After a try over HTTP/2 the authority is in the target.
    let moved = request.uri().authority().and_then(|name| HeaderValue::from_str(name.as_str()).ok());
    if let Some(host) = host_header(endpoint, host).or(moved) {
        request.headers_mut().insert(HOST, host);
    }
    if request.uri().authority().is_some() {
        *request.uri_mut() = origin_form(request.uri());
    }
    // Without this the engine sends no body with methods that usually have none (`hyper-notes.md` 18).
    if !request.body().is_end_stream() && request.body().size_hint().exact().is_none() {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

/// `:scheme` and `:authority` instead of `Host`.
pub(super) fn for_h2(request: &mut Request<RequestBody>, endpoint: &Endpoint, host: &HostPolicy) {
    *request.version_mut() = Version::HTTP_2;
    let sent = request.headers_mut().remove(HOST);
    let host = host_header(endpoint, host).or(sent).unwrap_or_else(|| own_name(endpoint));
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(if endpoint.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Authority::try_from(host.as_bytes()).ok();
    // A host that is no authority was refused at the door; the target then stands alone.
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

fn origin_form(uri: &Uri) -> Uri {
    let target = uri.path_and_query().cloned();
    target.map_or_else(|| Uri::from_static("/"), Uri::from)
}

/// What the policy puts in place of the client's `Host`, if anything.
fn host_header(endpoint: &Endpoint, host: &HostPolicy) -> Option<HeaderValue> {
    match host {
        HostPolicy::Preserve => None,
        HostPolicy::Backend => Some(own_name(endpoint)),
        HostPolicy::Name(name) => Some(name.clone()),
    }
}

fn own_name(endpoint: &Endpoint) -> HeaderValue {
    // Of a service whose targets were not known when the table was built it is the name alone.
    let text = endpoint.address.to_string();
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("localhost"))
}
