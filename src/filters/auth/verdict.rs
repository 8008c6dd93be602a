//! What becomes of a request that was judged, whatever the kind of auth: it passes as somebody, it is refused, or
//! nobody could say.

use crate::filters::auth::settings::OnError;
use crate::reject::{Reason, Reject};
use crate::request::Class;
use crate::telemetry::metrics::AuthResult;
use http::{HeaderName, HeaderValue};
use std::sync::Arc;

/// Told to backends where an auth let a request pass without knowing who it is; see [`OnError::Allow`].
pub const UNVERIFIED: HeaderName = HeaderName::from_static("x-tidegate-auth");

/// As whom a request passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The auth that says so.
    pub auth: Arc<str>,
    /// Who it is, if the auth says that; never a credential.
    pub subject: Option<Arc<str>>,
}

/// A request that passes.
#[derive(Clone, Debug)]
pub struct Passed {
    /// As whom.
    pub identity: Identity,
    /// What the backend is told of it.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// In which class it stands, if that is said; its route's is never raised by it.
    pub class: Option<Class>,
}

/// A request that does not.
#[derive(Clone, Debug)]
pub struct Refused {
    /// `unauthenticated` or `forbidden`.
    pub reason: Reason,
    /// What the client is told beside it.
    pub headers: Arc<[(HeaderName, HeaderValue)]>,
}

/// What was decided of a request; cheap to hand on.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It passes.
    Passed(Arc<Passed>),
    /// It does not.
    Refused(Arc<Refused>),
}

/// Why nobody decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecided {
    /// Our own bound on questions: nobody was asked.
    Overload,
    /// The client has left too many questions behind: nobody was asked.
    Aborts(Option<u8>),
    /// The service was silent until now: nobody was asked.
    Silent,
    /// No answer in time.
    Timeout,
    /// No answer, or one that decides nothing.
    Failed(&'static str),
    /// Its credential names a key that is not known, and nobody can be asked for that key.
    KeyUnknown,
}

/// A decision, or why there is none.
pub type Outcome = Result<Decision, Undecided>;

/// What becomes of a request, and how that is counted.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// It passes, or why not.
    pub passed: Result<Arc<Passed>, Reject>,
    /// How it is counted.
    pub result: AuthResult,
}

impl Judgement {
    /// From a decision that was just made.
    pub fn of(decision: Decision) -> Self {
        match decision {
            Decision::Passed(passed) => Judgement { passed: Ok(passed), result: AuthResult::Allowed },
            Decision::Refused(refused) => {
                Judgement { passed: Err(refused.reject()), result: AuthResult::Denied }
            }
        }
    }

    /// The same from one that was kept. What is refused counts as that, so that all refusals are in one place.
    pub fn kept(decision: Decision) -> Self {
        match Judgement::of(decision) {
            Judgement { passed: Ok(passed), .. } => {
                Judgement { passed: Ok(passed), result: AuthResult::Cached }
            }
            refused => refused,
        }
    }

    /// Without a decision, by the rule of this auth. `stale` is the last decision that let it pass, if it is not
    /// too old to stand in.
    pub fn without(why: Undecided, rule: OnError, auth: &Arc<str>, stale: Option<Arc<Passed>>) -> Self {
        if let (OnError::Stale, Some(passed)) = (rule, stale) {
            return Judgement { passed: Ok(passed), result: AuthResult::Stale };
        }
        let asked = matches!(why, Undecided::Silent | Undecided::Timeout | Undecided::Failed(_));
        if rule == OnError::Allow && asked {
            let passed = Arc::new(Passed::unverified(auth));
            return Judgement { passed: Ok(passed), result: AuthResult::AllowedOnError };
        }
        Judgement { passed: Err(why.reject()), result: why.result() }
    }
}

