//! Renewed certificate files, from a look at them to their use. Listeners change what they show; upstreams
//! need a new table, because other trust or another client certificate makes other endpoints.
//!
//! Everything here blocks on files. Whatever cannot be used changes nothing but what the operators are told.
#![expect(clippy::disallowed_methods, reason = "on the background thread, and at start")]

use crate::config::plan::Plan;
use crate::control::Control;
use crate::control::certificates::{Look, News, Owner, is_open_to_others};
use crate::control::sources::{self, Shelf};
use crate::control::store::materials::Materials;
use crate::control::trust::{TrustFound, look};
use crate::listener::renew::Renewal;
use crate::telemetry::events::{CertificateExpires, CertificateRefused, CertificateRenewed, KeyReadable};
use crate::upstream::certificate::{epoch_seconds, rfc3339};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

impl Control {
    /// Reads the files of all certificates; what is new and can be used is in use afterwards. The version keeps
    /// its number and hash, for its text is the same.
    pub fn renew(&self) {
        if self.look_at_certificates() {
            self.restock();
        }
    }

    /// The active version's files as they are in use are what is kept of it. Of what is gone, what was kept before
    /// stays.
    fn restock(&self) {
        let (plan, number, before) = {
            let state = self.state();
            (state.active.plan.clone(), state.number, state.materials.clone())
        };
        let files = Shelf::read(&plan).contents();
        let mut next = before.with(Materials { files, ..Materials::default() });
        let named = sources::named(&plan);
        next.files.retain(|path, _| named.contains(path));
        if next == *before {
            return;
        }
        let next = Arc::new(next);
        // Whoever has the builder changes what runs.
        let _builder = self.builder.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        if state.number == number && Arc::ptr_eq(&state.materials, &before) {
            state.materials = next.clone();
            drop(state);
            self.books.change(|record| record.restock(number, next));
        }
    }

    /// True if nothing is wrong with any of them.
    fn look_at_certificates(&self) -> bool {
        let mut looks: Vec<Look> = self.listeners.renew().into_iter().map(Look::from).collect();
        looks.extend(self.renew_backends());
        let whole = looks.iter().all(|look| look.renewed.is_ok());
        let now = epoch_seconds(SystemTime::now());
        let keys = keys(&self.state().active.plan);
        let open = keys.into_iter().filter(|key| mode(key).is_some_and(is_open_to_others)).collect();
        let mut state = self.state();
        let news = state.certificates.take_in(looks, now);
        let open = state.certificates.newly_open(open);
        drop(state);
        news.iter().for_each(|news| tell(news, now));
        for key in open {
            KeyReadable { key: &key, mode: mode(&key).unwrap_or_default() }.emit();
        }
        whole
    }

    /// Replaces the table if an upstream's files hold something new; the endpoints of the others stay.
    fn renew_backends(&self) -> Vec<Look> {
        let in_use = self.builder.lock().unwrap_or_else(PoisonError::into_inner).trusts().in_use();
        let aside = self.tried().map(|tried| tried.wishes().in_use()).unwrap_or_default();
        // Without the lock: a file that hangs must not hold up a rollback.
        let (found, aside) = (look(in_use), look(aside));
        let new = |found: &TrustFound| Some((found.upstream.clone(), found.changed.as_ref().ok()?.clone()?));
        let renewed: Vec<_> = found.iter().filter_map(new).collect();
        let renewed_aside: Vec<_> = aside.iter().filter_map(new).collect();
        let mut builder = self.builder.lock().unwrap_or_else(PoisonError::into_inner);
        let (plan, number) = {
            let state = self.state();
            (state.active.plan.clone(), state.number)
        };
        let tried = self.tried();
        // Nothing of it can fail that did not fail when the version became active.
        let cannot = |error: String| tracing::error!(error, "the table cannot be built again");
        if !renewed.is_empty()
            && let Ok(table) = builder.rebuild(&plan, number, renewed).map_err(cannot)
        {
            self.put(Some(Arc::new(table)), tried.as_ref().map(|tried| (tried, None)));
            builder.commit(&plan);
        }
        if let Some(tried) = &tried
            && !renewed_aside.is_empty()
            && let Ok(table) = tried.renew(&mut builder, renewed_aside).map_err(cannot)
        {
            self.put(None, Some((tried, Some(table))));
        }
        let look_of = |TrustFound { upstream, client, changed }| {
            let used = builder.trusts().active(&upstream).unwrap_or(&client);
            Look {
                certificates: used.certificate().cloned().into_iter().collect(),
                owner: Owner::Upstream(upstream),
                renewed: changed.map(|new| new.is_some()).map_err(|error| error.to_string()),
            }
        };
        found.into_iter().map(look_of).collect()
    }

