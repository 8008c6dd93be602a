//! What a version is made of beside its text, read in one go where files may block: so that no table is built, and no
//! lock held, while a disk hangs. And an environment that falls back to what was kept of a good version, so that one
//! comes back though a file or a variable is gone (`design.md`, "Rollback").

use crate::config::{self, Environment};
mod absent;

use crate::config::interpolate::fill;
use crate::config::plan::Plan;
use crate::control::keyrings::Keyrings;
use crate::control::store::materials::Materials;
use crate::filters::auth::settings::{Jwt, KeySource, Kind};
use crate::upstream::pem::{Files, OnDisk};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};

/// Contents of files as they were read, errors included.
#[derive(Debug, Default)]
pub struct Shelf(HashMap<PathBuf, Result<Vec<u8>, (io::ErrorKind, String)>>);

impl Files for Shelf {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match self.0.get(path) {
            Some(Ok(content)) => Ok(content.clone()),
            Some(Err((kind, why))) => Err(io::Error::new(*kind, why.clone())),
            None => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "it was not read in time, and nothing is kept of it",
            )),
        }
    }
}

impl Shelf {
    /// Reads every file that `plan` names. Blocks.
    pub fn read(plan: &Plan) -> Shelf {
        let read = |path: PathBuf| {
            let content = OnDisk.read(&path).map_err(|error| (error.kind(), error.to_string()));
            (path, content)
        };
        Shelf(named(plan).into_iter().map(read).collect())
    }

    /// Where a file could not be read, what was kept of it stands in. Returns whose.
    pub fn fall_back(&mut self, plan: &Plan, kept: &Materials) -> Vec<PathBuf> {
        let mut used = Vec::new();
        for path in named(plan) {
            if !matches!(self.0.get(&path), Some(Ok(_)))
                && let Some(content) = kept.files.get(&path)
            {
                self.0.insert(path.clone(), Ok(content.clone()));
                used.push(path);
            }
        }
        used
    }

    /// What could be read.
    pub fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let read = |(path, content): (&PathBuf, &Result<Vec<u8>, _>)| {
            Some((path.clone(), content.as_ref().ok()?.clone()))
        };
        self.0.iter().filter_map(read).collect()
    }
}

/// Every file that a plan names and that is not there to fill a value.
pub fn named(plan: &Plan) -> BTreeSet<PathBuf> {
    let listeners = plan.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let shown = listeners.flat_map(|tls| {
        let pairs = tls.certificates.iter().flat_map(|pair| [&pair.certificate, &pair.key]);
        pairs.chain(&tls.client_ca)
    });
    let upstreams = plan.upstreams.iter().filter_map(|upstream| upstream.transport.tls.as_ref());
    let trusted = upstreams.flat_map(|tls| {
        tls.ca.iter().chain(tls.client.iter().flat_map(|(certificate, key)| [certificate, key]))
    });
    let keys = jwts(plan).filter_map(|jwt| match &jwt.source {
        KeySource::Url { ca, .. } => ca.as_ref(),
        KeySource::File(path) => Some(path),
        KeySource::Upstream { .. } | KeySource::Secret(_) => None,
    });
    let told = plan.sinks.iter().filter_map(|sink| sink.ca.as_ref());
    shown.chain(trusted).chain(keys).chain(told).cloned().collect()
}

/// Everything that is judged by signed tokens.
pub fn jwts(plan: &Plan) -> impl Iterator<Item = &Jwt> {
    plan.auths.iter().filter_map(|auth| match &auth.kind {
        Kind::Jwt(jwt) => Some(jwt),
        Kind::External(_) | Kind::ApiKey(_) => None,
    })
}

/// A version's sources as they are now, and what is to be kept of them. Blocks on files.
pub fn read(
    plan: &Plan,
    text: &str,
    file: &Path,
    env: &dyn Environment,
    keyrings: &Keyrings,
) -> (Shelf, Materials) {
    keyrings.read_ahead(jwts(plan));
    let shelf = Shelf::read(plan);
    let materials = Materials { files: shelf.contents(), ..values(text, file, env) };
    (shelf, materials)
}

/// What fills a text now. Blocks on files.
pub fn values(text: &str, file: &Path, env: &dyn Environment) -> Materials {
    let listener = Recorder { inner: env, seen: RefCell::default() };
    // What cannot be filled was told by the check, or was filled from what is kept.
    let _ = fill(text, &folder(file), &listener);
    listener.seen.into_inner()
}

/// What is said of a version, without what filled its placeholders now or before: a file's name may be such a value.
pub fn without_values(said: &str, text: &str, file: &Path, now: &Materials, kept: &Materials) -> String {
    let (folder, nothing) = (folder(file), Materials::default());
    let now_out = config::unfill(said, text, &folder, &Fallback::new(now, &nothing));
    config::unfill(&now_out, text, &folder, &Fallback::new(kept, &nothing))
}

