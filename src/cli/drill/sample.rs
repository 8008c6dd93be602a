//! Which routes and upstreams of a configuration a drill asks: all of a small one, some of a large one, and it says
//! which.

use super::facts::Facts;
use super::target::Target;
use std::collections::{BTreeMap, BTreeSet};

/// Upstreams that are struck in turn at most; and with `--quick`.
const MOST_UPSTREAMS: usize = 4;
const MOST_QUICK: usize = 2;
/// Routes that are asked of one upstream at most.
const MOST_ROUTES: usize = 4;

/// What is asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample {
    /// Upstreams with routes that are asked, those with the most routes first.
    pub upstreams: Vec<String>,
    /// The requests, numbered in this order.
    pub targets: Vec<Target>,
    /// Routes that go to an upstream, asked or not.
    pub of_routes: usize,
    /// Upstreams with routes, asked or not.
    pub of_upstreams: usize,
}

impl Sample {
    /// Chooses; `wanted` are upstreams that somebody asked for by name, and are taken alone.
    ///
    /// # Errors
    /// When a wanted one is not there, or has no route that can be asked.
    pub fn of(facts: &Facts, targets: Vec<Target>, wanted: &[String], quick: bool) -> anyhow::Result<Sample> {
        let mut of: BTreeMap<String, Vec<Target>> = BTreeMap::new();
        targets.into_iter().for_each(|target| of.entry(target.upstream.clone()).or_default().push(target));
        if let Some(unknown) = wanted.iter().find(|name| !of.contains_key(*name)) {
            let names: Vec<_> = of.keys().map(String::as_str).collect();
            anyhow::bail!(
                "no route that can be asked goes to an upstream {unknown}: there are {}",
                names.join(", ")
            );
        }
        let of_upstreams = of.len();
        let mut names: Vec<String> =
            of.keys().filter(|it| wanted.is_empty() || wanted.contains(it)).cloned().collect();
        names.sort_by_key(|name| std::cmp::Reverse(of.get(name).map_or(0, Vec::len)));
        if wanted.is_empty() {
            names.truncate(if quick { MOST_QUICK } else { MOST_UPSTREAMS });
            keep_every_auth(facts, &of, &mut names);
        }
        let chosen = names.iter().flat_map(|name| some(facts, of.remove(name).unwrap_or_default()));
        let targets = (0..).zip(chosen).map(|(number, target)| Target { number, ..target }).collect();
        Ok(Sample { upstreams: names, targets, of_routes: facts.routes.len(), of_upstreams })
    }

    /// Upstreams that need stand-ins: those that are asked, and those that judge for them.
    pub fn cast(&self, facts: &Facts) -> BTreeSet<String> {
        let guards = self.auths(facts).into_iter().filter_map(|auth| facts.auths.get(&auth));
        self.upstreams.iter().cloned().chain(guards.map(|auth| auth.upstream.clone())).collect()
    }

    /// Auths that ask a service and guard a route that is asked.
    pub fn auths(&self, facts: &Facts) -> Vec<String> {
        let guards = self.targets.iter().filter_map(|target| facts.route(&target.route)?.auth.clone());
        let guards: BTreeSet<String> = guards.filter(|auth| facts.auths.contains_key(auth)).collect();
        guards.into_iter().collect()
    }
}

/// An auth that none of the chosen upstreams needs takes the place of the last of them, if more than one is left.
fn keep_every_auth(facts: &Facts, of: &BTreeMap<String, Vec<Target>>, names: &mut Vec<String>) {
    let guards = |name: &String, auth: &str| {
        let targets = of.get(name).into_iter().flatten();
        targets
            .filter_map(|target| facts.route(&target.route))
            .any(|route| route.auth.as_deref() == Some(auth))
    };
    for auth in facts.auths.keys() {
        if names.iter().any(|name| guards(name, auth)) {
            continue;
        }
        let Some(needs) = of.keys().find(|name| guards(name, auth)) else { continue };
        if names.len() < MOST_UPSTREAMS {
            names.push(needs.clone());
        }
    }
}

/// Of the routes of one upstream: first one of each class and auth, then whatever is left, in the order of the file.
fn some(facts: &Facts, targets: Vec<Target>) -> Vec<Target> {
    let mut kinds = BTreeSet::new();
    let (mut first, mut others): (Vec<Target>, Vec<Target>) = targets.into_iter().partition(|target| {
        facts.route(&target.route).is_some_and(|route| kinds.insert((route.class as u8, route.auth.clone())))
    });
    first.append(&mut others);
    first.truncate(MOST_ROUTES);
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::drill::target;
    use crate::config::{self, ProcessEnvironment};
    use std::path::Path;

    fn sample(text: &str, wanted: &[String]) -> anyhow::Result<Sample> {
        let checked = config::check(text, Path::new("gateway.toml"), &ProcessEnvironment);
        let why = checked.render(false);
        let plan = checked.plan.unwrap_or_else(|| panic!("{why}"));
        let facts = Facts::of(&plan, &BTreeMap::new());
        Sample::of(&facts, target::of(&plan), wanted, true)
    }

    fn large() -> String {
        let mut text = "[[listeners]]\nname = \"edge\"\naddress = \"127.0.0.1:0\"\n".to_owned();
        for upstream in 0..40 {
            text += &format!(
                "[[upstreams]]\nname = \"u{upstream}\"\nbackends = [{{ name = \"a\", address = \"127.0.0.1:1\" }}]\n"
            );
        }
        text += "[[auth]]\nname = \"rare\"\nupstream = \"u39\"\npath = \"/verify\"\n";
        for route in 0..1_000 {
            let class = if route == 995 { "critical" } else { "default" };
            let auth = if route == 7 { "auth = \"rare\"\n" } else { "" };
            text += &format!(
                "[[routes]]\nname = \"r{route}\"\npath_prefix = \"/r{route}\"\nclass = \"{class}\"\nupstream = \"u{}\"\n{auth}",
                route % 38 % 30
            );
        }
        text
    }

    #[test]
    fn of_a_thousand_routes_a_few_are_asked_and_each_auth_and_class_among_them() {
        let sample = sample(&large(), &[]).expect("chosen");
        assert_eq!((sample.of_routes, sample.of_upstreams), (1_000, 30));
        assert!(sample.upstreams.len() <= 3 && sample.targets.len() <= 12, "{:?}", sample.upstreams);
        assert!(sample.targets.iter().any(|target| target.auth.is_some()), "{:?}", sample.upstreams);
        let numbers: Vec<u32> = sample.targets.iter().map(|target| target.number).collect();
        assert_eq!(numbers, (0..numbers.len() as u32).collect::<Vec<_>>());
    }

    #[test]
    fn whoever_is_asked_for_by_name_is_taken_and_a_wrong_name_is_told() {
        let of_one = sample(&large(), &["u29".to_owned()]).expect("chosen");
        assert_eq!(of_one.upstreams, ["u29"]);
        let wrong = sample(&large(), &["u99".to_owned()]).expect_err("unknown").to_string();
        assert!(wrong.contains("u99") && wrong.contains("u0"), "{wrong}");
    }
}
