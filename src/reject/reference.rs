//! What each reason means and what a person should do about it, for the reference and whatever explains a refusal.
//! `deploy/REFERENCE.md` is made of it. Clients are told sentences of their own, with the numbers of the moment.

use super::Reason;

impl Reason {
    /// What happened, in a sentence for operators.
    pub const fn meaning(self) -> &'static str {
        match self {
            Reason::ProcessLimit => {
                "The process has as many requests, streams or descriptors in use as it may have."
            }
            Reason::UpstreamLimit => "The upstream has as many requests in flight as it may have now.",
            Reason::BackendLimit => "Every backend that can be used is at its own cap.",
            Reason::RouteLimit => "The route has as many requests in flight as it may have.",
            Reason::ClassLimit => {
                "What is left of the upstream's room is kept for higher classes; one of them would have got in."
            }
            Reason::QueueFull => "So many wait already that this one would not be served in time.",
            Reason::QueueTimeout => "No room came free while it waited.",
            Reason::Ramp => {
                "The upstream is ramped, or its backends are drained, and this is not in the part that is let in."
            }
            Reason::NoBackend => "No backend can be used: out by checks or ejected, or without an address.",
            Reason::AuthOverload => {
                "There is no room to ask whether it may pass: the auth's own bound, or that of waiting for one \
                 answer, is reached."
            }
            Reason::Draining => "The gateway leaves, and what was still going on was cut.",
            Reason::Cpu => "The core does not keep up and refuses lower classes.",
            Reason::Memory => "The memory for buffers is used up; it is open again when an eighth is free.",
            Reason::MissingSecret => {
                "A value or file that this route needs is gone, and none was kept, since a rollback or a start."
            }
            Reason::AuthFailed => {
                "Nobody could say whether it may pass: the service failed, is silent, or there are no keys; \
                 on_error is deny."
            }
            Reason::Timeout => {
                "The route's timeout, or the client's deadline, was over before the answer began."
            }
            Reason::AuthTimeout => {
                "The service that judges requests did not answer within the auth's timeout."
            }
            Reason::ConnectFailed => {
                "No connection to the backend could be made in time: refused, unreachable, or TLS."
            }
            Reason::Reset => "The backend broke the connection off before its answer ended.",
            Reason::BadResponse => {
                "The backend's answer is not HTTP as it must be, or too large in its head."
            }
            Reason::BadRequest => "The request cannot be understood in one way only, so it is not forwarded.",
            Reason::BodyTooLarge => "The request's body is larger than the route's max_body.",
            Reason::UriTooLong => "The request's target is longer than the listener's max_uri_bytes.",
            Reason::HeadersTooLarge => "The request's head is larger than max_head_bytes or max_headers.",
            Reason::RequestTimeout => {
                "The request's head, or the beginning of its body, did not come in time."
            }
            Reason::NotFound => "No route matches.",
            Reason::MethodNotAllowed => "A route matches but for the method; Allow says which it takes.",
            Reason::Misdirected => "The request names a host that the connection's certificate is not for.",
            Reason::ConnectRefused => "CONNECT is never served: this is no forward proxy.",
            Reason::Unauthenticated => {
                "The auth refuses: nobody said who they are, or not so that it is believed."
            }
            Reason::Forbidden => "The auth refuses: it knows who it is, and they may not.",
            Reason::RateLimited => "More requests than a rate limit allows; no release so far gives it.",
            Reason::ClientAborts => {
                "This client keeps leaving before its answers, and too much that it abandoned is still worked on."
            }
            Reason::ClientTooSlow => {
                "The client sent or read less than 1 KiB a second, and the exchange was ended."
            }
            Reason::BackendTooSlow => {
                "The backend took less than 1 KiB a second of a body, or its answer fell silent, and the exchange \
                 was ended."
            }
            Reason::ClientGone => "The client left before its answer ended.",
            Reason::Internal => "The gateway itself failed on this one request: a defect.",
        }
    }

    /// What a person should do, or look at first.
    pub const fn advice(self) -> &'static str {
        match self {
            Reason::ProcessLimit => {
                "`tidegate permits` says who holds them. Add gateways, or raise [gateway] max_in_flight, or descriptors."
            }
            Reason::UpstreamLimit | Reason::QueueFull | Reason::QueueTimeout => {
                "Latency has risen: mend the backends. It has not: add backends, or raise max_in_flight once they \
                 carry it."
            }
            Reason::BackendLimit => {
                "Are some backends out, so that the rest carry their load? Else add backends, or raise \
                 max_in_flight_per_backend."
            }
            Reason::RouteLimit => {
                "One route takes all it may of what several share. If it should have more, raise its max_in_flight."
            }
            Reason::ClassLimit => {
                "Wanted while there is too little room. If not, look at what fills the upstream."
            }
            Reason::Ramp => "`tidegate ramp show` says who set it and why, and what comes next.",
            Reason::NoBackend => {
                "`tidegate status` has each backend's state. Since a change: `tidegate rollback`."
            }
            Reason::AuthOverload => {
                "Is the service slow? Else raise the max_in_flight of the auth, or give it a cache."
            }
            Reason::Draining => "None; give a drain longer (drain_timeout) if that happens to requests.",
            Reason::Cpu => "More cores or gateways. What comes in a burst: new TLS connections?",
            Reason::Memory => {
                "Who is slow? `client_too_slow` and `backend_too_slow` beside it. Or raise [gateway] max_buffered."
            }
            Reason::MissingSecret => "`tidegate status` names what is missing. Bring it back, and send HUP.",
            Reason::AuthFailed => "GET /v1/auths says why. Since a change: `tidegate rollback`.",
            Reason::Timeout => {
                "The access log has upstream_ms and backend. Slow by nature: raise the route's timeout."
            }
            Reason::AuthTimeout => "Look at the service that is asked; GET /v1/auths.",
            Reason::ConnectFailed => "Is the backend up, reachable from here, and its certificate valid?",
            Reason::Reset => {
                "The backend's log at that time. Crashes, or its idle timeout is shorter than ours?"
            }
            Reason::BadResponse => "The detail of the answer says what is wrong with it; mend the backend.",
            Reason::BadRequest => {
                "The detail says what is wrong. Many of them: somebody tries things, or a broken client."
            }
            Reason::BodyTooLarge => "Raise the route's max_body if such bodies are wanted.",
            Reason::UriTooLong | Reason::HeadersTooLarge => {
                "Large cookies? Raise the listener's bound if such requests are wanted."
            }
            Reason::RequestTimeout => {
                "Slow or silent clients. Uploads that begin slowly need streaming = true."
            }
            Reason::NotFound => "Is a route missing? `tidegate diff` shows what the last change took out.",
            Reason::MethodNotAllowed => "Add the method to the route if it is wanted.",
            Reason::Misdirected => {
                "None; a client that reuses a connection for another name asks again on a new one."
            }
            Reason::ConnectRefused => "None.",
            Reason::Unauthenticated => {
                "Many at once: have keys been rotated, or clocks gone apart? GET /v1/auths."
            }
            Reason::Forbidden => "The service's own decision; ask it.",
            Reason::RateLimited => "None.",
            Reason::ClientAborts => {
                "A proxy of yours: name it in trusted_proxies. Else the client's timeout is shorter than the answer \
                 takes."
            }
            Reason::ClientTooSlow => {
                "Few addresses: somebody drips. Many on one route: give it streaming = true."
            }
            Reason::BackendTooSlow => {
                "Why does the backend not read, or stop in the middle? body_idle is the bound."
            }
            Reason::ClientGone => "Many at once: answers take longer than clients wait.",
            Reason::Internal => "Keep the log lines with this request_id, and report it.",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_explained_in_sentences() {
        for reason in Reason::ALL {
            for text in [reason.meaning(), reason.advice()] {
                assert!(text.ends_with(['.', '?']) && text.len() > 4, "{}: {text}", reason.as_str());
                assert!(!text.contains('|'), "{}: it stands in a table", reason.as_str());
            }
        }
    }
}