/// As the check resolves paths.
fn folder(file: &Path) -> PathBuf {
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    absolute.parent().map(Path::to_path_buf).unwrap_or_default()
}

/// What a good version's text says, filled with what is there now, else with what was kept; what is missing even there
/// closes what it belongs to. Also says what is gone, a sentence each.
///
/// # Errors
/// What is wrong with it.
pub fn understood(
    text: &str,
    file: &Path,
    now: &Materials,
    kept: &Materials,
) -> Result<(Plan, Vec<String>), String> {
    let fallback = Fallback::new(now, kept);
    let checked = config::check(text, file, &fallback);
    let errors = checked.errors();
    let (plan, mut told) = match checked.plan {
        Some(plan) => (plan, Vec::new()),
        None => absent::without(text, file, &fallback).ok_or_else(|| errors.join("; "))?,
    };
    told.extend(fallback.gone().iter().map(|name| format!("{name} is gone; what was kept of it is used.")));
    Ok((plan, told))
}

/// Writes down what is asked for.
struct Recorder<'a> {
    inner: &'a dyn Environment,
    seen: RefCell<Materials>,
}

impl Environment for Recorder<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        let value = self.inner.variable(name);
        let mut seen = self.seen.borrow_mut();
        match &value {
            Some(value) => drop(seen.variables.insert(name.to_owned(), value.clone())),
            None => drop(seen.unset.insert(name.to_owned())),
        }
        value
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        let content = self.inner.read(path)?;
        self.seen.borrow_mut().fills.insert(path.to_owned(), content.clone());
        Ok(content)
    }

    fn exists(&self, path: &Path) -> bool {
        self.inner.exists(path)
    }
}

/// What was read in time, then what was kept of a good version. Asks nobody.
pub struct Fallback<'a> {
    now: &'a Materials,
    kept: &'a Materials,
    /// What was filled from what is kept, by its name in the text.
    gone: RefCell<BTreeSet<String>>,
}

impl<'a> Fallback<'a> {
    /// First `now`, then `kept`.
    pub fn new(now: &'a Materials, kept: &'a Materials) -> Self {
        Fallback { now, kept, gone: RefCell::default() }
    }

    /// What is gone and was kept, by its name in the text.
    pub fn gone(self) -> Vec<String> {
        self.gone.into_inner().into_iter().collect()
    }
}

impl Environment for Fallback<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        if let Some(value) = self.now.variables.get(name) {
            return Some(value.clone());
        }
        let value = self.kept.variables.get(name).cloned();
        if value.is_some() {
            self.gone.borrow_mut().insert(format!("${{{name}}}"));
        }
        value
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        if let Some(content) = self.now.fills.get(path) {
            return Ok(content.clone());
        }
        let content = self.kept.fills.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        self.gone.borrow_mut().insert(format!("${{file:{}}}", path.display()));
        Ok(content)
    }

    /// It is only warned about what is not there, and this version was good before.
    fn exists(&self, _path: &Path) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Now;

    impl Environment for Now {
        fn variable(&self, name: &str) -> Option<String> {
            (name == "A").then(|| "new a".to_owned())
        }
        fn read(&self, path: &Path) -> io::Result<String> {
            if path.ends_with("there") { Ok("new file".into()) } else { Err(io::ErrorKind::NotFound.into()) }
        }
        fn exists(&self, _path: &Path) -> bool {
            false
        }
    }

    const TEXT: &str = "${A} ${B} ${C:default} ${file:there} ${file:gone}";

    #[test]
    fn what_is_there_fills_first_then_what_was_kept() {
        let file = Path::new("/etc/tidegate/gateway.toml");
        let now = values(TEXT, file, &Now);
        assert_eq!(now.variables, BTreeMap::from([("A".into(), "new a".into())]));
        assert_eq!(now.unset, BTreeSet::from(["B".into(), "C".into()]));
        let kept = Materials {
            variables: BTreeMap::from([("A".into(), "old a".into()), ("B".into(), "old b".into())]),
            fills: BTreeMap::from([("/etc/tidegate/gone".into(), "old file".into())]),
            ..Materials::default()
        };
        let fallback = Fallback::new(&now, &kept);
        let filled = fill(TEXT, Path::new("/etc/tidegate"), &fallback).expect("all of it");
        assert_eq!(filled.as_deref(), Some("new a old b default new file old file"));
        assert_eq!(fallback.gone(), ["${B}", "${file:/etc/tidegate/gone}"]);
    }
}
