//! What operators need to know of a certificate that is shown to others: where it came from, for whom it is,
//! and until when.
//!
//! Whether somebody trusts it is not judged here; that is the handshake's business.

use crate::upstream::pem::{PemFile, TlsError};
use rustls_pki_types::CertificateDer;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// One certificate in use: the first of its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Its file.
    pub path: PathBuf,
    /// The names and addresses that it is for; without any, its subject's common name.
    pub names: Vec<String>,
    /// Seconds since 1970 from which it is valid.
    pub not_before: i64,
    /// Seconds since 1970 until which it is valid.
    pub not_after: i64,
}

impl CertificateFacts {
    /// Reads them from the leaf of `chain`.
    ///
    /// # Errors
    /// When it is no certificate.
    pub fn of(chain: &PemFile, leaf: &CertificateDer<'_>) -> Result<Self, TlsError> {
        let (_, certificate) =
            X509Certificate::from_der(leaf).map_err(|_| chain.problem("the certificate cannot be read"))?;
        let validity = certificate.validity();
        Ok(CertificateFacts {
            path: chain.path().to_path_buf(),
            names: names(&certificate),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }

    /// Whether it may be taken into use at `now`.
    ///
    /// # Errors
    /// When it has expired or is not valid yet: whoever is shown it would refuse it.
    pub fn check(&self, now: SystemTime) -> Result<(), TlsError> {
        let now = epoch_seconds(now);
        let problem = if now > self.not_after {
            format!("the certificate expired at {}", rfc3339(self.not_after))
        } else if now < self.not_before {
            format!("the certificate is not valid before {}", rfc3339(self.not_before))
        } else {
            return Ok(());
        };
        Err(TlsError::Content { file: self.path.clone(), problem })
    }
}

/// Seconds since 1970.
pub fn epoch_seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// `2026-01-31T00:00:00Z`. What is beyond the calendar is its end: "never" is written as the year 9999.
pub fn rfc3339(seconds: i64) -> String {
    let end = if seconds < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    jiff::Timestamp::from_second(seconds).unwrap_or(end).to_string()
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let general = alternative.iter().flat_map(|names| &names.value.general_names);
    let names: Vec<String> = general.filter_map(name).collect();
    if !names.is_empty() {
        return names;
    }
    let common = certificate.subject().iter_common_name();
    common.filter_map(|name| name.as_str().ok()).map(str::to_owned).collect()
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn facts(not_before: i64, not_after: i64) -> CertificateFacts {
        CertificateFacts { path: "edge.pem".into(), names: vec![], not_before, not_after }
    }

    #[test]
    fn names_and_times_are_those_of_the_leaf() {
        let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned(), "10.0.0.1".to_owned()])
            .expect("valid names");
        params.not_before = rcgen::date_time_ymd(2020, 1, 2);
        params.not_after = rcgen::date_time_ymd(2021, 3, 4);
        let key = rcgen::KeyPair::generate().expect("a key");
        let made = params.self_signed(&key).expect("a certificate");
        let place = tempfile::NamedTempFile::new().expect("a temporary file");
        let chain = PemFile::read(place.path(), &mut blake3::Hasher::new()).expect("readable");
        let facts = CertificateFacts::of(&chain, made.der()).expect("a certificate");
        assert_eq!(facts.names, ["a.test", "10.0.0.1"]);
        assert_eq!(rfc3339(facts.not_before), "2020-01-02T00:00:00Z");
        assert_eq!(rfc3339(facts.not_after), "2021-03-04T00:00:00Z");
        assert!(CertificateFacts::of(&chain, &CertificateDer::from(&b"no"[..])).is_err());
    }

    #[test]
    fn only_what_is_valid_now_may_be_taken_into_use() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(facts(100, 200).check(at(100)).is_ok() && facts(100, 200).check(at(200)).is_ok());
        let late = facts(100, 200).check(at(201)).expect_err("expired").to_string();
        assert_eq!(late, "edge.pem: the certificate expired at 1970-01-01T00:03:20Z");
        assert!(facts(100, 200).check(at(99)).is_err());
    }

    #[test]
    fn a_certificate_that_never_expires_can_be_shown() {
        // 99991231235959Z (RFC 5280, 4.1.2.5).
        assert!(rfc3339(253_402_300_799).starts_with("9999-12-3"));
    }
}
