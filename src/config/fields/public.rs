//! Fields of `[incidents]` and `[status_page]`.

use super::{Field, Kind, Rises, optional, preset, required};
use std::time::Duration;

/// Times over which numbers are looked at.
const WINDOW: Kind = Kind::Duration(Duration::from_secs(3), Duration::from_secs(600));

/// `[incidents]`.
pub static INCIDENTS: [Field; 9] = [
    preset("drafts", Kind::Bool, "true", "The gateway drafts incidents; a person reads and opens them.")
        .low(),
    preset(
        "shed",
        Kind::Percent(0.1, 100.0),
        "\"10%\"",
        "A draft, when an upstream refuses more than this part of its requests.",
    )
    .low(),
    preset("shed_for", WINDOW, "\"30s\"", "How long it does.").low(),
    preset(
        "backends_out",
        Kind::Percent(1.0, 100.0),
        "\"50%\"",
        "A draft, when this part of an upstream's backends is ejected, down or without an address.",
    )
    .low(),
    preset("backends_for", WINDOW, "\"15s\"", "How long it is.").low(),
    preset("reverts", Kind::Bool, "true", "A draft, when the guard takes a change back.").low(),
    preset("break_glass", Kind::Bool, "true", "A draft, when somebody breaks the glass.").low(),
    preset(
        "redraft_after",
        Kind::Duration(Duration::ZERO, Duration::from_secs(7 * 86_400)),
        "\"30m\"",
        "After a draft was closed, none for the same upstream and cause for this long.",
    )
    .low(),
    preset(
        "freeze_from",
        Kind::Word(&["medium", "high"]),
        "\"medium\"",
        "From which risk on a change is held by a freeze.",
    )
    .low()
    .rises(Rises::Weakens(&["medium", "high"])),
];

/// `[status_page]`.
pub static STATUS_PAGE: [Field; 3] = [
    required("address", Kind::Socket, "Where everyone may read it; port 0 lets the system choose.").medium(),
    preset("title", Kind::Text, "\"Status\"", "What it is called.").low(),
    preset(
        "upstreams",
        Kind::List(&Kind::Table(&SHOWN), 0),
        "[]",
        "Upstreams that are shown, by the names that everyone may know; without, all of them as one.",
    )
    .low(),
];

static SHOWN: [Field; 3] = [
    required("upstream", Kind::Name, "Its name here; never shown.").low(),
    required("name", Kind::Text, "Its name on the page.").low(),
    optional("description", Kind::Text, "What it is for, in a sentence.").low(),
];
