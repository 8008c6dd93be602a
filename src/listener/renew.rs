//! Renewed certificates: which door a listener shows when its files were read again.
//!
//! Each listener is judged on its own, and as a whole: what cannot be used leaves the door that is shown, and
//! a pair of which only one file has come yet is simply looked at again. New handshakes take the new door at
//! once; connections that were let in through the old one live on. When to look is decided elsewhere.

use crate::listener::settings::Settings;
use crate::listener::tls::TlsDoor;
use crate::listener::{BindError, Listener, Listeners};
use crate::upstream::pem::{Files, TlsError};
use std::sync::Arc;
use std::time::SystemTime;

/// What a look at the files of one TLS listener found.
#[derive(Debug)]
pub struct Renewal {
    /// The listener.
    pub listener: Arc<str>,
    /// What it shows now.
    pub door: Arc<TlsDoor>,
    /// Whether that is new, or why the files are not used.
    pub renewed: Result<bool, TlsError>,
}

/// What a listener shows, and what it was told to.
pub(super) type Shown = Vec<(Arc<Settings>, Option<Arc<TlsDoor>>)>;

/// How the door for settings is found.
pub(super) type DoorFor = fn(&dyn Files, &Settings, &Shown) -> Result<Option<Arc<TlsDoor>>, BindError>;

impl Listeners {
    /// Reads the files of every TLS listener that accepts, and shows what is new and can be used. Blocks on
    /// files, without the lock.
    pub fn renew(&self) -> Vec<Renewal> {
        let open: Vec<_> = self.lock().open.iter().map(|open| Arc::clone(&open.listener)).collect();
        open.iter().filter_map(|listener| self.renew_one(listener)).collect()
    }

    fn renew_one(&self, listener: &Arc<Listener>) -> Option<Renewal> {
        let settings = Arc::clone(&listener.settings());
        let shown = listener.tls()?;
        let renewed = match shown.renewed(settings.tls.as_ref()?) {
            Ok(Some(door)) => {
                // A change that came meanwhile has read its own files.
                let _state = self.lock();
                let current = listener.settings().tls == settings.tls;
                if current {
                    listener.tls.store(Some(Arc::new(door)));
                }
                Ok(current)
            }
            Ok(None) => Ok(false),
            Err(error) => Err(error),
        };
        Some(Renewal { listener: Arc::clone(listener.name()), door: listener.tls()?, renewed })
    }

    /// What is shown now.
    pub(super) fn shown(&self) -> Shown {
        let state = self.lock();
        let open = state.open.iter().map(|open| &open.listener);
        open.map(|listener| (Arc::clone(&listener.settings()), listener.tls())).collect()
    }
}

/// The door for `settings`, if clients speak TLS there: the one that is shown if the files are the same ones
/// ([`Listeners::renew`] reads them), else a new one. `shown` is empty at the start; then even an expired
/// certificate is taken, because it serves more clients than none.
pub(super) fn door_for(
    content: &dyn Files,
    settings: &Settings,
    shown: &Shown,
) -> Result<Option<Arc<TlsDoor>>, BindError> {
    let Some(files) = &settings.tls else { return Ok(None) };
    let same = shown.iter().find(|(s, _)| s.name == settings.name && s.tls.as_ref() == Some(files));
    if let Some((_, Some(door))) = same {
        return Ok(Some(Arc::clone(door)));
    }
    let door = TlsDoor::open_from(content, files).and_then(|door| match shown.is_empty() {
        true => Ok(door),
        false => door.check(SystemTime::now()).map(|()| door),
    });
    door.map(|door| Some(Arc::new(door)))
        .map_err(|source| BindError::Tls { name: Arc::clone(&settings.name), source })
}

/// The same, with a closed door where the files cannot be used, and with an expired certificate rather than none.
pub(super) fn door_or_closed(
    content: &dyn Files,
    settings: &Settings,
    shown: &Shown,
) -> Result<Option<Arc<TlsDoor>>, BindError> {
    let expired = |_| door_for(content, settings, &Vec::new());
    door_for(content, settings, shown).or_else(expired).or_else(|_| {
        let closed = TlsDoor::closed();
        closed
            .map(|door| Some(Arc::new(door)))
            .map_err(|source| BindError::Tls { name: Arc::clone(&settings.name), source })
    })
}
