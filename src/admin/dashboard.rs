//! The operators' page: files that were built beforehand (`dashboard/built/`), inside the binary.
//!
//! They hold no data, so they are given to everyone whom the door lets in without a token; what the page shows, it asks
//! for like any program, with the token that somebody typed into it. There are no cookies, so nothing rides on somebody
//! else's browser. The page may run its own scripts, talk to where it came from, and nothing else. A path is looked up
//! among the names of these files and is never a path of the disk.

use super::problem::Problem;
use axum::body::Body;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use rust_embed::{Embed, EmbeddedFile};

/// What the page may do: nothing that is not here.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; font-src 'none'; frame-ancestors 'none'; base-uri 'none'; \
                      form-action 'none'; require-trusted-types-for 'script'";
/// Devices and the like that it has no business with.
const PERMISSIONS: &str = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()";

/// The first page.
const INDEX: &str = "index.html";
/// Files whose names change with their contents are below this.
const ASSETS: &str = "/assets/";
/// Kinds of files, by the end of their names.
const KINDS: [(&str, &str); 6] = [
    (".html", "text/html; charset=utf-8"),
    (".js", "text/javascript; charset=utf-8"),
    (".css", "text/css; charset=utf-8"),
    (".svg", "image/svg+xml"),
    (".png", "image/png"),
    (".json", "application/json"),
];
#[derive(Embed)]
#[folder = "src/admin/dashboard/built/"]
struct Built;

/// Whether a path is one of the page's files, or would be.
pub(super) fn is_file(path: &str) -> bool {
    path == "/" || path.starts_with(ASSETS) || path == "/favicon.ico"
}

/// `GET /`: asked for each time, because it names the assets.
pub(super) async fn index(headers: HeaderMap) -> Result<Response, Problem> {
    file(INDEX, "no-cache", &headers)
}

/// `GET /assets/…`: kept for a year, because another content has another name.
pub(super) async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    file(&format!("assets/{name}"), "public, max-age=31536000, immutable", &headers)
}

fn file(name: &str, caching: &'static str, headers: &HeaderMap) -> Result<Response, Problem> {
    let missing = || Problem::new(StatusCode::NOT_FOUND, "The page has no such file. hint: reload it");
    let kind =
        KINDS.iter().find(|(end, _)| name.ends_with(end)).map(|(_, kind)| *kind).ok_or_else(missing)?;
    let file = Built::get(name).ok_or_else(missing)?;
    let tag = tag(&file);
    let is_known = headers.get_all(IF_NONE_MATCH).iter().any(|known| names(known, &tag));
    let mut answer = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => ([(CONTENT_TYPE, kind)], Body::from(file.data)).into_response(),
    };
    let more = answer.headers_mut();
    // Hex between quotes is a value.
    HeaderValue::try_from(tag).into_iter().for_each(|tag| drop(more.insert(ETAG, tag)));
    for (name, value) in [
        (CACHE_CONTROL, caching),
        (CONTENT_SECURITY_POLICY, POLICY),
        (HeaderName::from_static("permissions-policy"), PERMISSIONS),
    ] {
        more.insert(name, HeaderValue::from_static(value));
    }
    Ok(answer)
}

/// Half of the content's hash says as well what it is.
fn tag(file: &EmbeddedFile) -> String {
    let hash = file.metadata.sha256_hash();
    let hex: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// Whether a list of tags names this one, weakly.
fn names(list: &HeaderValue, tag: &str) -> bool {
    let list = list.to_str().unwrap_or_default();
    list.split(',').any(|one| matches!(one.trim(), "*") || one.trim().trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a value"))])
    }

    #[test]
    fn every_file_that_is_built_in_has_a_kind_and_the_page_names_only_those() {
        let names: Vec<_> = Built::iter().collect();
        // Beside the files lies the stamp of their sources, which is given to nobody.
        for name in names.iter().filter(|name| *name != "sources.sha256") {
            assert!(KINDS.iter().any(|(end, _)| name.ends_with(end)), "{name} is of no kind");
        }
        let page = Built::get(INDEX).expect("there is a first page");
        let page = String::from_utf8(page.data.into_owned()).expect("UTF-8");
        for named in page.split(['"', '\'']).filter(|text| text.starts_with(ASSETS)) {
            assert!(Built::get(&named[1..]).is_some(), "the page names {named}");
        }
        assert!(!page.contains("http://") && !page.contains("https://"), "nothing comes from elsewhere");
    }

    #[test]
    fn a_file_that_is_known_is_not_sent_again() {
        let first = file(INDEX, "no-cache", &HeaderMap::new()).expect("it is there");
        let tag = first.headers()[ETAG].to_str().expect("a tag").to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
            let again = file(INDEX, "no-cache", &with(IF_NONE_MATCH, &known)).expect("it is there");
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert!(again.headers().contains_key(CONTENT_SECURITY_POLICY));
        }
        let other = file(INDEX, "no-cache", &with(IF_NONE_MATCH, "\"x\"")).expect("it is there");
        assert_eq!(other.status(), StatusCode::OK);
    }

    #[test]
    fn what_is_no_file_of_the_page_is_nothing() {
        for name in ["", "assets/", "assets/../index.html", "../Cargo.toml", "/etc/passwd", "sources.sha256"]
        {
            assert!(file(name, "no-cache", &HeaderMap::new()).is_err(), "{name}");
        }
    }
}
