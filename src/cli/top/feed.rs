//! Who asks the gateway: one stream of snapshots, a small question about events every two seconds, and a hand for
//! what the person wants. Whatever fails is tried again ever more slowly, so that a gateway in trouble is not asked
//! harder than one that is well.
//!
//! Each has a thread of its own: an act is never held up by a stream that hangs. They end with their channels.

use super::act::{self, Act};
use super::desk::{Answer, Wish};
use super::picture::{News, Snapshot};
use crate::cli::client::text::in_query;
use crate::cli::client::{Client, ClientError};
use crate::cli::ramp::Target;
use crate::control::steering::forecast::Forecast;
use serde_json::Value;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

/// Before the first further attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Before the later ones, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// Between two questions about events, and two snapshots of a gateway without a stream of them.
const EVENTS_EVERY: Duration = Duration::from_secs(2);
const ASKED_EVERY: Duration = Duration::from_secs(1);
/// Snapshots that are asked for before the stream is tried again.
const ASKED_BETWEEN: u32 = 60;
/// Incidents are asked for once in so many questions about events, or when one of those is about one.
const INCIDENTS_EVERY: u32 = 5;
/// What was heard and not looked at yet.
const UNHEARD: usize = 64;
/// What was wished for and not begun yet.
const UNDONE: usize = 4;

/// Anything that comes back.
#[derive(Debug)]
pub(super) enum Heard {
    News(News),
    Answer(Answer),
}

/// The threads at work.
#[derive(Debug)]
pub(super) struct Feed {
    heard: Receiver<Heard>,
    look: SyncSender<Option<String>>,
    wishes: SyncSender<Wish>,
    looked_at: Option<String>,
    _events: SyncSender<()>,
}

impl Feed {
    /// Begins to listen.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(client: &Arc<Client>) -> io::Result<Feed> {
        let (tell, heard) = sync_channel(UNHEARD);
        let (look, looks) = sync_channel(UNDONE);
        let (wish, wishes) = sync_channel(UNDONE);
        let (events, events_end) = sync_channel(1);
        let begin = |name: &str, work: Box<dyn FnOnce() + Send>| {
            thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
        };
        let (own, to) = (client.clone(), tell.clone());
        begin("top-live", Box::new(move || live(&own, &to, &looks)))?;
        let (own, to) = (client.clone(), tell.clone());
        begin("top-events", Box::new(move || events_of(&own, &to, &events_end)))?;
        let own = client.clone();
        begin("top-acts", Box::new(move || acts(&own, &tell, &wishes)))?;
        Ok(Feed { heard, look, wishes: wish, looked_at: None, _events: events })
    }

    /// The next thing that was heard, if there is one.
    pub fn heard(&self) -> Option<Heard> {
        self.heard.try_recv().ok()
    }

    /// Hands a wish on, or says why not.
    pub fn wish(&self, wish: Wish) -> Result<(), String> {
        self.wishes.try_send(wish).map_err(|_| "wait: earlier questions are not answered yet".to_owned())
    }

    /// Which upstream is wanted with its backends.
    pub fn look(&mut self, upstream: Option<&str>) {
        if self.looked_at.as_deref() != upstream && self.look.try_send(upstream.map(str::to_owned)).is_ok() {
            self.looked_at = upstream.map(str::to_owned);
            // The stream turns with its next snapshot; until then it is asked for once. If not, it comes a second later.
            let _ = upstream.map(|name| self.wishes.try_send(Wish::Look(name.to_owned())));
        }
    }
}

/// Why a stream of snapshots ended.
enum End {
    /// Something else is looked at now.
    Turned,
    /// Nobody listens here any more.
    Left,
    /// The gateway.
    Lost(String),
    /// There is no such stream.
    Missing,
}

/// Who hears snapshots, and what of.
struct Ear<'a> {
    client: &'a Client,
    tell: &'a SyncSender<Heard>,
    looks: &'a Receiver<Option<String>>,
    /// The upstream that is wanted whole.
    looked_at: Option<String>,
    /// One came since the last pause.
    came: bool,
}

