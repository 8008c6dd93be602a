//! Certificates and keys from PEM files, for both sides of the gateway. Every error names its file, because
//! "bad certificate" at three in the morning helps nobody.
//!
//! Files are read where configurations are built, never on a core.
#![expect(clippy::disallowed_methods, reason = "configurations are built off the cores")]

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

/// Bytes of one file at most; all public authorities together are a twentieth of it.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What is wrong with the files of a TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It cannot be read.
    #[error("{file}: {source}", file = file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{file}: {problem}", file = file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// A sentence.
        problem: String,
    },
    /// Certificate and key are two files, and somebody replaced only one of them.
    #[error("{key}: this is not the key of {certificate}", key = key.display(), certificate = certificate.display())]
    KeyMismatch {
        /// The key.
        key: PathBuf,
        /// The certificate.
        certificate: PathBuf,
    },
    /// No file is at fault.
    #[error("{0}")]
    Setup(String),
}

/// Where the content of files comes from: from the disk, or from what was read of it before.
pub trait Files: Send + Sync {
    /// The content of a file.
    ///
    /// # Errors
    /// What the system says, or that it is no regular file, or too large.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
}

/// The file system, now.
#[derive(Clone, Copy, Debug, Default)]
pub struct OnDisk;

impl Files for OnDisk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        read_bounded(path)
    }
}

/// A file's content, hashed into the identity of what is made from it.
pub struct PemFile {
    path: PathBuf,
    content: Vec<u8>,
}

impl PemFile {
    /// Reads `path` and adds its content to `identity`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(path: &Path, identity: &mut blake3::Hasher) -> Result<Self, TlsError> {
        PemFile::read_from(&OnDisk, path, identity)
    }

    /// The same with content from elsewhere.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_from(
        files: &dyn Files,
        path: &Path,
        identity: &mut blake3::Hasher,
    ) -> Result<Self, TlsError> {
        let path = path.to_path_buf();
        match files.read(&path) {
            Ok(content) => {
                // The length first, so that two files cannot be mistaken for one.
                identity.update(&(content.len() as u64).to_le_bytes()).update(&content);
                Ok(PemFile { path, content })
            }
            Err(source) => Err(TlsError::Read { file: path, source }),
        }
    }

    /// Its certificates in the order of the file, at least one.
    ///
    /// # Errors
    /// When there is none, or the PEM is damaged.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.content).collect();
        match found {
            Ok(found) if found.is_empty() => Err(self.problem("no certificate in this file")),
            Ok(found) => Ok(found),
            Err(error) => Err(self.damaged(&error)),
        }
    }

    /// Its first private key (PKCS #8, PKCS #1 or SEC 1).
    ///
    /// # Errors
    /// When there is none, or the PEM is damaged.
    pub fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.content).map_err(|error| match error {
            pem::Error::NoItemsFound => self.problem("no unencrypted private key in this file"),
            error => self.damaged(&error),
        })
    }

    /// Its certificates as authorities.
    ///
    /// # Errors
    /// When there is none, or one of them is damaged.
    pub fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates()? {
            roots.add(certificate).map_err(|error| self.problem(error))?;
        }
        Ok(roots)
    }

    /// The parser's own words quote the file, and with a key whose line ends were lost, the key. So they are
    /// said in ours.
    fn damaged(&self, error: &pem::Error) -> TlsError {
        self.problem(match error {
            pem::Error::MissingSectionEnd { .. } => "a PEM section has no END line; were line ends lost?",
            pem::Error::IllegalSectionStart { .. } => "a BEGIN line is damaged; were line ends lost?",
            pem::Error::Base64Decode(_) => "a PEM section is not base64",
            pem::Error::NoItemsFound => "nothing of use in this file",
            _ => "the PEM is damaged",
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file is not what it should be.
    pub fn problem(&self, problem: impl ToString) -> TlsError {
        TlsError::Content { file: self.path.clone(), problem: problem.to_string() }
    }
}

/// A pipe would be waited for, and a device may have no end.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let found = std::fs::metadata(path)?;
    if !found.is_file() {
        return Err(io::Error::other("this is not a file"));
    }
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("this file is larger than {MAX_BYTES} bytes")));
    }
    Ok(content)
}

/// A chain and its key, checked to belong together.
///
/// # Errors
/// Names the file that is at fault.
pub fn certified_key(chain: &PemFile, key: &PemFile) -> Result<CertifiedKey, TlsError> {
    let certificates = chain.certificates()?;
    let signing = provider().key_provider.load_private_key(key.key()?).map_err(|error| key.problem(error))?;
    let certified = CertifiedKey::new(certificates, signing);
    match certified.keys_match() {
        // Some keys cannot tell; that is no mismatch.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::KeyMismatch { key: key.path.clone(), certificate: chain.path.clone() })
        }
        Err(error) => Err(chain.problem(error)),
    }
}

/// The one provider of cryptography, named here instead of taken from the process, so that no order of
/// start-up can matter.
pub fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    &PROVIDER
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> PemFile {
        let place = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(place.path(), content).expect("written");
        PemFile::read(place.path(), &mut blake3::Hasher::new()).expect("readable")
    }

    #[test]
    fn every_error_names_its_file() {
        let missing = PemFile::read(Path::new("/nowhere/cert.pem"), &mut blake3::Hasher::new());
        assert!(missing.err().is_some_and(|error| error.to_string().starts_with("/nowhere/cert.pem: ")));
        let empty = file(b"not PEM at all");
        let name = empty.path.display().to_string();
        assert!(empty.certificates().is_err_and(|error| error.to_string().starts_with(&name)));
        assert!(empty.key().is_err_and(|error| error.to_string().starts_with(&name)));
    }

    #[test]
    fn no_error_quotes_a_key() {
        let pem = rcgen::KeyPair::generate().expect("made").serialize_pem();
        let body: Vec<&str> = pem.lines().filter(|line| !line.starts_with("--")).collect();
        let (no_end, one_line) = (pem.replace("-----END", "----END"), pem.replace('\n', " "));
        let glued = pem.replacen("-----\n", " ", 1);
        let odd = pem.replace(body[1], &format!("{}!", body[1]));
        for damaged in [no_end, one_line, glued, odd] {
            let error = file(damaged.as_bytes()).key().expect_err("damaged");
            let (shown, debug) = (error.to_string(), format!("{error:?}"));
            // The parser shows bytes as a list of numbers.
            let numbers = format!("{:?}", body[0].as_bytes());
            let numbers = numbers.trim_matches(['[', ']']);
            for text in [shown, debug] {
                assert!(!text.contains(body[0]) && !text.contains(numbers), "{text}");
            }
        }
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let one = rcgen::generate_simple_self_signed(["one.test".into()]).expect("made");
        let two = rcgen::generate_simple_self_signed(["two.test".into()]).expect("made");
        let chain = file(one.cert.pem().as_bytes());
        assert!(certified_key(&chain, &file(one.signing_key.serialize_pem().as_bytes())).is_ok());
        let other = certified_key(&chain, &file(two.signing_key.serialize_pem().as_bytes()));
        assert!(matches!(other, Err(TlsError::KeyMismatch { .. })));
    }
}
