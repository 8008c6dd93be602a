//! The key that receipts are signed with: made when it is first needed, in `state_dir/secrets/`, for its owner only. It
//! is in no history, answer or log; whoever asks is told its public half.
#![expect(clippy::disallowed_methods, reason = "on the background thread, or a place for work that blocks")]

use super::{FORMAT, Receipt, key_id};
use crate::config::policy::SPKI_PREFIX;
use crate::control::store::Store;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where secrets lie in a state directory.
const SECRETS: &str = "secrets";
/// The key among them.
const FILE: &str = "receipt-key.pem";
/// Bytes of its file at most.
const MAX_FILE: u64 = 4 * 1024;

/// Who issues receipts.
pub struct Signer {
    pair: Ed25519KeyPair,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("key_id", &self.key_id()).finish_non_exhaustive()
    }
}

impl Signer {
    /// With the key of a state directory, which is made if there is none. Blocks on the disk. Two that open at once
    /// have the same key.
    ///
    /// # Errors
    /// What the disk says; or that the file there is no key: it is never replaced, because others trust it.
    pub fn open(store: &Store) -> io::Result<Self> {
        let folder = store.directory().join(SECRETS);
        let path = folder.join(FILE);
        match read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        make(&folder, &path)?;
        read(&path)
    }

    /// The word of `environment` that version `number` with the text of `hash` became last good at `good_at`.
    pub fn issue(
        &self,
        environment: &str,
        (number, hash): (u64, &str),
        good_at: Timestamp,
        now: Timestamp,
    ) -> Receipt {
        let mut receipt = Receipt {
            format: FORMAT,
            environment: environment.to_owned(),
            hash: hash.to_owned(),
            number,
            good_at: good_at.to_string(),
            issued_at: now.to_string(),
            key_id: self.key_id(),
            signature: String::new(),
        };
        receipt.signature = STANDARD.encode(self.pair.sign(&receipt.signed()));
        receipt
    }

    /// The public half, as `promote_from.public_key` takes it: base64 of its SubjectPublicKeyInfo.
    pub fn public_key(&self) -> String {
        STANDARD.encode([&SPKI_PREFIX, self.pair.public_key().as_ref()].concat())
    }

    /// The name of the key in its receipts.
    pub fn key_id(&self) -> String {
        key_id(self.pair.public_key().as_ref())
    }
}

fn read(path: &Path) -> io::Result<Signer> {
    let mut pem = Vec::new();
    File::open(path)?.take(MAX_FILE).read_to_end(&mut pem)?;
    let wrong = |why: &dyn fmt::Display| {
        let hint = "hint: if it is lost, remove it; environments that trust it must be told the new one";
        let what = format!("{} is no key for receipts: {why}\n{hint}", path.display());
        io::Error::new(io::ErrorKind::InvalidData, what)
    };
    let key = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|error| wrong(&error))?;
    let pair = Ed25519KeyPair::from_pkcs8(key.secret_pkcs8_der()).map_err(|error| wrong(&error))?;
    Ok(Signer { pair })
}

/// Writes a new key, whole and durable, unless there is one by then.
fn make(folder: &Path, path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
    let failed = |_| io::Error::other("the system gave no random numbers for a key");
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(failed)?;
    let beside = Beside(folder.join(format!("{FILE}.{}-{:016x}", std::process::id(), fastrand::u64(..))));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside.0)?;
    file.write_all(pem(pkcs8.as_ref()).as_bytes())?;
    file.sync_all()?;
    // Unlike a rename, it never takes the place of a key that somebody trusts already.
    match fs::hard_link(&beside.0, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(folder)?.sync_all()
}

/// A file that is gone when this is dropped.
struct Beside(PathBuf);

impl Drop for Beside {
    fn drop(&mut self) {
        // At worst a file lies there that nobody reads.
        let _ = fs::remove_file(&self.0);
    }
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = "-----BEGIN PRIVATE KEY-----\n".to_owned();
    for line in text.as_bytes().chunks(64) {
        // Base64 is ASCII.
        out += &String::from_utf8_lossy(line);
        out.push('\n');
    }
    out + "-----END PRIVATE KEY-----\n"
}
