//! Whose requests may notice, of two texts as they are written: for texts of long ago, whose fillings nobody has any more,
//! so that there is no plan of them.
//!
//! Where what is left out follows other things it names rather too many: whoever shares an upstream with a route that
//! comes, goes or changes in what the upstream goes by. Where names are filled in nothing can be told.

use super::pairs::{Change, Step};
use super::said::cut;
use super::{End, RouteChange};
use crate::config::interpolate::placeholders;
use crate::config::value::Table;
use std::collections::HashSet;

/// Keys of a route that its upstream's own defaults follow.
const SHARED: [&str; 4] = ["upstream", "timeout", "class", "streaming"];
/// Keys of an auth by which it takes headers out of every client's requests.
const TAKES: [&str; 2] = ["copy_headers", "forward"];
/// With fewer upstreams than this, how many there are decides what one of them may hold.
const FEW_UPSTREAMS: usize = 4;

/// The routes that may notice; nothing where that cannot be told, or it is all of them.
pub(super) fn routes(ends: &[End<'_>; 2], changes: &[Change]) -> Option<Vec<RouteChange>> {
    if ends.iter().any(names_are_filled) {
        return None;
    }
    let mut touched = Touched::default();
    changes.iter().try_for_each(|change| touched.add(ends, change))?;
    for auth in ends.iter().flat_map(|end| end.root.tables("auth")) {
        if auth.text("upstream").is_some_and(|name| touched.upstreams.contains(name)) {
            touched.auths.extend(auth.text("name"));
        }
    }
    let known: [HashSet<&str>; 2] =
        [0, 1].map(|side| ends[side].root.tables("routes").filter_map(|it| it.text("name")).collect());
    let named = |route: &Table, new, removed| {
        let name = route.text("name").unwrap_or_default();
        RouteChange { name: name.into(), written: cut(name), new, removed }
    };
    let is_known = |side: usize, route: &Table| route.text("name").is_some_and(|it| known[side].contains(it));
    let later = ends[1].root.tables("routes").filter_map(|route| {
        let new = !is_known(0, route);
        (new || touched.route(route)).then(|| named(route, new, false))
    });
    let gone = ends[0].root.tables("routes").filter(|route| !is_known(1, route));
    Some(later.chain(gone.map(|route| named(route, false, true))).collect())
}

/// A name that a placeholder makes is not known from its text.
fn names_are_filled(end: &End<'_>) -> bool {
    let tables = ["upstreams", "auth", "routes"].into_iter().flat_map(|list| end.root.tables(list));
    tables
        .flat_map(|table| ["name", "upstream", "auth"].into_iter().filter_map(|key| table.text(key)))
        .any(|text| !placeholders(text).is_empty())
}

/// What says something else, by names.
#[derive(Default)]
struct Touched<'a> {
    upstreams: HashSet<&'a str>,
    auths: HashSet<&'a str>,
    routes: HashSet<&'a str>,
}

impl<'a> Touched<'a> {
    /// Nothing when everybody may notice.
    fn add(&mut self, ends: &'a [End<'_>; 2], change: &'a Change) -> Option<()> {
        let (list, name, key) = match change.path.as_slice() {
            [Step::Key(list), Step::Name(name), rest @ ..] => (*list, name.as_str(), rest.first()),
            [Step::Key(list), ..] => (*list, "", None),
            _ => return None,
        };
        let is = |keys: &[&str]| key.is_none_or(|key| keys.iter().any(|it| key.is(it)));
        let tables = || {
            let both = ends.iter().flat_map(|end| end.root.tables(list));
            both.filter(|table| table.text("name") == Some(name))
        };
        match list {
            "admin" | "rollout" | "notify" | "incidents" | "status_page" | "access_log" => {}
            "upstreams" => {
                let few = || ends.iter().any(|end| end.root.tables("upstreams").count() < FEW_UPSTREAMS);
                if key.is_none() && few() {
                    return None;
                }
                self.upstreams.insert(name);
            }
            "auth" => {
                if is(&TAKES) && tables().any(|auth| TAKES.iter().any(|it| auth.written(it).is_some())) {
                    return None;
                }
                self.auths.insert(name);
                if is(&["upstream"]) {
                    self.upstreams.extend(tables().filter_map(|auth| auth.text("upstream")));
                }
            }
            "routes" => {
                self.routes.insert(name);
                if is(&SHARED) {
                    self.upstreams.extend(tables().filter_map(|route| route.text("upstream")));
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn route(&self, route: &Table) -> bool {
        let is_in = |key: &str, names: &HashSet<&str>| route.text(key).is_some_and(|it| names.contains(it));
        is_in("name", &self.routes) || is_in("upstream", &self.upstreams) || is_in("auth", &self.auths)
    }
}
