//! Who is told that a connection to a backend stirs.
//!
//! The engine is given one waker for the whole life of a connection, so that it never has to exchange the ones it
//! keeps; behind it stands whoever has the connection now: the request that drives it, the janitor while it is
//! parked, or nobody while we ask the engine for what it has already. Without the last, a request that drives its
//! own connection would wake itself with every answer, and its client's connection would be polled once more for
//! nothing.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Wake, Waker};

const NOBODY: u8 = 0;
const DRIVER: u8 = 1;
const JANITOR: u8 = 2;

/// One connection's waker. All of it happens on one core; that it is `Sync` is what wakers ask for.
#[derive(Debug)]
pub(super) struct Stir {
    bell: Arc<Bell>,
    /// `bell` as a waker.
    waker: Waker,
}

#[derive(Debug)]
struct Bell {
    told: AtomicU8,
    /// It stirred while it was parked.
    stirred: AtomicBool,
    /// Who drives it, or did so last.
    driver: Mutex<Option<Waker>>,
    janitor: OnceLock<Waker>,
}

impl Stir {
    /// Tells nobody yet.
    pub(super) fn new() -> Self {
        let bell = Arc::new(Bell {
            told: AtomicU8::new(NOBODY),
            stirred: AtomicBool::new(false),
            driver: Mutex::new(None),
            janitor: OnceLock::new(),
        });
        Stir { waker: Waker::from(bell.clone()), bell }
    }

    /// What the engine is polled with, whoever is told.
    pub(super) fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }

    /// From now on `driver` is told.
    pub(super) fn tell(&self, driver: &Waker) {
        let mut told = self.bell.driver.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *told {
            Some(known) => known.clone_from(driver),
            None => *told = Some(driver.clone()),
        }
        self.bell.told.store(DRIVER, Relaxed);
    }

    /// From now on the janitor is told, and remembers that it was.
    pub(super) fn tell_janitor(&self, janitor: &Waker) {
        self.bell.janitor.get_or_init(|| janitor.clone());
        self.bell.stirred.store(false, Relaxed);
        self.bell.told.store(JANITOR, Relaxed);
    }

    /// From now on nobody is told.
    pub(super) fn tell_nobody(&self) {
        self.bell.told.store(NOBODY, Relaxed);
    }

    /// It stirred since it was parked: it may have ended.
    pub(super) fn has_stirred(&self) -> bool {
        self.bell.stirred.load(Relaxed)
    }

    /// Runs `ask`, which asks the engine for what it has already: whom that wakes has nothing more to do.
    pub(super) fn quietly<T>(&self, ask: impl FnOnce() -> T) -> T {
        let told = self.bell.told.swap(NOBODY, Relaxed);
        let answer = ask();
        self.bell.told.store(told, Relaxed);
        answer
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        match self.told.load(Relaxed) {
            DRIVER => {
                let driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner);
                driver.iter().for_each(Waker::wake_by_ref);
            }
            JANITOR => {
                self.stirred.store(true, Relaxed);
                self.janitor.get().into_iter().for_each(Waker::wake_by_ref);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[derive(Default)]
    struct Counts(AtomicU32);

    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn only_whoever_has_the_connection_is_told() {
        let (driver, janitor) = (Arc::new(Counts::default()), Arc::new(Counts::default()));
        let counted = || (driver.0.load(Relaxed), janitor.0.load(Relaxed));
        let (to_driver, to_janitor) = (Waker::from(driver.clone()), Waker::from(janitor.clone()));
        let stir = Stir::new();
        let wake = || stir.context().waker().wake_by_ref();
        wake();
        assert_eq!(counted(), (0, 0));

        stir.tell(&to_driver);
        wake();
        stir.quietly(wake);
        assert_eq!(counted(), (1, 0));
        assert!(!stir.has_stirred());

        stir.tell_janitor(&to_janitor);
        assert!(!stir.has_stirred());
        wake();
        assert_eq!(counted(), (1, 1));
        assert!(stir.has_stirred());

        stir.tell_nobody();
        wake();
        stir.tell(&to_driver);
        wake();
        assert_eq!(counted(), (2, 1));
    }
}
