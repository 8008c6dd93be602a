//! The stage of a scene: stand-ins, a name server, a gateway and clients. It ends in this order when it is dropped:
//! clients, gateway, servers, folder.

use super::lanes::{KNOWN, Lane, streams, usable};
use super::script::{Script, Weight};
use super::{Findings, Scene};
use crate::cli::drill::crowd::seen::Ended;
use crate::cli::drill::crowd::{self, Crowd, PATIENCE, World};
use crate::cli::drill::found::{Doubt, Found, Measured, Role, RouteFound, Sight, Verdict};
use crate::cli::drill::gateway::{FILE, Gateway};
use crate::cli::drill::judge::Mint;
use crate::cli::drill::names::{DOMAIN, Names};
use crate::cli::drill::origins::{Fleet, Setting};
use crate::cli::drill::rewrite::Spots;
use crate::cli::drill::scratch::Scratch;
use crate::cli::drill::target::Target;
use crate::cli::drill::told::Told;
use crate::cli::drill::verdict::{self, CALM, Judged};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::time::{Duration, Instant};

/// Before calm: connections are made, clients become known.
const WARM: Duration = Duration::from_millis(800);
/// For everybody to be served again between two strikes.
const CALMS_DOWN: Duration = Duration::from_secs(15);
/// Clients that leave later than that, one in a hundred, are late because this machine is.
const LATE: Duration = Duration::from_millis(100);

/// Whoever came by then has an answer, where all is well.
const UNDER_WAY: Duration = Duration::from_millis(400);
/// A span of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    /// Its beginning.
    pub from: Instant,
    /// Its end.
    pub to: Instant,
}

impl Span {
    /// In seconds.
    pub fn seconds(self) -> f64 {
        (self.to - self.from).as_secs_f64()
    }
}

/// How a stage is set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Set {
    /// What requests are to stand-ins.
    pub weight: Weight,
    /// Stand-ins of backends with names have names.
    pub named: bool,
}

impl Set {
    /// As most scenes want it.
    pub const USUAL: Set = Set { weight: Weight::Light, named: false };
}

/// A stage.
pub(super) struct Stage<'a> {
    crowd: Crowd,
    /// The gateway.
    pub gateway: Gateway,
    /// Everybody's stand-ins.
    pub fleet: Fleet,
    /// The name server.
    pub names: Names,
    _scratch: Scratch,
    /// The text that the gateway runs.
    pub text: String,
    /// What is asked: those of the sample that answer.
    pub targets: Vec<Target>,
    lanes: Vec<Lane>,
    places: BTreeMap<String, Range<usize>>,
    weight: Weight,
    script: &'a Script,
    told: &'a Told,
}

