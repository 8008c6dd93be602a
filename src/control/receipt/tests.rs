//! What a receipt proves, and that nothing else does.

use super::shelf::MOST;
use super::*;
use crate::control::store::Store;
use jiff::Timestamp;
use proptest::prelude::*;
use std::os::unix::fs::PermissionsExt;
use std::sync::LazyLock;

const GOOD_AT: &str = "2026-11-23T05:00:00Z";

fn time() -> Timestamp {
    GOOD_AT.parse().expect("a time")
}

fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// A signer whose key is gone with its folder.
fn signer() -> Signer {
    let folder = tempfile::tempdir().expect("a folder");
    Signer::open(&Store::at(folder.path())).expect("a key")
}

fn from(environment: &str, signer: &Signer) -> PromoteFrom {
    PromoteFrom { environment: environment.into(), public_key: signer.public_key() }
}

fn issued(signer: &Signer) -> Receipt {
    signer.issue("staging", (7, &hash("text")), time(), time())
}

#[test]
fn a_receipt_is_believed_of_its_text_and_environment_and_of_no_other() {
    let signer = signer();
    let receipt = issued(&signer);
    let verifier = Verifier::of(&from("staging", &signer)).expect("a key");
    assert_eq!(verifier.verify(&receipt, &hash("text")), Ok(()));
    assert!(matches!(verifier.verify(&receipt, &hash("other")), Err(Unproven::WrongHash { .. })));
    let other = Verifier::of(&from("testing", &signer)).expect("a key");
    let wrong = Unproven::WrongEnvironment { found: "staging".into(), wanted: "testing".into() };
    assert_eq!(other.verify(&receipt, &hash("text")), Err(wrong));
    let stranger = Verifier::of(&from("staging", &self::signer())).expect("a key");
    assert!(matches!(stranger.verify(&receipt, &hash("text")), Err(Unproven::OtherKey { .. })));
    let future = Receipt { format: 2, ..receipt.clone() };
    assert_eq!(verifier.verify(&future, &hash("text")), Err(Unproven::UnknownFormat(2)));
    let forged = Receipt { good_at: "2026-11-24T05:00:00Z".into(), ..receipt };
    assert_eq!(verifier.verify(&forged, &hash("text")), Err(Unproven::BadSignature));
}

#[test]
fn the_same_receipt_comes_in_a_line_and_as_json() {
    let receipt = issued(&signer());
    assert_eq!(Receipt::parse(&receipt.line()), Ok(receipt.clone()));
    assert_eq!(Receipt::parse(&format!("{:#}\n", serde_json::json!(receipt))), Ok(receipt.clone()));
    assert!(receipt.line().bytes().all(|byte| byte.is_ascii_graphic()), "it stands in a header");
    for wrong in ["", "{}", "no receipt", &"A".repeat(MAX_BYTES + 1)] {
        assert!(matches!(Receipt::parse(wrong), Err(Unproven::Unreadable(_))), "{wrong:.20}");
    }
}

#[test]
fn a_policy_demands_what_it_says_and_nothing_without_it() {
    let signer = signer();
    let (receipt, text) = (issued(&signer), hash("text"));
    assert_eq!(demand(&Policy::default(), None, &text), Ok(None));
    let policy = Policy { promote_from: Some(from("staging", &signer)), ..Policy::default() };
    assert_eq!(demand(&policy, None, &text), Err(Unproven::Missing("staging".into())));
    assert_eq!(demand(&policy, Some(&receipt.line()), &text), Ok(Some(receipt.clone())));
    assert!(matches!(demand(&policy, Some(&receipt.line()), &hash("x")), Err(Unproven::WrongHash { .. })));
    let zeros = PromoteFrom { public_key: STANDARD.encode([0; 32]), ..from("staging", &signer) };
    let policy = Policy { promote_from: Some(zeros), ..Policy::default() };
    assert!(matches!(demand(&policy, Some(&receipt.line()), &text), Err(Unproven::BadKey(_))));
}

