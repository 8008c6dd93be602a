//! How one core tells another that a permit came free: a bell per core.
//!
//! Ringing is rare (only while somebody waits) and carries no data; the woken core looks for itself.

use tokio::sync::Notify;

/// One bell for each core.
#[derive(Debug)]
pub struct Bells(Box<[Notify]>);

impl Bells {
    /// Bells for `cores` cores.
    pub fn new(cores: usize) -> Self {
        Bells((0..cores).map(|_| Notify::new()).collect())
    }

    /// Wakes `core`; a ring before it listens is not lost.
    pub fn ring(&self, core: usize) {
        self.0[core].notify_one();
    }

    /// Wakes every core: what those who wait anywhere wait for has changed.
    pub fn ring_all(&self) {
        self.0.iter().for_each(Notify::notify_one);
    }

    /// Waits for a ring.
    pub async fn heard(&self, core: usize) {
        self.0[core].notified().await;
    }
}
