//! Runs each fuzz target's check over its committed seeds, so that the targets build and hold without a
//! fuzzer (`tests/fuzz/README.md`).

use proptest::prelude::*;

#[path = "fuzz/checks/config.rs"]
mod config;
#[path = "fuzz/checks/first_bytes.rs"]
mod first_bytes;
#[path = "fuzz/checks/path.rs"]
mod path;
#[path = "fuzz/checks/token.rs"]
mod token;

/// Runs `check` over every seed in a target's folder.
fn over_seeds(target: &str, check: impl Fn(&[u8])) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(target);
    let seeds: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!seeds.is_empty());
    for seed in seeds {
        check(&std::fs::read(seed).unwrap());
    }
}

#[test]
fn first_bytes_hold_over_their_seeds() {
    over_seeds("first_bytes", first_bytes::first_bytes);
    // Each seed again under every way of cutting that differs.
    over_seeds("first_bytes", |seed| {
        for size in 1..=16 {
            first_bytes::first_bytes(&[&[size], &seed[1..]].concat());
        }
    });
}

#[test]
fn paths_hold_over_their_seeds() {
    over_seeds("path", path::path);
}

#[test]
fn configurations_hold_over_their_seeds() {
    over_seeds("config", config::config);
}

#[test]
fn tokens_hold_over_their_seeds() {
    over_seeds("token", token::token);
}

/// A path put together from what servers read differently.
fn made_up_path() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "/", "//", ".", "..", "%2e", "%2E", "%252e", "%25", "%2f", "%2F", "%252f", "%5c", "%255c", "\\", ";",
        ";x=1", "%3b", "%253b", "%00", "%41", "%7e", "%c0%ae", "%", "%2", "a", "b", "~", "é", "?", "#", " ",
        "*", "%20",
    ]);
    prop::collection::vec(pieces, 0..10).prop_map(|pieces| format!("/{}", pieces.concat()))
}

/// The reference with lines left out, doubled, moved or changed in one value.
fn made_up_configuration() -> impl Strategy<Value = String> {
    let lines: Vec<&str> = include_str!("../config/tidegate.toml").lines().filter(|l| is_toml(l)).collect();
    let (count, value) = (
        lines.len(),
        prop::sample::select(vec![
            "${SECRET}",
            "${file:secret}",
            "$${x}",
            "${",
            "${}",
            "0",
            "-1",
            "18446744073709551616",
            "1e400",
            "",
            "*",
            "é",
            "/{",
            "99999999999h",
            "GET\\n",
            "[::1]:0",
            "127.0.0.1:0",
            "..",
            "100%",
            "1KiB",
        ]),
    );
    let change = (0..count, 0..count, 0..4_u8, value);
    prop::collection::vec(change, 0..4).prop_map(move |changes| {
        let mut text: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        for (at, other, kind, value) in changes {
            match kind {
                0 => text[at].clear(),
                1 => text[other] = format!("{}\n{}", text[other], text[at]),
                2 => text.swap(at, other),
                _ => text[at] = with_value(&text[at], value),
            }
        }
        text.join("\n")
    })
}

/// Comments that hold keys count, the prose does not.
fn is_toml(line: &str) -> bool {
    !line.is_empty() && !line.starts_with("# ")
}

/// The line with its first text, or else everything after `=`, replaced.
fn with_value(line: &str, value: &str) -> String {
    let line = line.trim_start_matches('#');
    let mut parts = line.splitn(3, '"');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(before), Some(_), Some(after)) => format!("{before}\"{value}\"{after}"),
        _ => format!("{}= {value}", line.split('=').next().unwrap_or(line)),
    }
}

/// Input put together from what parsers quarrel about.
fn made_up() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        &b"GET / HTTP/1.1\r\n"[..],
        b"POST /a?b HTTP/1.1\r\n",
        b"GET / HTTP/1.0\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n",
        b"HEAD http://a/ HTTP/1.1\r\n",
        b"Host: a\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 0\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"transfer-encoding:CHUNKED\t\r\n",
        b"Expect: 100-continue\r\n",
        b"Connection: close\r\n",
        b"Connection: keep-alive, upgrade\r\n",
        b"Upgrade: websocket\r\n",
        b"X: \xff\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b";e=\"\\\"\"",
        b"3\r\nabc\r\n",
        b"0\r\n",
        b"00\r\n\r\n",
        b"a",
        b"\0",
        b"abc",
        b"T: v\r\n",
    ]);
    let request = prop::sample::select(vec![
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ]);
    let piece = prop_oneof![3 => pieces, 1 => request].prop_map(<[u8]>::to_vec);
    (any::<u8>(), prop::collection::vec(piece, 1..16))
        .prop_map(|(cut, pieces)| [vec![cut], pieces.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn first_bytes_hold_over_made_up_input(bytes in made_up()) {
        first_bytes::first_bytes(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn paths_hold_over_made_up_input(raw in made_up_path()) {
        path::path(raw.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn configurations_hold_over_made_up_input(text in made_up_configuration()) {
        config::config(text.as_bytes());
    }
}
