//! A whole fleet that restarts cold under load: the outage that slow start by relative weight does not help against,
//! because where all backends are new each gets what it always got (`overload.md` section 4, S7).
//!
//! Eight backends, each a process of its own on the core of the load; the proxy has the other core.

pub mod backend;
mod fleet;

use self::backend::Orders;
use self::fleet::Processes;
use crate::fill::Values;
use crate::peer::{Door, Peer, Recipe, get};
use crate::peers::Kind;
use crate::restart_report::{Moment, Restart};
use crate::rig::load::report::Row;
use crate::rig::load::stream::Retries;
use crate::rig::load::{self, Load, Plan};
use crate::session::Session;
use anyhow::Result;
use std::time::{Duration, Instant};

const BACKENDS: usize = 8;
const WORKERS: usize = 4;
/// The median; the mean is an eighth more.
const SERVICE: Duration = Duration::from_millis(35);
const MEAN_S: f64 = 0.040;
const SEED: u64 = 20_261_123;
/// A row of the curves.
const SLICE: Duration = Duration::from_millis(500);
/// Of what the warm fleet can do.
const ASKED: f64 = 0.7;
/// Of what is asked, good answers that count as being back.
const BACK: f64 = 0.95;

/// Those that know how to bring a backend back slowly, and what their setting is called.
const CONTENDERS: [(Kind, &str, &str, &str); 3] = [
    (Kind::Haproxy, "slowstart 30s", "restart/haproxy.cfg", "haproxy.cfg"),
    (Kind::Envoy, "slow start 30s", "restart/envoy.yaml", "envoy.yaml"),
    (Kind::Tidegate, "untuned", "overload/tidegate.toml", "tidegate.toml"),
];

/// When the fleet is killed, and when it is all over.
#[derive(Clone, Copy)]
struct Course {
    warm: Duration,
    after: Duration,
}

/// Takes everybody who is here.
pub fn take(session: &mut Session) {
    let quick = session.form.name == "quick";
    let course = match quick {
        true => Course { warm: Duration::from_secs(12), after: Duration::from_secs(30) },
        false => Course { warm: Duration::from_secs(30), after: Duration::from_secs(90) },
    };
    for (kind, setting, template, file) in CONTENDERS {
        if !session.kinds.contains(&kind) {
            continue;
        }
        eprintln!("restart: {}, {setting}", kind.name());
        match one(session, kind, (template, file), course) {
            Ok(restart) => {
                session.results.restart.push(Restart { setting: setting.to_owned(), ..restart });
            }
            Err(error) => {
                session.results.trouble.push(format!("restart: {}: {error:#}", kind.name()));
            }
        }
    }
}

fn one(session: &Session, kind: Kind, template: (&str, &str), course: Course) -> Result<Restart> {
    let orders = Orders {
        address: ([127, 0, 0, 1], 0).into(),
        workers: WORKERS,
        service: SERVICE,
        cold: 100,
        factor: 10.0,
        most_waiting: 150,
        seed: SEED,
    };
    let backends = Processes::start(&session.place, BACKENDS, orders)?;
    let mut values = Values::default();
    for (i, backend) in backends.addresses().iter().enumerate() {
        values.set(&format!("backend_{i}"), backend).set(&format!("backend_{i}_port"), backend.port());
    }
    let capacity = BACKENDS as f64 * WORKERS as f64 / MEAN_S;
    let cap = (capacity / 4.0).ceil() as usize;
    let list = backends.addresses().iter().enumerate();
    let list: Vec<_> = list.map(|(i, at)| format!("{{ name = \"b{i}\", address = \"{at}\" }}")).collect();
    values.set("backends", list.join(", ")).set("log", "off").set("cap", cap);
    values.set("resolver", "").set("adaptive_limit", "shadow");
    values.set("cap_each", cap / BACKENDS).set("control", backends.addresses()[0]);
    values.set("control_port", backends.addresses()[0].port());
    let templates = vec![(template.0.to_owned(), template.1.to_owned())];
    let peer = Peer::start(&session.place, &Recipe { kind, templates, values, nth: 0, workers: 1 })?;
    let offered = ASKED * capacity;
    let retries = Retries { max: 2, wait: Duration::from_millis(250), at_once: 4_000 };
    let clients = load::stream("main", peer.door(Door::Http), "/main", offered);
    let clients = clients.poisson().retries(retries).sources(16);
    let end = course.warm + course.after;
    let load = Load::start(Plan::new(end, SEED).slice(SLICE), vec![clients]);
    let looks = look_on(&load, &backends, &peer, course);
    let report = load.finish();
    let seen = report.stream("main");
    let whole = seen.between(course.warm, end);
    let served = served(&seen.rows, course);
    Ok(Restart {
        contender: kind.name().to_owned(),
        setting: String::new(),
        seed: SEED,
        offered,
        killed_at_s: course.warm.as_secs_f64(),
        recovered_s: recovered(&seen.rows, offered, course),
        crashes: backends.crashes(),
        clients: whole.clients,
        served,
        refused: whole.shed,
        failed: whole.timeout + whole.error + whole.other,
        p99_ms: whole.ok_ms(0.99),
        curve: seen.rows.iter().zip(looks).enumerate().map(|(n, (row, look))| moment(n, row, look)).collect(),
    })
}

