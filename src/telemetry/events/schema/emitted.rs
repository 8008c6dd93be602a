//! Every event that a room can emit is as the schema says: emitting one that is not panics here.

use crate::reject::Reason;
use crate::request::Class;
use crate::telemetry::events::*;
use std::net::SocketAddr;
use std::time::Duration;

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080))
}

#[test]
fn every_event_of_the_process_and_its_doors_is_as_the_schema_says() {
    Started { program: "1" }.emit();
    Ready { admin: address(), listeners: &[("edge".into(), address())] }.emit();
    let error = std::io::Error::other("no descriptor");
    AcceptFailed { listener: "edge", error: &error, pause: Duration::from_secs(1) }.emit();
    ListenerChanged::Opened { listener: "edge", address: address() }.emit();
    ListenerChanged::Closed { listener: "edge", address: address() }.emit();
    let gap = || stream::Record::new(stream::Kind::Gap, "some are missing");
    assert_eq!(schema::fault(&gap().with("lost", 3)), None);
    assert_eq!(schema::fault(&gap().with("after", 3).with("until", 5)), None);
    [true, false].into_iter().for_each(|recovered| CoreStuck { worker: 0, recovered }.emit());
    let second = Duration::from_secs(1);
    [Drain::Announced(second), Drain::AcceptingStopped(second), Drain::Finished, Drain::TimedOut(1)]
        .into_iter()
        .for_each(Drain::emit);
    [None, Some("2027-01-01T00:00:00Z")]
        .into_iter()
        .for_each(|not_after| CertificateRenewed { owner: "o", not_after }.emit());
    CertificateRefused { owner: "listener edge", error: "no key" }.emit();
    for expired in [true, false] {
        CertificateExpires { owner: "o", certificate: "c.pem", not_after: "2027", expired }.emit();
    }
}

#[test]
fn every_event_of_a_change_is_as_the_schema_says() {
    for (by, reason) in [(None, None), (Some("ann"), Some("why"))] {
        let notices = &["look".to_owned()];
        ConfigApplied { version: 1, hash: "h", cause: "api", by, reason, notices }.emit();
        VersionRolledBack { from: 2, to: 1, hash: "h", cause: "guard", by, reason, notices }.emit();
    }
    ConfigRefused { cause: "watch", error: "line 1" }.emit();
    ConfigHeld { cause: "watch", why: "incident 3" }.emit();
    BootDegraded { reason: "it is gone", hash: "h" }.emit();
    TextProbed { by: "ann", hash: "h", findings: (2, 1) }.emit();
    for step in ["begun", "approved", "probed", "offered", "widened", "active", "promoted", "confirmed"] {
        RolloutStep { version: 1, hash: "h", step, percent: 5.0, by: None, told: "so" }.emit();
    }
    RolloutEnded { version: 1, hash: "h", outcome: "reverted", why: "worse" }.emit();
    for acknowledged in [true, false] {
        GlassBroken { version: 1, by: "ann", reason: "INC", acknowledged }.emit();
    }
    for row in [None, Some((1, "h"))] {
        let (target, version, reason, why) = (Some("orders"), Some(1), Some("so"), Some("done"));
        let (actor, address, action, outcome) = ("ann", "127.0.0.1", "ramp.set", "done");
        let late = row.is_none();
        let times = 1;
        AuditRecorded { row, late, actor, address, action, target, version, reason, outcome, why, times }
            .emit();
    }
    [None, Some("the disk is full")].into_iter().for_each(|why| AuditUnavailable { why }.emit());
}

#[test]
fn every_event_of_an_upstream_is_as_the_schema_says() {
    let (upstream, backend) = ("orders", "a");
    for what in [Spell::Began, Spell::Lasts, Spell::Ended] {
        let (reason, since) = (Reason::QueueFull, jiff::Timestamp::now());
        Shedding { what, upstream, reason, count: 1, total: 1, since, seconds: 1, told_seconds: 30 }.emit();
    }
    ClassesClosed { core: 0, classes: &[Class::Batch], opens: false, late_ms: 30 }.emit();
    for what in ["set", "cleared", "paused", "resumed", "step", "drained", "ready"] {
        for (target, percent) in [("orders", None), ("orders/a", Some(25.0))] {
            RampChanged { what, target, percent, by: "ann", reason: "why" }.emit();
        }
    }
    for what in
        ["incarnation", "step", "hold", "back_off", "alert", "done", "fleet_ramp", "withdrawn", "shared"]
    {
        Comeback::new(what, "orders/a", "1 of 2").at(25.0).because("boot_id").and("more").emit();
        Comeback::new(what, "orders", "1 of 2").emit();
    }
    RampConflict { notice: "the backend goes" }.emit();
    CohortChosen { upstream, manner: "cohort", percent: 25.0, clients: 100.0 }.emit();
    for what in ["ejected", "probing", "returned", "down", "up"] {
        for lasts in [None, Some(Duration::from_secs(5))] {
            BackendJudged { what, upstream, backend, reason: "five failures", lasts }.emit();
        }
    }
    [true, false].into_iter().for_each(|doubted| ChecksDoubted { upstream, doubted }.emit());
    for raised in [true, false] {
        let (mode, reason, because, objective) = ("shadow", "slow", "300 ms", Duration::from_millis(250));
        LimitMoved { upstream, mode, from: 8, to: 4, reason, because, objective, raised }.emit();
        LimitAtFloor { upstream, mode, limit: 4, sits: raised, because }.emit();
    }
    for why in [None, Some("NXDOMAIN")] {
        let (came, went) = (&["10.0.0.1:80".to_owned()], &[]);
        AddressesChanged { upstream, backend, name: "a.test:80", came, went, why }.emit();
    }
    AuthSilence::began("login", upstream, Duration::from_millis(200)).emit();
    AuthSilence::ended("login", upstream).emit();
    KeysFetched::failed("https://keys.test", "no answer", 2).emit();
    KeysFetched::again("https://keys.test").emit();
}
