//! From a good version's text to what can serve, without waiting for anything: what can be read in a quarter of a
//! second is taken as it is now, then what was kept of the version, and what is missing even there closes what it
//! belongs to.

use crate::config::operators::Settings as AdminSettings;
use crate::config::plan::Plan;
use crate::control::build::Builder;
use crate::control::sources::{self, Shelf};
use crate::control::store::materials::Materials;
use crate::control::store::record::Good;
use crate::control::trust::Supply;
use crate::control::{Active, Control};
use crate::upstream::pem::Files;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

/// How long files and variables as they are now are waited for.
const NOW: Duration = Duration::from_millis(250);
/// Readers that hang at most; beyond them, what was kept is all there is.
const MAX_HUNG: usize = 4;

/// How many there are in the process, because their threads are the process's.
static HUNG: AtomicUsize = AtomicUsize::new(0);

/// One of them, until its work ends, in whatever way.
struct Reader;

impl Reader {
    fn begin() -> Option<Reader> {
        let reader = Reader;
        (HUNG.fetch_add(1, Ordering::AcqRel) < MAX_HUNG).then_some(reader)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        HUNG.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A good version, ready to build.
pub(super) struct Revived {
    /// What it says, with the `[admin]` of what runs.
    pub(super) plan: Plan,
    /// Its own `[admin]`.
    pub(super) own_admin: AdminSettings,
    /// Contents of the files that it names.
    pub(super) shelf: Shelf,
    /// What fills it now.
    pub(super) now: Materials,
    /// What a person should know, a sentence each.
    pub(super) notices: Vec<String>,
}

impl Control {
    /// Reads a good version again.
    ///
    /// # Errors
    /// Why its text cannot be understood.
    pub(super) fn revive(&self, good: &Good) -> Result<Revived, String> {
        let (text, kept, end) = (good.text.clone(), good.materials.clone(), Instant::now() + NOW);
        let (file, environment) = (self.file.clone(), self.environment.clone());
        let now = within(end, move || sources::values(&text, &file, &*environment)).unwrap_or_default();
        let (plan, mut notices) = sources::understood(&good.text, &self.file, &now, &kept)?;
        let (wanted, keyrings) = (plan.clone(), self.keyrings.clone());
        let shelf = within(end, move || {
            let shelf = Shelf::read(&wanted);
            keyrings.read_ahead(sources::jwts(&wanted));
            shelf
        });
        let mut shelf = shelf.unwrap_or_default();
        let used = shelf.fall_back(&plan, &kept);
        let kept = |path: &Path| format!("{} cannot be read; what was kept of it is used.", path.display());
        notices.extend(used.iter().map(|path| kept(path)));
        let missing = sources::named(&plan).into_iter().filter(|path| shelf.read(path).is_err());
        notices.extend(missing.map(|path| {
            format!(
                "{} cannot be read and nothing is kept of it: what it belongs to stays closed.",
                path.display()
            )
        }));
        let said =
            |notice: String| sources::without_values(&notice, &good.text, &self.file, &now, &good.materials);
        let notices = notices.into_iter().map(said).collect();
        let own_admin = plan.admin.clone();
        let plan = Plan { admin: self.state().active.plan.admin.clone(), ..plan };
        Ok(Revived { plan, own_admin, shelf, now, notices })
    }

    /// Swaps it in, for everyone.
    ///
    /// # Errors
    /// Why it cannot be built; what runs goes on.
    pub(super) fn put_back(
        &self,
        builder: &mut Builder,
        good: &Good,
        active: Active,
        shelf: Shelf,
        now: &Materials,
    ) -> Result<Vec<String>, String> {
        let files = Arc::new(shelf);
        builder.supply(Supply { files: files.clone(), forgiving: true });
        let built = builder.build(&active.plan, good.facts.number).and_then(|table| {
            let doors = self.listeners.prepare_what_can_be(&*files, &active.plan.listeners);
            doors.map(|doors| (table, doors)).map_err(|error| error.to_string())
        });
        let (table, (doors, closed)) = match built {
            Ok(built) => built,
            Err(why) => {
                let plan = self.state().active.plan.clone();
                builder.forget_unused(&plan);
                return Err(sources::without_values(&why, &good.text, &self.file, now, &good.materials));
            }
        };
        let plan = active.plan.clone();
        let mut notices = self.put_in(builder, (Arc::new(table), None, None), doors, active)?;
        self.notifier.follow(&plan, good.facts.number, &*files);
        notices.extend(closed.iter().map(|error| format!("{error}; it stays closed")));
        let mut state = self.state();
        state.materials = good.materials.clone();
        state.refused = None;
        state.degraded = None;
        Ok(notices)
    }
}

/// What `work` comes to, if it does so by `end`. It cannot be stopped: one that hangs keeps its thread, and there are
/// never many of those.
pub fn within<T: Send + 'static>(end: Instant, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let reader = Reader::begin()?;
    let (done, result) = sync_channel(1);
    let read = move || {
        // Nobody may be waiting any more.
        let _ = done.send(work());
        drop(reader);
    };
    thread::Builder::new().name("sources".to_owned()).spawn(read).ok()?;
    result.recv_timeout(end.saturating_duration_since(Instant::now())).ok()
}
