//! Finds the route of a request.
//!
//! **A route matches when everything that it says is true; precedence only chooses among routes that match.**
//! Most specific host first (exact, then the longest suffix, then none), then exact path, then pattern, then
//! longest prefix, then a route that names the listener, then more headers, then one that names the method. Two patterns are compared from the
//! left: text, then `{gap}`, then `{*tail}`. Where that leaves two routes equal, [`Matcher::build`] refuses.
//!
//! So a route without hosts answers on every host, also on one that other routes name, where these have no
//! match: as in the Gateway API, and unlike nginx and Envoy, whose server blocks claim their host whole. We
//! have no server blocks, and a route that says "any host" should not stop saying so when someone adds another.
//!
//! It does not refuse encoded slashes or misdirected requests: that is its caller's decision.

use super::host::HostPattern;
use super::pattern::PathPattern;
use super::trie::Trie;
use hashbrown::HashMap;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::sync::Arc;

type Map<T> = HashMap<Box<str>, T, foldhash::fast::RandomState>;

/// What a request must be to belong to a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteKey {
    /// Any of these; empty means every host.
    pub hosts: Vec<HostPattern>,
    /// The path.
    pub path: PathPattern,
    /// Any of these; empty means every method. `GET` answers `HEAD` too (RFC 9110 9.3.2).
    pub methods: Vec<Method>,
    /// All of these.
    pub headers: Vec<HeaderMatch>,
    /// Came in by any of these, by name; empty means every listener.
    pub listeners: Vec<Arc<str>>,
}

/// A condition on one header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// Which header.
    pub name: HeaderName,
    /// What about it.
    pub value: HeaderTest,
}

/// What a header must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderTest {
    /// Exactly this. When the header is repeated, every line must be this, so that nobody can be in two
    /// routes at once.
    Exact(HeaderValue),
    /// There, with any value.
    Present,
}

/// Two routes that a request could match with equal precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ambiguity {
    /// The index of one of them; the smaller.
    pub first: usize,
    /// The index of the other.
    pub second: usize,
    /// A request that both match, to show to a person: `GET api.example.com/orders`.
    pub example: String,
}

/// No route matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Miss {
    /// 404.
    NotFound,
    /// 405: routes match but for the method.
    Method {
        /// The methods of those routes, for the `Allow` header.
        allow: HeaderValue,
    },
}

/// All routes of a table, ready to be searched. Finding takes time in proportion to host and path, not to the
/// number of routes, and allocates only for the `Allow` header.
#[derive(Debug, Default)]
pub struct Matcher {
    exact: Map<Paths>,
    suffixes: Map<Paths>,
    /// Bytes; longer ends of a host are not looked up.
    longest_suffix: usize,
    every_host: Paths,
}

