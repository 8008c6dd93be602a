//! Killed at any moment of any operation the gateway starts again and serves a version that was good, never one that
//! did not pass its stages; what was acknowledged is there, what was taken back stays out, and no number names two
//! texts.
//!
//! Operations and moments come from a seed. `TIDEGATE_KILLS` makes a campaign longer, `TIDEGATE_SEED` repeats one.

mod witness;

use crate::audit::RAMP;
use crate::support::config::Config;
use crate::support::gateway::{Gateway, Launch};
use crate::support::load::Load;
use crate::support::origins::Origin;
use crate::support::raw::{Answer, Raw};
use crate::support::{PATIENCE, wait_for, wait_until};
use fastrand::Rng;
use serde_json::Value;
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use witness::Witness;

/// Long enough for a stage, an activation and the beginning of the last bake.
const BAKE: Duration = Duration::from_millis(300);
const FREE: &str = "[rollout]\nrequired = false\n";
const STAGED: &str = "[rollout]\nrequired = true\nstages = [\"50%\", \"100%\"]\nbake = \"300ms\"\n\
                      guard = { min_requests = 1 }\n";

/// What is asked of a gateway.
#[derive(Clone)]
enum Deed {
    /// A text, with a query.
    Apply(String, &'static str),
    /// The file is replaced, and the process told.
    File(String),
    /// One of the words about the change under way.
    Say(&'static str),
    /// The version before, or this one.
    Back(Option<u64>),
    /// The ramp of the upstream.
    Ramp(u64),
}

struct Campaign {
    origin: Origin,
    policy: &'static str,
    chance: Rng,
    witness: Witness,
    marks: u64,
}

fn knob(name: &str, otherwise: u64) -> u64 {
    let told = std::env::var(name).ok();
    told.map_or(otherwise, |told| told.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn tell(admin: SocketAddr, method: &str, path: &str, body: &str) -> Option<Answer> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut raw = Raw::try_connect(admin).ok()?;
    raw.try_send(format!("{head}{body}")).ok()?;
    raw.try_answer(false).ok()
}

impl Deed {
    /// Does it; the answer, unless the gateway is gone before.
    fn done(&self, admin: SocketAddr) -> Option<Answer> {
        match self {
            Deed::Apply(text, query) => tell(admin, "POST", &format!("/v1/versions{query}"), text),
            Deed::Say(word) => tell(admin, "POST", &format!("/v1/rollout:{word}"), "{}"),
            Deed::Back(None) => tell(admin, "POST", "/v1/rollback", "{}"),
            Deed::Back(Some(number)) => {
                tell(admin, "POST", "/v1/rollback", &format!("{{\"version\":{number}}}"))
            }
            Deed::Ramp(percent) => tell(admin, "PUT", RAMP, &format!("{{\"percent\":{percent}}}")),
            Deed::File(_) => None,
        }
    }
}

impl fmt::Debug for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Deed::Apply(text, query) => write!(f, "apply {:.8} {query}", Witness::hash(text)),
            Deed::File(text) => write!(f, "file {:.8}", Witness::hash(text)),
            Deed::Say(word) => f.write_str(word),
            Deed::Back(to) => write!(f, "rollback {to:?}"),
            Deed::Ramp(percent) => write!(f, "ramp {percent}"),
        }
    }
}