fn live(client: &Client, tell: &SyncSender<Heard>, looks: &Receiver<Option<String>>) {
    let mut ear = Ear { client, tell, looks, looked_at: None, came: false };
    let (mut pause, mut is_new) = (FIRST_PAUSE, true);
    loop {
        if is_new && let Ok(past) = client.get("/v1/series") {
            let _ = tell.try_send(Heard::News(News::Past(past)));
        }
        ear.came = false;
        let end = match ear.stream() {
            // Perhaps it is the upstream that is gone.
            End::Missing if ear.looked_at.take().is_some() => End::Turned,
            End::Missing => ear.ask(),
            end => end,
        };
        is_new = true;
        match end {
            End::Turned => is_new = false,
            End::Left => return,
            End::Missing => {}
            End::Lost(why) => drop(tell.try_send(Heard::News(News::Lost(why)))),
        }
        if !is_new {
            continue;
        }
        pause = if ear.came { FIRST_PAUSE } else { longer(pause) };
        if let Some(End::Left) = ear.wait(pause.mul_f64(fastrand::f64().mul_add(0.5, 0.75))) {
            return;
        }
    }
}

impl Ear<'_> {
    fn stream(&mut self) -> End {
        let wanted = self.looked_at.as_deref();
        let query = wanted.map(|name| format!("?upstream={}", in_query(name))).unwrap_or_default();
        let mut end = End::Lost("the gateway ended the stream".to_owned());
        let client = self.client;
        let outcome = client.watch(&format!("/v1/live{query}"), |live| {
            let Some(snapshot) = Snapshot::read(live) else { return ControlFlow::Continue(()) };
            match self.hear(snapshot, false) {
                Some(why) => {
                    end = why;
                    ControlFlow::Break(())
                }
                None => ControlFlow::Continue(()),
            }
        });
        match outcome {
            Ok(_) => end,
            Err(ClientError::Refused { status: 404 | 503, .. }) => End::Missing,
            Err(error) => End::Lost(error.to_string()),
        }
    }

    /// A gateway without a stream of snapshots, or without a seat at it, is asked for each; for a minute, then the
    /// stream is tried again.
    fn ask(&mut self) -> End {
        for _ in 0..ASKED_BETWEEN {
            let snapshot = match once(self.client) {
                Ok(snapshot) => snapshot,
                Err(error) => return End::Lost(error.to_string()),
            };
            if let Some(End::Left) = self.hear(snapshot, true).or_else(|| self.wait(ASKED_EVERY)) {
                return End::Left;
            }
        }
        End::Turned
    }

    /// Hands a snapshot on; whoever is too slow for it gets the next one. Says why to stop, if there is a reason.
    fn hear(&mut self, snapshot: Snapshot, older: bool) -> Option<End> {
        self.came = true;
        let news = News::Snapshot { snapshot: Box::new(snapshot), older };
        if let Err(TrySendError::Disconnected(_)) = self.tell.try_send(Heard::News(news)) {
            return Some(End::Left);
        }
        match self.looks.try_recv() {
            Ok(upstream) => {
                self.looked_at = upstream;
                Some(End::Turned)
            }
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(End::Left),
        }
    }

    /// For so long, or until something else is looked at.
    fn wait(&mut self, time: Duration) -> Option<End> {
        match self.looks.recv_timeout(time) {
            Ok(upstream) => {
                self.looked_at = upstream;
                Some(End::Turned)
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(End::Left),
        }
    }
}

/// One snapshot, asked for.
fn once(client: &Client) -> Result<Snapshot, ClientError> {
    let status: Value = client.get("/v1/status")?;
    let permits: Value = client.get("/v1/permits?limit=0")?;
    match Snapshot::of_status(&status, &permits) {
        Some(snapshot) => Ok(snapshot),
        // It says why it cannot be read.
        None => client.read::<crate::control::view::GatewayView>(status).map(|_| Snapshot::default()),
    }
}