impl Passed {
    /// Nobody knows who it is, and the backend is told so.
    fn unverified(auth: &Arc<str>) -> Self {
        Passed {
            identity: Identity { auth: auth.clone(), subject: None },
            headers: vec![(UNVERIFIED, HeaderValue::from_static("unverified"))],
            class: None,
        }
    }
}

impl Refused {
    fn reject(&self) -> Reject {
        let detail = match self.reason {
            Reason::Unauthenticated => "this route asks for credentials that are valid",
            _ => "the credentials are not enough for this request",
        };
        let headers = Some(self.headers.clone()).filter(|headers| !headers.is_empty());
        Reject { headers, ..Reject::new(self.reason, detail) }
    }
}

impl Undecided {
    fn reject(self) -> Reject {
        let (reason, detail) = match self {
            Undecided::Overload => {
                (Reason::AuthOverload, "the service that judges requests has no room for more questions")
            }
            Undecided::Aborts(retry_after) => {
                let detail = "too many requests that this client gave up are still being judged";
                return Reject { retry_after, ..Reject::new(Reason::ClientAborts, detail) };
            }
            Undecided::Silent => {
                (Reason::AuthOverload, "the service that judges requests has not answered lately")
            }
            Undecided::Timeout => {
                (Reason::AuthTimeout, "the service that judges requests did not answer in time")
            }
            Undecided::Failed(detail) => (Reason::AuthFailed, detail),
            Undecided::KeyUnknown => {
                (Reason::AuthFailed, "the key of this token is not known, and its service cannot be asked")
            }
        };
        Reject { retry_after: Some(fastrand::u8(1..=3)), ..Reject::new(reason, detail) }
    }

    fn result(self) -> AuthResult {
        match self {
            Undecided::Overload | Undecided::Silent | Undecided::Aborts(_) => AuthResult::Overload,
            Undecided::Timeout => AuthResult::Timeout,
            Undecided::Failed(_) | Undecided::KeyUnknown => AuthResult::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(why: Undecided, rule: OnError, stale: bool) -> Result<AuthResult, (u16, &'static str)> {
        let auth: Arc<str> = "session".into();
        let stale = stale.then(|| {
            let identity = Identity { auth: auth.clone(), subject: Some("ada".into()) };
            Arc::new(Passed { identity, headers: Vec::new(), class: None })
        });
        let judgement = Judgement::without(why, rule, &auth, stale);
        let refused = |reject: Reject| (reject.reason.status().as_u16(), reject.reason.as_str());
        judgement.passed.map(|_| judgement.result).map_err(refused)
    }

    #[test]
    fn each_way_of_not_deciding_has_its_status_and_reason() {
        for (why, status, reason) in [
            (Undecided::Overload, 503, "auth_overload"),
            (Undecided::Silent, 503, "auth_overload"),
            (Undecided::Timeout, 504, "auth_timeout"),
            (Undecided::Failed("it broke"), 503, "auth_failed"),
            (Undecided::Aborts(None), 429, "client_aborts"),
        ] {
            for rule in [OnError::Deny, OnError::Stale] {
                assert_eq!(without(why, rule, false), Err((status, reason)));
            }
            assert_eq!(
                without(why, OnError::Deny, true),
                Err((status, reason)),
                "stale only where it says so"
            );
            assert_eq!(without(why, OnError::Stale, true), Ok(AuthResult::Stale));
        }
    }

    #[test]
    fn allow_never_stands_in_for_our_own_gate() {
        for why in [Undecided::Silent, Undecided::Timeout, Undecided::Failed("it broke")] {
            assert_eq!(without(why, OnError::Allow, false), Ok(AuthResult::AllowedOnError));
        }
        assert_eq!(without(Undecided::Overload, OnError::Allow, false), Err((503, "auth_overload")));
        assert_eq!(without(Undecided::Aborts(Some(2)), OnError::Allow, false), Err((429, "client_aborts")));
        // Or whoever makes up the name of a key would be let in.
        assert_eq!(without(Undecided::KeyUnknown, OnError::Allow, false), Err((503, "auth_failed")));
    }
}