#[test]
fn the_key_is_made_once_for_its_owner_only_and_is_never_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::at(&folder.path().join("state"));
    let open = || {
        let store = store.clone();
        std::thread::spawn(move || Signer::open(&store).expect("a key").public_key())
    };
    let keys: Vec<_> = (0..8).map(|_| open()).collect();
    let keys: Vec<_> = keys.into_iter().map(|key| key.join().expect("opened")).collect();
    assert!(keys.iter().all(|key| *key == keys[0] && key.starts_with("MCowBQYDK2VwAyEA")), "{keys:?}");
    let secrets = store.directory().join("secrets");
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    let file = secrets.join("receipt-key.pem");
    assert_eq!((mode(&secrets), mode(&file)), (0o700, 0o600));
    assert_eq!(std::fs::read_dir(&secrets).expect("listed").count(), 1, "nothing is left beside it");
    std::fs::write(&file, "half").expect("written");
    let refused = Signer::open(&store).expect_err("it is no key").to_string();
    assert!(refused.contains("no key for receipts"), "{refused}");
    assert_eq!(std::fs::read_to_string(&file).expect("read"), "half");
    assert!(Signer::open(&Store::at(std::path::Path::new("/proc/nowhere"))).is_err());
}

#[test]
fn either_form_of_the_public_key_is_taken() {
    let signer = signer();
    let spki = from("staging", &signer);
    let raw = STANDARD.encode(spki.key().expect("a key"));
    let same = PromoteFrom { public_key: raw, ..spki.clone() };
    assert_eq!(same.key(), spki.key());
    for wrong in ["", "x", "AAAA", "MCowBQYDK2VwAyEA"] {
        assert!(PromoteFrom { public_key: wrong.into(), ..spki.clone() }.key().is_err(), "{wrong}");
    }
    assert!(!format!("{signer:?}").contains(&signer.public_key()[16..40]), "{signer:?}");
}

#[test]
fn the_shelf_keeps_a_bounded_number_and_knows_the_newest() {
    let folder = tempfile::tempdir().expect("a folder");
    let shelf = Shelf::of(Store::at(folder.path()));
    assert_eq!((shelf.get(None).expect("read"), shelf.get(Some(1)).expect("read")), (None, None));
    let signer = signer();
    let receipt = |number| signer.issue("staging", (number, &hash("text")), time(), time());
    for number in 1..=MOST as u64 + 2 {
        shelf.keep(&receipt(number)).expect("kept");
    }
    assert_eq!(shelf.get(None).expect("read"), Some(receipt(MOST as u64 + 2)));
    assert_eq!(shelf.get(Some(2)).expect("read"), None);
    assert_eq!(shelf.get(Some(3)).expect("read"), Some(receipt(3)));
    std::fs::write(folder.path().join("receipts/3.json"), "{").expect("written");
    assert!(shelf.get(Some(3)).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_byte_of_a_receipt_is_flipped_it_proves_nothing(at in 0_usize..10_000, flip in 1_u8..=255) {
        static SIGNER: LazyLock<Signer> = LazyLock::new(signer);
        let receipt = issued(&SIGNER);
        let verifier = Verifier::of(&from("staging", &SIGNER)).expect("a key");
        for whole in [receipt.line(), serde_json::json!(receipt).to_string()] {
            let mut bytes = whole.into_bytes();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            let believed = std::str::from_utf8(&bytes).ok().and_then(|text| Receipt::parse(text).ok());
            if let Some(receipt) = believed {
                prop_assert!(verifier.verify(&receipt, &hash("text")).is_err(), "{receipt:?}");
            }
        }
    }

    #[test]
    fn no_two_receipts_have_the_same_signed_bytes(
        one in prop::array::uniform5("[a-c]{0,3}"), other in prop::array::uniform5("[a-c]{0,3}")
    ) {
        let receipt = |[environment, hash, good_at, issued_at, key_id]: [String; 5]| Receipt {
            format: FORMAT, environment, hash, number: 1, good_at, issued_at, key_id, signature: String::new(),
        };
        let (one, other) = (receipt(one), receipt(other));
        prop_assert_eq!(one == other, one.signed() == other.signed());
    }
}