impl<'a> Stage<'a> {
    /// Sets it, lets the clients come, and warms up.
    ///
    /// # Errors
    /// If this machine has no room, or nothing of the configuration answers.
    pub fn set(
        script: &'a Script,
        set: Set,
        told: &'a Told,
        findings: &mut Findings,
    ) -> anyhow::Result<Stage<'a>> {
        let (scratch, mint) = (Scratch::new()?, Mint::new());
        let mut places: BTreeMap<String, Range<usize>> = BTreeMap::new();
        let mut many = 0;
        for upstream in script.sample.cast(&script.facts) {
            let from = many;
            many += script.staged.many(&upstream);
            places.insert(upstream, from..many);
        }
        // The last one is everybody else's.
        let mut settings = vec![None; many + 1];
        for upstream in &script.sample.upstreams {
            let of = places.get(upstream).cloned().unwrap_or_default();
            let set = script.settings(upstream, set.weight);
            settings.iter_mut().skip(of.start).take(of.len()).zip(set).for_each(|(it, set)| *it = Some(set));
        }
        let (fleet, spots) = Fleet::start_as(&settings, "stand-in")?;
        let home = spots.first().map_or(Ipv4Addr::LOCALHOST, |spot| match spot.ip() {
            IpAddr::V4(home) => home,
            IpAddr::V6(_) => Ipv4Addr::LOCALHOST,
        });
        let names = Names::start(home)?;
        let spot = |nth: usize| spots.get(nth).map(ToString::to_string).unwrap_or_default();
        let address = |nth: usize, named: bool| match spots.get(nth).filter(|_| named && set.named) {
            Some(spot) => format!("s{nth}.{DOMAIN}:{}", spot.port()),
            None => spot(nth),
        };
        let stand_ins = places.iter().map(|(upstream, range)| {
            let named = script.facts.upstreams.get(upstream).is_some_and(|upstream| upstream.named);
            (upstream.clone(), range.clone().map(|nth| address(nth, named)).collect())
        });
        let stand_ins: BTreeMap<String, Vec<String>> = stand_ins.collect();
        let spots = Spots { stand_ins: &stand_ins, rest: spot(many), names: names.at() };
        let text = script.staged.text(&spots, scratch.path());
        scratch.write(FILE, &text)?;
        let gateway = Gateway::start(&scratch, told)?;
        let world = World {
            listeners: gateway.listeners.clone(),
            shown_in: script.shown_in.clone(),
            keys: script.keys.clone(),
            mint,
            fact: script.fact.clone(),
        };
        let targets = usable(script, &world, told, findings)?;
        let (streams, lanes) = streams(script, &targets);
        let crowd = Crowd::start(world, streams)?;
        let stage = Stage {
            crowd,
            gateway,
            fleet,
            names,
            _scratch: scratch,
            text,
            targets,
            lanes,
            places,
            weight: set.weight,
            script,
            told,
        };
        stage.pass(WARM)?;
        Ok(stage)
    }

    /// Lets a while pass.
    ///
    /// # Errors
    /// If it was told to stop meanwhile.
    pub fn pass(&self, time: Duration) -> anyhow::Result<Span> {
        let from = Instant::now();
        self.told.pass(time)?;
        Ok(Span { from, to: Instant::now() })
    }

    /// Lets a while pass in calm; what was begun in it has ended when something is struck.
    ///
    /// # Errors
    /// If it was told to stop meanwhile.
    pub fn calm(&self, time: Duration) -> anyhow::Result<Span> {
        let span = self.pass(time)?;
        self.pass(UNDER_WAY)?;
        Ok(span)
    }

    /// The stand-ins of an upstream.
    pub fn places(&self, upstream: &str) -> Range<usize> {
        self.places.get(upstream).cloned().unwrap_or_default()
    }

    /// How the stand-ins of an upstream are set.
    pub fn settings(&self, upstream: &str) -> Vec<Setting> {
        self.script.settings(upstream, self.weight)
    }

    /// Requests a second that the stand-ins of an upstream can do.
    pub fn capacity(&self, upstream: &str) -> f64 {
        let of = |setting: &Setting| setting.workers as f64 / setting.service.as_secs_f64();
        self.settings(upstream).iter().map(of).sum()
    }

    /// From now on so many requests a second go to an upstream.
    pub fn load(&self, upstream: &str, rate: f64) {
        for (nth, lane) in self.lanes.iter().enumerate().filter(|(_, lane)| lane.upstream == upstream) {
            self.crowd.set_rate(nth, rate * lane.part);
        }
    }

    /// From now on whoever is not served tries so often again, at once.
    pub fn insist(&self, tries: u32) {
        self.crowd.insist(tries);
    }

    /// Waits until everybody who was due in a span knows what became of it, and tells that by target.
    ///
    /// # Errors
    /// If it was told to stop meanwhile.
    pub fn sights(&self, span: Span) -> anyhow::Result<Vec<Sight>> {
        self.crowd.settle(self.told, span.to)?;
        Ok(self.peek(span))
    }

    /// The same of those who know already.
    pub fn peek(&self, span: Span) -> Vec<Sight> {
        Sight::of_each(self.crowd.seen(), self.script.sample.targets.len(), span.from, span.to)
    }

    /// Of one upstream's routes together.
    pub fn of_upstream(&self, upstream: &str, sights: &[Sight]) -> Sight {
        let here = self.targets.iter().filter(|target| target.upstream == upstream);
        let of = here.filter_map(|target| sights.get(target.number as usize));
        of.fold(Sight::default(), Sight::plus)
    }

    /// Requests a second to an upstream that ended well in a span, whenever they were due.
    pub fn goodput(&self, upstream: &str, span: Span) -> f64 {
        let here = |number: u32| self.targets.iter().any(|it| it.number == number && it.upstream == upstream);
        let from = span.from.checked_sub(PATIENCE).unwrap_or(span.from);
        let mut many = 0_u64;
        self.crowd.seen().each(from, span.to, |over| {
            let within = over.at >= span.from && over.at < span.to;
            many += u64::from(within && over.one.how.is_good() && here(over.one.target));
        });
        many as f64 / span.seconds()
    }

    /// Waits until everybody who comes from now on was served for a second; whether that came.
    ///
    /// # Errors
    /// If it was told to stop meanwhile.
    pub fn calms_down(&self) -> anyhow::Result<bool> {
        let begun = Instant::now();
        let calm = self.told.wait_for(CALMS_DOWN, || {
            let now = Instant::now();
            let from = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
            if from < begun {
                return Ok(None);
            }
            let (mut many, mut lost) = (0, 0);
            for sight in self.peek(Span { from, to: now }) {
                many += sight.sent;
                lost += sight.sent - sight.served;
            }
            Ok((many > 0 && lost == 0).then_some(()))
        })?;
        Ok(calm.is_some())
    }

    /// Until every known client was on every guarded route of every upstream, at the rate of calm; at most so long.
    pub fn until_known(&self, most: Duration) -> Duration {
        let routes = self
            .script
            .sample
            .upstreams
            .iter()
            .map(|upstream| self.targets.iter().filter(|target| target.upstream == *upstream).count());
        // In turn, so that each takes as many requests as there are clients and routes.
        let many = f64::from(crowd::KNOWN) * routes.max().unwrap_or_default() as f64;
        Duration::from_secs_f64(1.2 * many / (self.script.rate() * KNOWN)).min(most)
    }

    /// How late clients left in a span: all but one in a hundred left sooner. And whether some could not be sent.
    fn lateness(&self, span: Span) -> (Duration, bool) {
        let mut late = Vec::new();
        let mut unsent = false;
        self.crowd.seen().each(span.from, span.to, |over| {
            late.push(over.one.sent.saturating_duration_since(over.one.due));
            unsent |= over.one.how == Ended::NotSent;
        });
        late.sort_unstable();
        let at = (late.len() as f64 * 0.99) as usize;
        let p99 = late.get(at.min(late.len().saturating_sub(1))).copied().unwrap_or_default();
        (p99, unsent)
    }

    /// In calm requests take about as long as the stand-ins work on them; a machine that has no time takes longer.
    fn is_prompt(&self, calm: &[Sight]) -> bool {
        let prompt = |target: &Target| {
            let longest = self.settings(&target.upstream).iter().map(|setting| setting.service).max();
            let most = (longest.unwrap_or_default() * 2 + LATE).as_secs_f64() * 1e3;
            let times = calm.get(target.number as usize).and_then(Sight::served_times);
            times.is_none_or(|times| times.p50_ms <= most)
        };
        self.targets.iter().all(prompt)
    }

    /// What a scene found, by what each route has to do with it, and what is asked of those that were struck.
    ///
    /// # Errors
    /// If it was told to stop meanwhile.
    pub fn found(
        &self,
        act: Act<'_>,
        role: impl Fn(&Target) -> Option<Role>,
        judge: impl Fn(&Target, &Sight, &Sight, bool) -> Judged,
    ) -> anyhow::Result<Found> {
        let (calm, hit) = (self.sights(act.calm)?, self.sights(act.hit)?);
        let (late, unsent) = self.lateness(act.hit);
        let times = !unsent && late <= LATE && self.is_prompt(&calm);
        let mut doubt = (!times).then_some(Doubt::Machine);
        let mut routes = Vec::new();
        for target in &self.targets {
            let Some(role) = role(target) else { continue };
            let nth = target.number as usize;
            let (Some(calm), Some(hit)) = (calm.get(nth), hit.get(nth)) else { continue };
            let (verdict, why) = match role {
                _ if unsent => {
                    (Verdict::Unclear, "the drill could not send all of its requests here".to_owned())
                }
                _ if hit.sent == 0 || calm.sent == 0 => {
                    doubt = doubt.or(Some(Doubt::FewRequests));
                    (Verdict::Unclear, "too few requests were sent".to_owned())
                }
                _ if calm.share() < CALM => {
                    doubt = doubt.or(Some(Doubt::Calm));
                    let said = verdict::percent(calm.share());
                    (
                        Verdict::Unclear,
                        format!("even in calm {said} were served: {}", verdict::most_common(calm)),
                    )
                }
                Role::Beside => verdict::beside(calm, hit, times),
                Role::Struck => judge(target, calm, hit, times),
            };
            let facts = self.script.facts.route(&target.route);
            routes.push(RouteFound {
                route: target.route.clone(),
                upstream: target.upstream.clone(),
                auth: facts.and_then(|facts| facts.auth.clone()),
                class: facts.map_or("default", |facts| facts.class.as_str()),
                role,
                calm: calm.clone(),
                hit: hit.clone(),
                verdict,
                why,
            });
        }
        Ok(Found {
            scene: act.scene,
            struck: act.struck.map(str::to_owned),
            title: act.title,
            seconds: act.hit.seconds(),
            verdict: Verdict::Unclear,
            doubt,
            late_p99_ms: (late.as_secs_f64() * 1e4).round() / 10.0,
            times_judged: times,
            routes,
            measured: act.measured,
            advice: Vec::new(),
        })
    }

    /// A metric of one upstream, summed over everything else that it tells apart.
    ///
    /// # Errors
    /// If the gateway does not answer.
    pub fn metric(&self, name: &str, upstream: &str) -> anyhow::Result<f64> {
        let text = self.gateway.admin().text("/metrics")?;
        let (start, here) = (format!("{name}{{"), format!("upstream=\"{upstream}\""));
        let lines = text.lines().filter(|line| line.starts_with(&start) && line.contains(&here));
        Ok(lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum())
    }
}

/// What happened in a scene.
pub(super) struct Act<'a> {
    /// Which scene.
    pub scene: Scene,
    /// What was struck.
    pub struck: Option<&'a str>,
    /// In a sentence.
    pub title: String,
    /// Before.
    pub calm: Span,
    /// Meanwhile.
    pub hit: Span,
    /// What else was measured.
    pub measured: Measured,
}