    /// The folders in which a change of the configuration or of a certificate shows.
    pub fn folders(&self) -> BTreeSet<PathBuf> {
        let state = self.state();
        let plan = &state.active.plan;
        let all: Vec<_> = certificates(plan).chain(keys(plan)).collect();
        drop(state);
        // The configuration's own links are seen by its folder alone: there they are swapped.
        folder(&self.file).into_iter().chain(all.iter().flat_map(|file| folders_of(file))).collect()
    }
}

/// The folders in which a change of `file` shows: its own, the one that links lead to, and those in which a
/// folder on the way is a link that may be swapped.
fn folders_of(file: &Path) -> impl Iterator<Item = PathBuf> {
    let real = std::fs::canonicalize(file).ok().and_then(|real| folder(&real));
    let is_link = |path: &&Path| std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    let links = file.ancestors().skip(1).filter(is_link).filter_map(folder);
    folder(file).into_iter().chain(real).chain(links)
}

fn folder(file: &Path) -> Option<PathBuf> {
    let parent = file.parent()?;
    Some(if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_path_buf() })
}

impl From<Renewal> for Look {
    fn from(renewal: Renewal) -> Self {
        Look {
            owner: Owner::Listener(renewal.listener),
            certificates: renewal.door.certificates().cloned().collect(),
            renewed: renewal.renewed.map_err(|error| error.to_string()),
        }
    }
}

fn tell(news: &News, now: i64) {
    match news {
        News::Renewed(owner, not_after) => {
            let not_after = not_after.map(rfc3339);
            CertificateRenewed { owner: &owner.to_string(), not_after: not_after.as_deref() }.emit();
        }
        News::Refused(owner, error) => CertificateRefused { owner: &owner.to_string(), error }.emit(),
        News::Expires(owner, certificate) => CertificateExpires {
            owner: &owner.to_string(),
            certificate: &certificate.path.display().to_string(),
            not_after: &rfc3339(certificate.not_after),
            expired: certificate.not_after < now,
        }
        .emit(),
    }
}

/// Every file of a certificate or an authority.
fn certificates(plan: &Plan) -> impl Iterator<Item = PathBuf> {
    let listeners = plan.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let shown = listeners.flat_map(|tls| {
        let pairs = tls.certificates.iter().map(|pair| &pair.certificate);
        pairs.chain(&tls.client_ca)
    });
    let upstreams = plan.upstreams.iter().filter_map(|upstream| upstream.transport.tls.as_ref());
    let trusted =
        upstreams.flat_map(|tls| tls.ca.iter().chain(tls.client.iter().map(|(certificate, _)| certificate)));
    shown.chain(trusted).cloned()
}

/// Every file of a private key.
fn keys(plan: &Plan) -> Vec<PathBuf> {
    let listeners = plan.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let shown = listeners.flat_map(|tls| tls.certificates.iter().map(|pair| &pair.key));
    let upstreams = plan.upstreams.iter().filter_map(|upstream| upstream.transport.tls.as_ref());
    let own = upstreams.filter_map(|tls| tls.client.as_ref().map(|(_, key)| key));
    shown.chain(own).cloned().collect()
}

fn mode(file: &Path) -> Option<u32> {
    std::fs::metadata(file).ok().map(|found| found.permissions().mode() & 0o7777)
}
