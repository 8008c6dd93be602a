//! What the gateway says of itself to whoever is on call: a sentence for people, with a kind that programs go by, so
//! that nothing that reads it (the page, `top`, a script) has to know how a sentence is worded.

use serde::{Deserialize, Serialize};

/// A sentence and what it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// What it is about.
    pub kind: About,
    /// For people: what is so, why, and what to do.
    pub text: String,
}

/// Every kind is made here, so that none can be missing from the list.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// What a sentence is about. Names in JSON are stable; more may come.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum About {
            $($(#[doc = $doc])+ $name,)*
            /// Something that this program does not know: a newer gateway said it.
            #[serde(other)]
            Other,
        }

        impl About {
            /// All that a gateway says.
            pub const ALL: &[About] = &[$(About::$name),*];
        }
    };
}

kinds! {
    /// Not everything is up yet.
    Starting,
    /// On its way out.
    Draining,
    /// A core does not turn.
    CoreStuck,
    /// A core is late and refuses classes.
    CoreLate,
    /// It runs on something other than what it was told to run.
    Degraded,
    /// The last change was not taken.
    ChangeRefused,
    /// The file is not what runs.
    FileOverruled,
    /// Certificate files are not used as they are.
    CertificateRefused,
    /// A certificate is past its end.
    CertificateExpired,
    /// Somebody went around the stages, and nobody has acknowledged it.
    GlassBroken,
    /// A change waits for a second person.
    ApprovalWaits,
    /// A change goes back unless somebody confirms it.
    ConfirmationWaits,
    /// A rollout waits for somebody to judge it.
    PersonWaits,
    /// A changed file waits for the end of a freeze.
    FileFrozen,
    /// Somebody froze changes.
    Frozen,
    /// Drafts of incidents wait to be read.
    DraftsWait,
    /// Incidents are not on disk.
    IncidentsUnkept,
    /// Ramps and drains: those that wait for a name, that went back too often, or are not on disk.
    Levers,
    /// A trial's requests are chosen one by one, not by client.
    ChosenAtRandom,
    /// A service that says who may pass answers nothing.
    AuthSilent,
    /// An auth has no keys to judge tokens by.
    KeysMissing,
    /// An auth goes on with keys that could not be renewed.
    KeysOld,
    /// A sink has not been told for minutes what happens.
    SinkFailing,
    /// The page for everyone is not as it should be.
    StatusPage,
    /// History and audit are not being recorded.
    Unrecorded,
}

impl About {
    /// With its sentence.
    pub fn says(self, text: impl Into<String>) -> Condition {
        Condition { kind: self, text: text.into() }
    }
}
