//! What is asked of a gateway, and how often.

use super::*;
use std::io::{Read, Write};
use std::net::TcpListener;

#[test]
fn attempts_become_rare_and_never_rarer_than_somebody_waits_for() {
    let pauses: Vec<u128> = std::iter::successors(Some(FIRST_PAUSE), |pause| Some(longer(*pause)))
        .take(8)
        .map(|it| it.as_millis())
        .collect();
    assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 8_000, 15_000, 15_000, 15_000]);
}

/// Answers each connection with the next of these, and says what was asked.
fn gateway(answers: Vec<String>) -> (Client, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("an address");
    let server = thread::Builder::new().spawn(move || {
        let serve = |answer: String| {
            let (mut stream, _) = listener.accept().expect("accepts");
            let mut head = [0; 4096];
            let read = stream.read(&mut head).expect("reads");
            stream.write_all(answer.as_bytes()).expect("writes");
            String::from_utf8_lossy(&head[..read]).lines().next().unwrap_or_default().to_owned()
        };
        answers.into_iter().map(serve).collect()
    });
    (Client::new(&format!("http://{address}"), None).expect("an address"), server.expect("a thread"))
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

#[test]
fn an_upstream_that_is_gone_is_looked_at_no_more_and_the_stream_goes_on() {
    let status = serde_json::json!(crate::control::view::GatewayView::default());
    let stream = format!(
        "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nretry: 2000\n\nevent: snapshot\ndata: {}\n\n",
        serde_json::json!({ "status": status })
    );
    let gone = || answer("404 Not Found", r#"{"detail": "there is none"}"#);
    let (client, server) = gateway(vec![gone(), stream.clone(), gone(), stream]);
    let ((tell, heard), (look, looks)) = (sync_channel(8), sync_channel(8));
    look.send(Some("a b".to_owned())).expect("room");
    // Whoever looked has left by the second snapshot.
    drop(look);
    live(&client, &tell, &looks);
    drop(tell);
    let asked = server.join().expect("answers");
    let asked: Vec<_> = asked.iter().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(asked, ["/v1/series", "/v1/live", "/v1/live?upstream=a%20b", "/v1/live"]);
    let is_snapshot = |heard: &Heard| matches!(heard, Heard::News(News::Snapshot { older: false, .. }));
    assert_eq!(heard.iter().filter(is_snapshot).count(), 2);
}

#[test]
fn an_older_gateway_is_asked_for_its_status() {
    let status = serde_json::json!(crate::control::view::GatewayView { in_flight: 7, ..Default::default() });
    let none = || answer("404 Not Found", "{}");
    let (client, server) =
        gateway(vec![none(), answer("200 OK", &status.to_string()), answer("200 OK", "{}")]);
    let (_, snapshot, older) = single(&client).expect("a snapshot");
    assert_eq!((snapshot.status.in_flight, older), (7, true));
    assert!(server.join().expect("answers")[2].contains("/v1/permits?limit=0"));
}