/// What is looked at beside the clients: in the backends' hands, and the ramp.
type Looked = (f64, Option<f64>);

/// Kills the fleet when it is time, and looks at everybody once a row.
fn look_on(load: &Load, backends: &Processes, peer: &Peer, course: Course) -> Vec<Looked> {
    let rows = (course.warm + course.after).as_nanos().div_ceil(SLICE.as_nanos()) as u32;
    let mut killed = false;
    let mut looks = Vec::new();
    for row in 1..=rows {
        let at: Instant = load.started() + SLICE * row;
        while Instant::now() < at {
            if !killed && load.started().elapsed() >= course.warm {
                backends.kill();
                killed = true;
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        looks.push((backends.in_flight() as f64, ramp(peer)));
    }
    looks
}

/// The mean ramp of the backends, of whoever tells.
fn ramp(peer: &Peer) -> Option<f64> {
    if peer.kind() != Kind::Tidegate {
        return None;
    }
    let text = get(peer.door(Door::Admin), "/metrics").ok()?;
    let of_main =
        |line: &&str| line.starts_with("tidegate_backend_ramp_percent") && line.contains("upstream=\"main\"");
    let values: Vec<f64> =
        text.lines().filter(of_main).filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn moment(n: usize, row: &Row, (in_flight, ramp_percent): Looked) -> Moment {
    let seconds = SLICE.as_secs_f64();
    Moment {
        at_s: n as f64 * seconds,
        good: row.ok as f64 / seconds,
        refused: row.shed as f64 / seconds,
        failed: (row.timeout + row.error + row.other) as f64 / seconds,
        in_flight,
        ramp_percent,
    }
}

/// Good answers after the kill: each is another client's, for a served client does not ask again.
fn served(rows: &[Row], course: Course) -> u64 {
    after(rows, course).iter().map(|row| row.ok).sum()
}

fn recovered(rows: &[Row], offered: f64, course: Course) -> Option<f64> {
    let wanted = (BACK * offered * SLICE.as_secs_f64()) as u64;
    let rows = after(rows, course);
    let two_seconds = (2.0 / SLICE.as_secs_f64()) as usize;
    // Arrivals are random: it is the two seconds together that must reach it.
    let at = rows
        .windows(two_seconds)
        .position(|window| window.iter().map(|row| row.ok).sum::<u64>() >= wanted * two_seconds as u64)?;
    // The moment of the kill has answers of before.
    Some(at as f64 * SLICE.as_secs_f64())
}

fn after(rows: &[Row], course: Course) -> &[Row] {
    let from = (course.warm.as_nanos() / SLICE.as_nanos()) as usize;
    &rows[from.min(rows.len())..]
}
