//! What ends a connection of an operator, and what does not: deaf peers, age, newcomers, other tokens.

use super::*;
use crate::admin::events::Events;
use crate::admin::settings::Settings;
use crate::admin::{AdminState, ViewSource, api};
use crate::control::view::GatewayView;
use crate::telemetry::events::stream::{Kind, Record};
use crate::telemetry::metrics::Metrics;
use prometheus::proto::MetricFamily;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

#[tokio::test]
async fn a_peer_that_takes_nothing_ends_the_write() {
    let (ours, _theirs) = tokio::io::duplex(8);
    let mut patient = Patient::new(ours, Duration::from_millis(5));
    let error = patient.write_all(&[0; 64]).await.expect_err("nobody reads");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_peer_that_takes_a_little_at_a_time_does_not() {
    let (ours, mut theirs) = tokio::io::duplex(8);
    let mut patient = Patient::new(ours, Duration::from_secs(60));
    let read = async {
        let mut all = [0; 64];
        theirs.read_exact(&mut all).await
    };
    let (written, read) = tokio::join!(patient.write_all(&[0; 64]), read);
    assert!(written.is_ok() && read.is_ok());
}

fn state() -> Arc<AdminState> {
    let settings = Settings::of(vec![]);
    let view: ViewSource = Arc::new(GatewayView::default);
    AdminState::new(Arc::new(Metrics::new(1)), view, &settings).expect("builds")
}

/// A connection that asked for this path, and its task.
async fn asking(state: &Arc<AdminState>, path: &str, max_age: Duration) -> (DuplexStream, JoinHandle<()>) {
    let (ours, mut theirs) = tokio::io::duplex(1024);
    let (peer, streaming) = (Peer::Tcp(([127, 0, 0, 1], 1).into()), Streaming::default());
    let visit = Visit { peer, streaming, max_age, patience: Duration::from_millis(50) };
    let task = tokio::spawn(connection(ours, visit, api::router(state.clone())));
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    theirs.write_all(request.as_bytes()).await.expect("it is taken");
    (theirs, task)
}

async fn read_until(stream: &mut DuplexStream, word: &str) {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(word) {
        stream.read_buf(&mut read).await.expect("it is open");
    }
}

fn happens(state: &AdminState) {
    state.sources.events.keep(Record::new(Kind::Shed, "it happened"));
}

fn metric(events: &Events, name: &str) -> f64 {
    let families: Vec<MetricFamily> = events.families().into_iter().map(|family| family.finish()).collect();
    let family = families.iter().find(|family| family.name() == name).expect("it is there");
    let metric = &family.get_metric()[0];
    metric.get_gauge().get_value() + metric.get_counter().get_value()
}

#[tokio::test]
async fn a_listener_that_takes_nothing_is_let_go() {
    let state = state();
    let (mut deaf, task) = asking(&state, "/v1/events", Duration::from_secs(60)).await;
    read_until(&mut deaf, "retry:").await;
    assert_eq!(metric(&state.sources.events, "tidegate_event_subscribers"), 1.0);
    let storm = async {
        while !task.is_finished() {
            happens(&state);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), storm).await.expect("it is let go");
    assert_eq!(metric(&state.sources.events, "tidegate_event_subscribers"), 0.0);
    assert_eq!(metric(&state.sources.events, "tidegate_event_subscribers_dropped_total"), 1.0);
}

#[tokio::test]
async fn a_stream_outlives_the_age_of_a_connection_and_nothing_else_does() {
    let state = state();
    let age = Duration::from_millis(20);
    let (mut listening, stream) = asking(&state, "/v1/events", age).await;
    read_until(&mut listening, "retry:").await;
    let (mut idle, other) = asking(&state, "/livez", age).await;
    read_until(&mut idle, "alive").await;
    tokio::time::timeout(Duration::from_secs(20), other).await.expect("its age ends it").expect("in order");
    happens(&state);
    read_until(&mut listening, "it happened").await;
    assert!(!stream.is_finished());
}

#[tokio::test]
async fn a_newcomer_ends_the_oldest_that_is_no_stream() {
    let mut open = Open::default();
    let mut tasks = JoinSet::new();
    let guards: Vec<_> = (0..MAX_CONNECTIONS)
        .map(|n| {
            let streaming = Streaming::default();
            open.0.push_back((tasks.spawn(std::future::pending::<()>()), streaming.clone()));
            (n < 2).then(|| streaming.begin())
        })
        .collect();
    open.make_room();
    assert_eq!(open.0.iter().filter(|(_, streaming)| streaming.is_on()).count(), 2, "streams are spared");
    assert_eq!(open.0.len(), MAX_CONNECTIONS - 1);
    assert!(tasks.join_next().await.expect("one").expect_err("ended").is_cancelled());
    drop(guards);
    assert!(open.0.iter().all(|(_, streaming)| !streaming.is_on()));
}

#[tokio::test]
async fn a_change_of_tokens_ends_the_streams_of_the_old_ones() {
    let state = state();
    let (mut listening, task) = asking(&state, "/v1/events", Duration::from_millis(1)).await;
    read_until(&mut listening, "retry:").await;
    let settings = Settings::of(vec![]);
    state.set_access(&settings).expect("the same");
    happens(&state);
    read_until(&mut listening, "it happened").await;
    let hash = blake3::hash(b"secret").to_hex().to_string();
    let token = crate::admin::settings::Token {
        name: "ops".into(),
        role: crate::admin::settings::Role::Viewer,
        hash,
    };
    state.set_access(&Settings { tokens: vec![token], ..settings }).expect("other tokens");
    tokio::time::timeout(Duration::from_secs(20), task).await.expect("it ends").expect("in order");
}
