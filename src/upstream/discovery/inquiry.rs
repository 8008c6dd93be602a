//! Questions to name servers that nobody's addresses depend on: asked once, at once, beside those of the directory.
//!
//! They have turns and connections of their own, so that however many are asked, and whatever becomes of them, the
//! names in use are resolved as before. Nothing is remembered.

use crate::upstream::discovery::Answer;
use crate::upstream::discovery::resolver::{Bounds, Resolver};
use crate::upstream::settings::Address;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Questions at a time.
const MOST: usize = 16;

/// For one question.
const DEADLINE: Duration = Duration::from_secs(2);

/// Name servers to ask, and the turns of those who ask.
pub struct Inquiry {
    resolver: Resolver,
    turns: Semaphore,
}

impl fmt::Debug for Inquiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inquiry").field("turns", &self.turns).finish_non_exhaustive()
    }
}

impl Inquiry {
    /// To these name servers; the system's if there are none, whose configuration is read now. Blocks on these files.
    ///
    /// # Errors
    /// When none can be asked.
    pub fn of(servers: &[SocketAddr]) -> Result<Self, String> {
        let resolver = if servers.is_empty() { Resolver::system() } else { Resolver::asking(servers) }?;
        Ok(Inquiry { resolver, turns: Semaphore::new(MOST) })
    }

    /// The addresses of a name, or of the targets of a service's; its own for a literal.
    ///
    /// # Errors
    /// Why there are none, in a sentence: nobody answered, or the answer is that there is none.
    pub async fn addresses(&self, address: &Address) -> Result<Vec<SocketAddr>, String> {
        if let Some(address) = address.literal() {
            return Ok(vec![address]);
        }
        match self.resolver.addresses(self, address).await {
            Answer::Found(found, _) | Answer::Partly(found, _) => {
                Ok(found.into_iter().map(|(address, _)| address).collect())
            }
            Answer::Missing(why) | Answer::Failed(why) => Err(why),
        }
    }
}

impl Bounds for Inquiry {
    async fn bounded<T>(&self, question: impl Future<Output = Result<T, String>>) -> Result<T, String> {
        // Never closed.
        let _turn = self.turns.acquire().await;
        match tokio::time::timeout(DEADLINE, question).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no name server answered within {DEADLINE:?}")),
        }
    }
}
