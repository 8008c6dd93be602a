//! Who works here: every crate comes from crates.io under a licence we may ship, none is banned, and those
//! with known holes are new enough.
//!
//! Reads the lock file and asks cargo what is really built on this platform, offline. It knows no advisories
//! beyond the list below; `dependencies.md` says where that comes from.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Never in the build, and why.
const BANNED: [(&str, &str); 6] = [
    ("ring", "a second crypto provider beside aws-lc-rs makes rustls panic when it has to choose"),
    ("openssl", "TLS is rustls here, on both sides"),
    ("openssl-sys", "TLS is rustls here, on both sides, and a build needs only a C compiler"),
    ("native-tls", "TLS is rustls here, on both sides"),
    ("rustls-pemfile", "it is unmaintained: rustls-pki-types reads PEM"),
    ("reqwest", "its pool is shared and locked: calls go through hyper"),
];

/// At least this version, and why.
const AT_LEAST: [(&str, [u64; 3], &str); 3] = [
    ("rustls", [0, 23, 45], "RUSTSEC-2026-0285"),
    ("h2", [0, 4, 19], "older ones end real gRPC connections as abuse"),
    ("tower-http", [0, 7, 1], "older ones drop gRPC trailers"),
];

/// In one version only: two would be two types of the same name that do not fit.
const ONCE: [&str; 6] = ["bytes", "http", "http-body", "hyper", "rustls", "tokio"];

/// Licences that may be part of a binary under Apache-2.0 without further conditions on its users.
const LICENCES: [&str; 11] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    // Boost: binaries need not carry its text.
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

/// A crate in the lock file.
#[derive(Debug)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
}

fn locked() -> Vec<Locked> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    let text = std::fs::read_to_string(file).expect("Cargo.lock is committed");
    // Cargo writes one key a line, so no parser is needed.
    let key = |package: &str, key: &str| {
        let value = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))?;
        Some(value.trim_matches('"').to_owned())
    };
    let locked = |package: &str| Locked {
        name: key(package, "name").expect("every package has a name"),
        version: key(package, "version").expect("every package has a version"),
        source: key(package, "source"),
    };
    text.split("[[package]]").skip(1).map(locked).collect()
}

/// Names and licences of what is built here, tests and build scripts included.
fn built() -> BTreeSet<(String, String)> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["tree", "--locked", "--offline", "--edges", "normal,build,dev", "--prefix", "none"]);
    cargo.args(["--no-dedupe", "--format", "{p}\t{l}"]);
    let output = cargo.output().expect("cargo runs this test, so it can be run");
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    let line = |line: &str| {
        let (package, licence) = line.split_once('\t')?;
        Some((package.split(' ').next()?.to_owned(), licence.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// True if the SPDX expression can be met with allowed licences alone. `/` is the old way to write `OR`.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<_> = spaced.split_whitespace().collect();
    let mut rest = tokens.as_slice();
    let allowed = either(&mut rest);
    allowed && rest.is_empty()
}

fn either(rest: &mut &[&str]) -> bool {
    let mut allowed = both(rest);
    while let ["OR", after @ ..] = *rest {
        *rest = after;
        // Read on in every case: `||` would leave the right side unread.
        allowed |= both(rest);
    }
    allowed
}

fn both(rest: &mut &[&str]) -> bool {
    let mut allowed = one(rest);
    while let ["AND", after @ ..] = *rest {
        *rest = after;
        allowed &= one(rest);
    }
    allowed
}

fn one(rest: &mut &[&str]) -> bool {
    match *rest {
        ["(", after @ ..] => {
            *rest = after;
            let allowed = either(rest);
            let [")", after @ ..] = *rest else { return false };
            *rest = after;
            allowed
        }
        // An exception only takes conditions away.
        [licence, "WITH", _, after @ ..] | [licence, after @ ..] => {
            *rest = after;
            LICENCES.contains(licence)
        }
        [] => false,
    }
}

/// The three numbers of a version, without what follows `-` or `+`.
fn numbers(version: &str) -> [u64; 3] {
    let plain = version.split(['-', '+']).next().unwrap_or_default();
    let mut parts = plain.split('.').map(|part| part.parse().expect("a version is numbers"));
    [(); 3].map(|()| parts.next().expect("a version has three numbers"))
}

#[test]
fn everything_comes_from_crates_io() {
    let foreign = |package: &&Locked| match &package.source {
        Some(source) => source != CRATES_IO,
        None => package.name != "tidegate",
    };
    let locked = locked();
    let foreign: Vec<_> = locked.iter().filter(foreign).collect();
    assert!(foreign.is_empty(), "only crates.io keeps what was published: replace {foreign:#?}");
}

#[test]
fn nothing_banned_is_built() {
    let built = built();
    for (name, why) in BANNED {
        let found = built.iter().any(|(built, _)| built == name);
        assert!(!found, "{name} is built: {why}. `cargo tree -i {name}` shows who brings it.");
    }
}

#[test]
fn every_licence_is_one_that_we_may_ship() {
    let built = built();
    assert!(built.len() > 50, "cargo tree names only {} crates", built.len());
    let refused: Vec<_> = built.iter().filter(|(_, licence)| !is_allowed(licence)).collect();
    assert!(refused.is_empty(), "take another crate, or add its licence with a reason: {refused:#?}");
}

#[test]
fn known_holes_are_closed() {
    let locked = locked();
    for (name, least, why) in AT_LEAST {
        let versions: Vec<_> = locked.iter().filter(|package| package.name == name).collect();
        assert!(!versions.is_empty(), "{name} is gone: take it off the list");
        for package in versions {
            assert!(numbers(&package.version) >= least, "{name} {} is too old: {why}", package.version);
        }
    }
}

#[test]
fn what_others_build_on_is_there_once() {
    let locked = locked();
    for name in ONCE {
        let count = locked.iter().filter(|package| package.name == name).count();
        assert_eq!(count, 1, "`cargo tree -d` shows who brings the other {name}");
    }
}

#[test]
fn a_licence_is_read_as_it_is_meant() {
    for allowed in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-3.0 OR MIT",
        "Apache-2.0 WITH LLVM-exception",
        "ISC AND (Apache-2.0 OR GPL-3.0) AND MIT",
    ] {
        assert!(is_allowed(allowed), "{allowed}");
    }
    for refused in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT", "MIT MIT", "GPL-3.0 OR (MIT AND AGPL-3.0)"] {
        assert!(!is_allowed(refused), "{refused}");
    }
}

#[test]
fn versions_compare_by_number() {
    assert!(numbers("0.23.5") < numbers("0.23.45"));
    assert_eq!(numbers("1.2.1+spec-1.1.0"), [1, 2, 1]);
}
