//! The protocol engine's tasks stay on the core where they began.

use futures_util::FutureExt;
use std::future::Future;

/// Spawns on the current core.
#[derive(Clone, Copy, Debug)]
pub struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        // Not an async block: it would have room for the future twice, and these are large.
        tokio::task::spawn_local(future.map(drop));
    }
}