/// Waits so long to a few microseconds, as nothing that parks a thread does.
fn linger(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

impl Campaign {
    fn begin(policy: &'static str, seed: u64) -> (Campaign, Gateway) {
        let origin = Origin::well_behaved();
        let chance = Rng::with_seed(seed);
        println!("seed {seed}: repeat it with TIDEGATE_SEED={seed}");
        let config = config(policy, origin.address(), "0");
        let gateway = Gateway::start(&config);
        let mut witness = Witness::default();
        witness.begins(&gateway, &config.render(&gateway.folder().join("state")));
        (Campaign { origin, policy, chance, witness, marks: 0 }, gateway)
    }

    /// A text that nobody has seen.
    fn text(&mut self, gateway: &Gateway) -> String {
        self.marks += 1;
        let mark = self.marks.to_string();
        config(self.policy, self.origin.address(), &mark).render(&gateway.folder().join("state"))
    }

    /// A moment within an operation: often within its first milliseconds.
    fn moment(&mut self) -> Duration {
        Duration::from_micros(match self.chance.u8(0..10) {
            0..3 => self.chance.u64(0..2_000),
            3..8 => self.chance.u64(0..12_000),
            _ => self.chance.u64(0..40_000),
        })
    }

    /// What somebody may do where changes are active at once.
    fn free_deed(&mut self, gateway: &Gateway) -> Deed {
        match self.chance.u8(0..16) {
            0..4 => Deed::Apply(self.text(gateway), "?reason=x"),
            4 => Deed::Apply(self.witness.any_text(&mut self.chance), ""),
            5..8 => Deed::Apply(self.text(gateway), "?confirm=60s"),
            8..10 => Deed::Say("confirm"),
            10 | 11 => Deed::Back(None),
            12 => Deed::Back(self.witness.any_good(&mut self.chance)),
            13 | 14 => Deed::File(self.text(gateway)),
            _ => Deed::Ramp(self.chance.u64(50..=100)),
        }
    }

    /// Does it while nobody is killed, and remembers what came of it.
    fn do_whole(&mut self, gateway: &Gateway, deed: &Deed) {
        self.witness.asked(deed);
        match deed {
            Deed::File(text) => {
                gateway.write_text(text);
                gateway.hup();
                let hash = Witness::hash(text);
                wait_until(PATIENCE, "the file is active", || gateway.hash() == hash);
                self.witness.sees(gateway);
            }
            _ => {
                let answer = deed.done(gateway.admin()).expect("it is answered");
                self.witness.answered(deed, &answer);
            }
        }
    }

    /// Does it, and kills the gateway somewhere on the way.
    fn do_and_kill(&mut self, gateway: Gateway, deed: &Deed, after: Duration, what: &str) -> Gateway {
        self.witness.asked(deed);
        if let Deed::File(text) = deed {
            gateway.write_text(text);
            gateway.hup();
        }
        let admin = gateway.admin();
        let (folder, mut answer, mut killed) = (gateway.folder().to_owned(), None, Instant::now());
        let gateway = std::thread::scope(|scope| {
            let asking = scope.spawn(|| deed.done(admin));
            linger(after);
            gateway.restart_after(Launch::default(), || {
                killed = Instant::now();
                answer = asking.join().expect("it ends");
                witness::is_whole(&folder.join("state"));
            })
        });
        answer.iter().for_each(|answer| self.witness.answered(deed, answer));
        self.witness.judge(&gateway, killed, what);
        gateway
    }
}

/// One route whose answers carry a mark.
pub fn config(policy: &str, backend: SocketAddr, mark: &str) -> Config {
    let edit = format!("timeout = \"100ms\"\nresponse_headers = {{ set = {{ \"x-gen\" = \"{mark}\" }} }}");
    Config::under(policy).upstream("u", &[backend], "").route("r", "/", "u", &edit)
}

/// Where changes are active at once.
fn kills_at_once(kills: u64, seed: u64) {
    let (mut campaign, mut gateway) = Campaign::begin(FREE, seed);
    for round in 0..kills {
        for _ in 0..campaign.chance.u8(0..4) {
            let deed = campaign.free_deed(&gateway);
            campaign.do_whole(&gateway, &deed);
        }
        let (deed, after) = (campaign.free_deed(&gateway), campaign.moment());
        let what = format!("round {round}, {after:?} after {deed:?}");
        gateway = campaign.do_and_kill(gateway, &deed, after, &what);
    }
}

/// How far a rollout is when the process is killed, and in what.
fn stage(campaign: &mut Campaign, gateway: &Gateway, chance: u8) -> Deed {
    let state = |wanted: &str| {
        wait_for(PATIENCE, wanted, || {
            let view: Value = gateway.admin_get("/v1/rollout").json();
            let state = view["state"].as_str().unwrap_or_default();
            (state == wanted || state == "none").then_some(())
        });
    };
    match chance {
        0 | 1 => Deed::Apply(campaign.text(gateway), ""),
        2 => Deed::Apply(campaign.text(gateway), "?now=true&break_glass=true&reason=fire"),
        _ => {
            let deed = Deed::Apply(campaign.text(gateway), "");
            campaign.do_whole(gateway, &deed);
            state(if chance.is_multiple_of(2) { "rolling_out" } else { "settling" });
            match chance {
                3..6 => Deed::Say("promote"),
                6..9 => Deed::Say("abort"),
                9 | 10 => Deed::Back(None),
                _ => Deed::Back(campaign.witness.any_good(&mut campaign.chance)),
            }
        }
    }
}

/// Where nothing reaches everyone without stages.
fn kills_by_stages(kills: u64, seed: u64) {
    let (mut campaign, mut gateway) = Campaign::begin(STAGED, seed);
    for round in 0..kills {
        let _load = Load::paced(gateway.edge(), "/", 4, Duration::from_millis(5));
        let chance = campaign.chance.u8(0..12);
        let deed = stage(&mut campaign, &gateway, chance);
        let after = match campaign.chance.u8(0..3) {
            // Through its stages, with the steps that nobody asks for.
            0 => Duration::from_millis(campaign.chance.u64(0..1_200)),
            _ => campaign.moment(),
        };
        let what = format!("round {round}, {after:?} after {deed:?}");
        gateway = campaign.do_and_kill(gateway, &deed, after, &what);
    }
}

#[test]
fn a_kill_at_any_moment_of_a_change_that_is_active_at_once_leaves_a_whole_state() {
    kills_at_once(knob("TIDEGATE_KILLS", 40), knob("TIDEGATE_SEED", 6));
}

#[test]
fn a_kill_at_any_moment_of_a_rollout_leaves_a_version_that_passed_its_stages() {
    kills_by_stages(knob("TIDEGATE_KILLS", 20), knob("TIDEGATE_SEED", 7));
}

#[test]
#[ignore = "takes ten minutes: before a release"]
fn five_hundred_kills_at_any_moment_leave_a_whole_state() {
    let seed = knob("TIDEGATE_SEED", Rng::new().u64(0..1_000_000));
    kills_at_once(300, seed);
    kills_by_stages(200, seed);
}