impl Matcher {
    /// Builds it from routes in any order. For a route that is ambiguous with several earlier ones on one
    /// host and path, the first of them is named.
    pub fn build(routes: &[RouteKey]) -> Result<Self, Vec<Ambiguity>> {
        let mut matcher = Matcher::default();
        let mut ambiguities = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            let mut hosts: Vec<_> = route.hosts.iter().map(Some).collect();
            hosts.sort();
            hosts.dedup();
            if hosts.is_empty() {
                hosts.push(None);
            }
            for host in hosts {
                let group = matcher.paths_for(host).group_for(&route.path);
                if let Some(other) = group.insert(Entry::new(index, route)) {
                    let example = example(host, &routes[other], route);
                    ambiguities.push(Ambiguity { first: other, second: index, example });
                }
            }
        }
        if ambiguities.is_empty() { Ok(matcher) } else { Err(one_per_pair(ambiguities)) }
    }

    /// The index of the route for a request. `host` and `path` are in their one spelling
    /// ([`normalise_host`](super::normalise_host), [`normalise`](super::normalise)); an empty host (HTTP/1.0
    /// without `Host`) matches routes for every host. `listener` is the one that the request came in by.
    pub fn find(
        &self,
        listener: &str,
        host: &str,
        path: &str,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<usize, Miss> {
        let mut wrong_method = false;
        let accepts = |entry: &Entry| entry.accepts_listener(listener) && entry.accepts_headers(headers);
        let found = self.walk(host, path, |group| group.choose(method, accepts, &mut wrong_method));
        match found {
            Some(route) => Ok(route),
            None if wrong_method => Err(Miss::Method { allow: self.allow(host, path, accepts) }),
            None => Err(Miss::NotFound),
        }
    }

    /// Offers the groups that answer to host and path, best first, until `take` has an answer.
    fn walk<'a, T>(
        &'a self,
        host: &str,
        path: &str,
        mut take: impl FnMut(&'a Group) -> Option<T>,
    ) -> Option<T> {
        if let Some(paths) = self.exact.get(host)
            && let Some(taken) = paths.walk(path, &mut take)
        {
            return Some(taken);
        }
        // From left to right: the longest suffix first. A leading dot is no host's.
        for dot in memchr::memchr_iter(b'.', host.as_bytes()).filter(|dot| *dot > 0) {
            let suffix = &host[dot + 1..];
            if suffix.len() <= self.longest_suffix
                && let Some(paths) = self.suffixes.get(suffix)
                && let Some(taken) = paths.walk(path, &mut take)
            {
                return Some(taken);
            }
        }
        self.every_host.walk(path, &mut take)
    }

    /// Walks again, on the way to a 405 only.
    fn allow(&self, host: &str, path: &str, accepts: impl Fn(&Entry) -> bool) -> HeaderValue {
        let mut names: Vec<&str> = Vec::new();
        self.walk(host, path, |group| {
            for entry in group.entries.iter().filter(|entry| accepts(entry)) {
                names.extend(entry.methods.iter().map(Method::as_str));
            }
            None::<()>
        });
        if names.contains(&"GET") {
            names.push("HEAD");
        }
        names.sort_unstable();
        names.dedup();
        // Methods are tokens (RFC 9110 9.1), so the list is a valid value.
        HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static(""))
    }

    fn paths_for(&mut self, host: Option<&HostPattern>) -> &mut Paths {
        match host {
            Some(HostPattern::Exact(name)) => self.exact.entry_ref(name.as_str()).or_default(),
            Some(HostPattern::Suffix(suffix)) => {
                self.longest_suffix = self.longest_suffix.max(suffix.as_str().len());
                self.suffixes.entry_ref(suffix.as_str()).or_default()
            }
            None => &mut self.every_host,
        }
    }
}

/// The paths of one host pattern.
#[derive(Debug, Default)]
struct Paths {
    exact: Map<u32>,
    patterns: Trie,
    prefixes: Trie,
    groups: Vec<Group>,
}

impl Paths {
    fn group_for(&mut self, path: &PathPattern) -> &mut Group {
        let slot = match path {
            PathPattern::Exact(path) => self.exact.entry_ref(path.as_str()).or_insert(u32::MAX),
            PathPattern::Pattern(path) => self.patterns.pattern_slot(path.segments()).get_or_insert(u32::MAX),
            PathPattern::Prefix(path) => self.prefixes.prefix_slot(path.segments()).get_or_insert(u32::MAX),
        };
        if *slot == u32::MAX {
            *slot = self.groups.len() as u32;
            self.groups.push(Group::default());
        }
        &mut self.groups[*slot as usize]
    }

    fn walk<'a, T>(&'a self, path: &str, take: &mut impl FnMut(&'a Group) -> Option<T>) -> Option<T> {
        let mut take = |group: u32| take(&self.groups[group as usize]);
        if let Some(group) = self.exact.get(path)
            && let Some(taken) = take(*group)
        {
            return Some(taken);
        }
        let rest = path.strip_prefix('/');
        if let Some(taken) = self.patterns.walk_patterns(rest, &mut take) {
            return Some(taken);
        }
        self.prefixes.walk_prefixes(rest, &mut take)
    }
}

/// Routes of one host and one path; those that name listeners first, then those with more headers.
#[derive(Debug, Default)]
struct Group {
    entries: Vec<Entry>,
}

impl Group {
    /// Adds a route; returns one that it cannot be told apart from.
    fn insert(&mut self, entry: Entry) -> Option<usize> {
        let twin = self.entries.iter().find(|other| other.is_ambiguous_with(&entry)).map(|other| other.route);
        let place = self.entries.partition_point(|other| other.weight() >= entry.weight());
        self.entries.insert(place, entry);
        twin
    }

    fn choose(
        &self,
        method: &Method,
        accepts: impl Fn(&Entry) -> bool,
        wrong_method: &mut bool,
    ) -> Option<usize> {
        let mut best: Option<(&Entry, Fit)> = None;
        for entry in &self.entries {
            if best.is_some_and(|(best, _)| best.weight() > entry.weight()) {
                break;
            }
            if !accepts(entry) {
                continue;
            }
            match entry.fit(method) {
                Some(fit) if best.is_none_or(|(_, best)| fit > best) => best = Some((entry, fit)),
                Some(_) => {}
                None => *wrong_method = true,
            }
        }
        best.map(|(entry, _)| entry.route)
    }
}

