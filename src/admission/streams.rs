//! Streams: WebSockets, and requests of routes with `streaming`. They are outside the gate, so that thousands of
//! quiet ones take no request's room: neither route nor class nor queue bounds them, only how many a backend
//! and the process may hold. They choose a backend like any request, and never wait for one.

use crate::admission::refusal::explain;
use crate::admission::{Granted, RouteGate};
use crate::balancing::Bound;
use crate::reject::{Reason, Reject};
use std::net::IpAddr;
use std::rc::Rc;

impl RouteGate {
    /// Takes a place among the streams of a backend for `client`: outside queue and gate, and never waited for.
    ///
    /// # Errors
    /// `backend_limit` when every backend has as many streams as it may have, `no_backend` when there is none.
    pub fn admit_stream(self: &Rc<Self>, client: IpAddr) -> Result<Granted, Reject> {
        match self.gate.cluster.reserve(Bound::Streams, None) {
            Ok(place) => Ok(Granted::stream(place, self.clone(), client)),
            Err(none) => Err(self.no_room_for_stream(none.reason)),
        }
    }

    /// A stream is refused, counted like any shed. The ratio of sheds is the gate's and says nothing here.
    pub fn no_room_for_stream(&self, reason: Reason) -> Reject {
        self.gate.shed(self.class, reason);
        let detail = match reason {
            Reason::NoBackend | Reason::Ramp => explain(reason),
            _ => "as many streams are open as may be",
        };
        let retry_after = if reason == Reason::Ramp { self.retry_after(reason) } else { fastrand::u8(1..=3) };
        Reject { retry_after: Some(retry_after), ..Reject::new(reason, detail) }
    }
}