fn events_of(client: &Client, tell: &SyncSender<Heard>, end: &Receiver<()>) {
    let (mut after, mut pause, mut round) = (0, EVENTS_EVERY, 0_u32);
    loop {
        let heard = match round % INCIDENTS_EVERY {
            // Whoever was away may be somebody else now, or another version.
            0 => about(client, tell),
            _ => Ok(()),
        };
        match heard.and_then(|()| client.get::<Value>(&format!("/v1/events?follow=false&after={after}"))) {
            Ok(mut list) => {
                (pause, round) = (EVENTS_EVERY, round.wrapping_add(1));
                let items = match list["items"].take() {
                    Value::Array(items) => items,
                    _ => Vec::new(),
                };
                after = items.iter().filter_map(|event| event["id"].as_u64()).fold(after, u64::max);
                if items.iter().any(|event| event["kind"] == "incident") {
                    round = 0;
                }
                if !items.is_empty() && tell.send(Heard::News(News::Events(items))).is_err() {
                    return;
                }
            }
            Err(_) => (pause, round) = (longer(pause), 0),
        }
        if let Err(RecvTimeoutError::Disconnected) = end.recv_timeout(pause) {
            return;
        }
    }
}

/// Who we are to the gateway, and its incidents; one that knows nothing of these is older, and that is no error.
fn about(client: &Client, tell: &SyncSender<Heard>) -> Result<(), ClientError> {
    for path in ["/v1/whoami", "/v1/incidents"] {
        match client.get(path) {
            Ok(answer) if path == "/v1/whoami" => drop(tell.send(Heard::News(News::Who(answer)))),
            Ok(answer) => drop(tell.send(Heard::News(News::Incidents(answer)))),
            Err(ClientError::Refused { status: 404, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn acts(client: &Client, tell: &SyncSender<Heard>, wishes: &Receiver<Wish>) {
    while let Ok(wish) = wishes.recv() {
        let answer = match wish {
            Wish::Leave => return,
            Wish::Look(name) => {
                let Ok(upstream) = client.get(&format!("/v1/upstreams/{}", in_query(&name))) else {
                    continue;
                };
                let _ = tell.send(Heard::News(News::Upstream(upstream)));
                continue;
            }
            Wish::Act(act, reason) => Answer::Done(perform(client, &act, &reason)),
            Wish::Forecast(target, percent) => Answer::Forecast(percent, forecast(client, &target, percent)),
            Wish::WayBack => Answer::WayBack(act::way_back(client).map_err(|error| told(&error))),
        };
        if tell.send(Heard::Answer(answer)).is_err() {
            return;
        }
    }
}

fn forecast(client: &Client, target: &Target, percent: f64) -> Result<Forecast, String> {
    act::forecast(client, target, percent).map_err(|error| match error {
        ClientError::Refused { status: 404, .. } => "the gateway has none before a ramp is set".to_owned(),
        error => error.to_string(),
    })
}

fn perform(client: &Client, act: &Act, reason: &str) -> Result<String, String> {
    act.perform(client, reason).map_err(|error| match &error {
        ClientError::Unreachable { .. } | ClientError::Unreadable { .. } => {
            format!("{error}; it may have been done all the same: look before you ask again")
        }
        _ => told(&error),
    })
}

/// The whole sentence, with what it says to do.
fn told(error: &ClientError) -> String {
    match error.hint() {
        Some(hint) => format!("{error}\nhint: {hint}"),
        None => error.to_string(),
    }
}

/// Before the next attempt, when this one failed.
fn longer(pause: Duration) -> Duration {
    (pause * 2).min(LONGEST_PAUSE)
}

/// One snapshot as it came, for programs and for a single picture.
///
/// # Errors
/// If the gateway does not answer.
pub(super) fn single(client: &Client) -> Result<(Value, Snapshot, bool), ClientError> {
    let mut live = None;
    let outcome = client.watch("/v1/live", |value| match Snapshot::read(value) {
        Some(snapshot) => {
            live = Some((value.clone(), snapshot, false));
            ControlFlow::Break(())
        }
        None => ControlFlow::Continue(()),
    });
    match (live, outcome) {
        (Some(live), _) => Ok(live),
        (None, Err(ClientError::Refused { status: 404 | 503, .. }) | Ok(_)) => {
            let status: Value = client.get("/v1/status")?;
            let permits: Value = client.get("/v1/permits?limit=0")?;
            let snapshot = Snapshot::of_status(&status, &permits).unwrap_or_default();
            Ok((serde_json::json!({ "status": status, "permits": permits }), snapshot, true))
        }
        (None, Err(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests;