/// How a route accepts a method; the later the better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// It takes every method.
    Every,
    /// It names `GET`, and the method is `HEAD`.
    HeadByGet,
    /// It names the method.
    Named,
}

#[derive(Debug)]
struct Entry {
    route: usize,
    methods: Box<[Method]>,
    headers: Box<[HeaderMatch]>,
    listeners: Box<[Arc<str>]>,
}

impl Entry {
    fn new(route: usize, key: &RouteKey) -> Self {
        Entry {
            route,
            methods: key.methods.clone().into(),
            headers: key.headers.clone().into(),
            listeners: key.listeners.clone().into(),
        }
    }

    /// What decides between two that match, but for the method; the larger the better.
    fn weight(&self) -> (bool, usize) {
        (!self.listeners.is_empty(), self.headers.len())
    }

    fn accepts_listener(&self, listener: &str) -> bool {
        self.listeners.is_empty() || self.listeners.iter().any(|name| **name == *listener)
    }

    fn fit(&self, method: &Method) -> Option<Fit> {
        if self.methods.is_empty() {
            Some(Fit::Every)
        } else if self.methods.contains(method) {
            Some(Fit::Named)
        } else if method == Method::HEAD && self.methods.contains(&Method::GET) {
            Some(Fit::HeadByGet)
        } else {
            None
        }
    }

    fn accepts_headers(&self, headers: &HeaderMap) -> bool {
        self.headers.iter().all(|wanted| match &wanted.value {
            HeaderTest::Present => headers.contains_key(&wanted.name),
            HeaderTest::Exact(value) => {
                let mut lines = headers.get_all(&wanted.name).iter().peekable();
                lines.peek().is_some() && lines.all(|line| line == value)
            }
        })
    }

    /// Whether some request matches both and neither is preferred.
    fn is_ambiguous_with(&self, other: &Entry) -> bool {
        self.weight() == other.weight()
            && (self.listeners.is_empty() || shared_listener(&self.listeners, &other.listeners).is_some())
            && shared_method(&self.methods, &other.methods).is_some()
            && !self.headers.iter().any(|one| other.headers.iter().any(|two| one.excludes(two)))
    }
}

impl HeaderMatch {
    fn excludes(&self, other: &HeaderMatch) -> bool {
        let both = (&self.value, &other.value);
        self.name == other.name
            && matches!(both, (HeaderTest::Exact(one), HeaderTest::Exact(two)) if one != two)
    }
}

/// A method that two routes accept with the same [`Fit`]. (`HEAD` by `GET` in both implies `GET` in both.)
fn shared_method<'a>(one: &'a [Method], two: &[Method]) -> Option<&'a Method> {
    if one.is_empty() && two.is_empty() {
        return Some(&Method::GET);
    }
    one.iter().find(|method| two.contains(method))
}

fn shared_listener<'a>(one: &'a [Arc<str>], two: &[Arc<str>]) -> Option<&'a Arc<str>> {
    one.iter().find(|name| two.contains(name))
}

fn example(host: Option<&HostPattern>, one: &RouteKey, two: &RouteKey) -> String {
    let host = match host {
        Some(HostPattern::Exact(name)) => name.as_str().to_owned(),
        Some(HostPattern::Suffix(suffix)) => format!("any.{}", suffix.as_str()),
        None => "any.host".to_owned(),
    };
    let method = shared_method(&one.methods, &two.methods).unwrap_or(&Method::GET);
    let mut text = format!("{method} {host}{}", one.path.example());
    if let Some(listener) = shared_listener(&one.listeners, &two.listeners) {
        text += " on ";
        text += listener;
    }
    let mut lines: Vec<String> = one.headers.iter().chain(&two.headers).map(header_line).collect();
    lines.sort();
    lines.dedup();
    for line in lines {
        text += " with ";
        text += &line;
    }
    text
}

fn header_line(header: &HeaderMatch) -> String {
    match &header.value {
        HeaderTest::Exact(value) => {
            format!("`{}: {}`", header.name, String::from_utf8_lossy(value.as_bytes()))
        }
        HeaderTest::Present => format!("`{}`", header.name),
    }
}

/// Routes with several hosts may clash on each: once is enough to say so.
fn one_per_pair(mut ambiguities: Vec<Ambiguity>) -> Vec<Ambiguity> {
    ambiguities.sort();
    ambiguities.dedup_by_key(|ambiguity| (ambiguity.first, ambiguity.second));
    ambiguities
}

#[cfg(test)]
mod tests;
