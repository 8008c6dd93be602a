//! One set for each source, over changes and restarts.

use super::*;
use crate::upstream::pem::OnDisk;

const SET: &str =
    r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn jwt(source: KeySource, refresh: Duration) -> Jwt {
    let rules = crate::filters::auth::jwt::Rules {
        algorithms: Vec::new(),
        issuers: Vec::new(),
        audiences: Vec::new(),
        leeway: Duration::ZERO,
        max_length: 0,
    };
    Jwt {
        header: http::header::AUTHORIZATION,
        source,
        refresh,
        fetch_timeout: Duration::from_secs(1),
        rules: Arc::new(rules),
        grants: Default::default(),
    }
}

fn url(path: &str) -> KeySource {
    let url = format!("http://127.0.0.1:1/{path}").parse().expect("a URL");
    KeySource::Url { url, ca: None }
}

/// As a version that was read ahead has them.
fn ring_of(keyrings: &Keyrings, jwt: &Jwt) -> Arc<Ring> {
    keyrings.read_ahead([jwt].into_iter());
    keyrings.ring_of(jwt, None, &OnDisk)
}

fn keyrings(folder: &Path) -> Keyrings {
    Keyrings::new(Some(Store::at(folder)), Arc::default())
}

#[test]
fn one_source_has_one_set_whatever_uses_it_and_a_refused_version_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let keyrings = keyrings(folder.path());
    let first = ring_of(&keyrings, &jwt(url("a"), Duration::from_secs(1)));
    let refresh = || {
        let sources = keyrings.sources();
        sources.in_use.values().next().map(|source| source.errand.load().refresh)
    };
    let again = ring_of(&keyrings, &jwt(url("a"), Duration::from_secs(2)));
    assert!(Arc::ptr_eq(&first, &again));
    keyrings.forget_unused();
    keyrings.commit();
    assert_eq!(refresh(), Some(Duration::from_secs(1)), "the version was refused");
    let _again = ring_of(&keyrings, &jwt(url("a"), Duration::from_secs(2)));
    keyrings.commit();
    assert_eq!(refresh(), Some(Duration::from_secs(2)));
    assert!(!Arc::ptr_eq(&first, &ring_of(&keyrings, &jwt(url("b"), Duration::from_secs(1)))));
}

#[test]
fn what_was_fetched_is_there_at_the_next_start_and_old_files_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let jwt = jwt(url("a"), Duration::from_secs(1));
    let before = keyrings(folder.path());
    let ring = ring_of(&before, &jwt);
    let source = before.sources().in_use.values().next().cloned().expect("one");
    assert_eq!(source.take_in(&ring, Bytes::from_static(SET.as_bytes()), &before.disk), 0);
    source.save(before.store.as_ref().expect("a store")).expect("it is written");
    for n in 0..70 {
        fs::write(folder.path().join(format!("{PREFIX}old-{n}.json")), "{}").expect("it is written");
    }
    before.tidy(&[source]);
    let files = fs::read_dir(folder.path()).expect("a folder").filter_map(Result::ok);
    let files = files.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)).count();
    assert_eq!(files, MAX_KEPT);
    let after = keyrings(folder.path());
    assert_eq!(ring_of(&after, &jwt).held().map(|held| held.keys.len()), Some(1));
    // Of a file that somebody broke nothing is believed.
    fs::write(folder.path().join(file(&before.sources().in_use.keys().next().cloned().expect("one"))), "<")
        .expect("so");
    assert!(ring_of(&keyrings(folder.path()), &jwt).held().is_none());
}

#[test]
fn a_file_is_read_again_and_keeps_its_last_good_content() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys.json");
    fs::write(&path, SET).expect("it is written");
    let keyrings = keyrings(folder.path());
    let ring = ring_of(&keyrings, &jwt(KeySource::File(path.clone()), Duration::from_secs(1)));
    assert!(ring.held().is_some());
    let source = keyrings.sources().in_use.values().next().cloned().expect("one");
    fs::write(&path, "{\"keys\":").expect("it is written");
    source.read();
    assert!(ring.held().is_some());
    assert_eq!(ring.told().failures, 1);
    fs::remove_file(&path).expect("it is gone");
    source.read();
    assert_eq!((ring.told().failures, ring.held().map(|held| held.keys.len())), (2, Some(1)));
}
