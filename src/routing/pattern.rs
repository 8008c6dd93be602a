//! What a route says about the path: this path, everything below it, or a path with gaps.
//!
//! Made only from text that [`super::normalise`] accepts, in its one spelling, so that a request's
//! path can be compared byte by byte. Values of gaps are not captured: no room needs them.

use super::path::{PathError, normalise};
use std::fmt;

/// Bounds the depth of the matcher's recursion, whatever the configuration says.
const MAX_SEGMENTS: usize = 64;

/// Which paths a route answers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathPattern {
    /// This path only; `/orders` is not `/orders/`.
    Exact(ExactPath),
    /// This path and everything below it, by whole segments.
    Prefix(PrefixPath),
    /// A path with gaps.
    Pattern(GapPath),
}

/// A path in its one spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExactPath(Box<str>);

/// A path in its one spelling, without a slash at its end: empty for `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixPath(Box<str>);

/// Segments, some of them open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapPath {
    text: Box<str>,
    segments: Vec<Segment>,
}

/// One part of a path with gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// These bytes; empty only as the last one, for a path that ends in a slash.
    Literal(Box<str>),
    /// `{name}`: one segment, not empty.
    Gap,
    /// `{*name}`: the rest, which may be empty: `/files/{*rest}` answers to `/files/` but not to `/files`.
    Tail,
}

/// What is wrong with a path in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathPatternError {
    /// No request could have this path.
    #[error("{0}")]
    Path(#[from] PathError),
    /// A brace that is not around a whole segment, or not closed, or around nothing.
    #[error("`{0}` is neither text nor a gap (hint: a gap is a whole segment, `/users/{{id}}`)")]
    Gap(String),
    /// `{*rest}` before the end.
    #[error("`{0}` must be the last segment")]
    TailNotLast(String),
    /// More than 64 segments.
    #[error("the path has more than {MAX_SEGMENTS} segments")]
    TooDeep,
}

impl PathPattern {
    /// `path = "/orders"`.
    pub fn exact(text: &str) -> Result<Self, PathPatternError> {
        Ok(PathPattern::Exact(ExactPath(normalise(text)?.path.into())))
    }

    /// `path_prefix = "/orders"`, which is the same as `/orders/`. Matches whole segments.
    pub fn prefix(text: &str) -> Result<Self, PathPatternError> {
        let path = normalise(text)?.path;
        let path = path.strip_suffix('/').unwrap_or(&path);
        if path.split('/').count() > MAX_SEGMENTS {
            return Err(PathPatternError::TooDeep);
        }
        Ok(PathPattern::Prefix(PrefixPath(path.into())))
    }

    /// `path_pattern = "/users/{id}"`: `{name}` is one segment, a last `{*name}` is the rest. A brace as text
    /// is written `%7B` or `%7D`.
    pub fn pattern(text: &str) -> Result<Self, PathPatternError> {
        let path = normalise(text)?.path;
        let mut segments = Vec::new();
        for part in path[1..].split('/') {
            if segments.last() == Some(&Segment::Tail) {
                return Err(PathPatternError::TailNotLast(text.to_owned()));
            }
            segments.push(Segment::parse(part)?);
        }
        if segments.len() > MAX_SEGMENTS {
            return Err(PathPatternError::TooDeep);
        }
        Ok(PathPattern::Pattern(GapPath { text: path.into(), segments }))
    }

    /// A path that it answers to, for messages: gaps are filled with their names.
    pub(super) fn example(&self) -> String {
        match self {
            PathPattern::Exact(path) => path.as_str().to_owned(),
            PathPattern::Prefix(path) if path.as_str().is_empty() => "/".to_owned(),
            PathPattern::Prefix(path) => path.as_str().to_owned(),
            PathPattern::Pattern(path) => path.text.replace(['{', '}', '*'], ""),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathPattern::Exact(path) => f.write_str(path.as_str()),
            PathPattern::Prefix(path) => write!(f, "{}/", path.as_str()),
            PathPattern::Pattern(path) => f.write_str(&path.text),
        }
    }
}

impl ExactPath {
    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PrefixPath {
    /// The path without a slash at its end: empty for `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = &str> {
        // The part before the first slash is empty.
        self.0.split('/').skip(1)
    }
}

impl GapPath {
    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

impl Segment {
    fn parse(part: &str) -> Result<Self, PathPatternError> {
        if !part.contains(['{', '}']) {
            return Ok(Segment::Literal(part.into()));
        }
        let inner = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let (name, segment) = match inner.map(|inner| (inner.strip_prefix('*'), inner)) {
            Some((Some(name), _)) => (name, Segment::Tail),
            Some((None, name)) => (name, Segment::Gap),
            None => return Err(PathPatternError::Gap(part.to_owned())),
        };
        let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if name.is_empty() || !is_name(name) {
            return Err(PathPatternError::Gap(part.to_owned()));
        }
        Ok(segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_taken_in_its_one_spelling() {
        assert_eq!(PathPattern::exact("//a%2db").unwrap().to_string(), "/a-b");
        assert_eq!(PathPattern::prefix("/orders/"), PathPattern::prefix("/orders"));
        assert_eq!(PathPattern::prefix("/").unwrap().to_string(), "/");
        assert_eq!(PathPattern::prefix("/").unwrap().example(), "/");
        assert_eq!(PathPattern::pattern("/u/{id}/{*rest}").unwrap().example(), "/u/id/rest");
    }

    #[test]
    fn says_what_is_wrong_with_a_configured_path() {
        use PathPatternError::*;
        for text in ["/{", "/}", "/{}", "/{*}", "/a{b}", "/{b}c", "/{a}{b}", "/{{a}}", "/{a*}"] {
            assert!(matches!(PathPattern::pattern(text), Err(Gap(_))), "{text}");
        }
        assert!(matches!(PathPattern::pattern("/{*rest}/a"), Err(TailNotLast(_))));
        assert_eq!(PathPattern::exact("orders"), Err(Path(PathError::NotAbsolute)));
        assert_eq!(PathPattern::prefix("/a/../b"), Err(Path(PathError::DotSegment)));
        assert_eq!(PathPattern::exact("/café"), Err(Path(PathError::RawByte)));
        assert_eq!(PathPattern::pattern(&"/a".repeat(65)), Err(TooDeep));
        assert_eq!(PathPattern::prefix(&"/a".repeat(65)), Err(TooDeep));
    }
}
