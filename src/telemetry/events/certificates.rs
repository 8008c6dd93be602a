//! What happens to certificates and their keys, as typed events. Their contents are never told.

use super::stream::{Kind, Record};

/// Files of certificates are in use with their new content.
#[derive(Clone, Copy, Debug)]
pub struct CertificateRenewed<'a> {
    /// Whose: `listener edge`, `upstream orders`.
    pub owner: &'a str,
    /// The first end of a certificate, RFC 3339; nothing if only authorities are read.
    pub not_after: Option<&'a str>,
}

impl CertificateRenewed<'_> {
    /// Logs it.
    pub fn emit(self) {
        tracing::info!(owner = self.owner, not_after = self.not_after, "certificate files renewed");
        let record = Record::new(Kind::Certificate, format!("{}: certificate files renewed", self.owner))
            .with("what", "renewed")
            .with("owner", self.owner);
        match self.not_after {
            Some(not_after) => record.with("not_after", not_after).hand_on(),
            None => record.hand_on(),
        }
    }
}

/// Files of certificates changed and cannot be used.
#[derive(Clone, Copy, Debug)]
pub struct CertificateRefused<'a> {
    /// Whose.
    pub owner: &'a str,
    /// Which file, and why.
    pub error: &'a str,
}

impl CertificateRefused<'_> {
    /// Logs it.
    pub fn emit(self) {
        tracing::error!(
            owner = self.owner,
            error = self.error,
            "certificate files are not used; the last good ones stay. They are read again when they change"
        );
        let message = format!("{}: certificate files are not used; the last good ones stay", self.owner);
        Record::new(Kind::Certificate, message)
            .with("what", "refused")
            .with("owner", self.owner)
            .with("error", self.error)
            .hand_on();
    }
}

/// A certificate in use ends soon, or has ended.
#[derive(Clone, Copy, Debug)]
pub struct CertificateExpires<'a> {
    /// Whose.
    pub owner: &'a str,
    /// Its file.
    pub certificate: &'a str,
    /// Its end, RFC 3339.
    pub not_after: &'a str,
    /// That is in the past.
    pub expired: bool,
}

impl CertificateExpires<'_> {
    /// Logs it.
    pub fn emit(self) {
        let CertificateExpires { owner, certificate, not_after, expired } = self;
        let (message, what) = match expired {
            true => ("certificate has expired; put a new one in its place", "expired"),
            false => ("certificate expires soon; put a new one in its place", "expires"),
        };
        match expired {
            true => tracing::error!(owner, certificate, not_after, "{message}"),
            false => tracing::warn!(owner, certificate, not_after, "{message}"),
        }
        Record::new(Kind::Certificate, format!("{owner}: {message}"))
            .with("what", what)
            .with("owner", owner)
            .with("certificate", certificate)
            .with("not_after", not_after)
            .hand_on();
    }
}

/// A private key may be read by more than its owner.
#[derive(Clone, Copy, Debug)]
pub struct KeyReadable<'a> {
    /// The file.
    pub key: &'a std::path::Path,
    /// Its permissions.
    pub mode: u32,
}

impl KeyReadable<'_> {
    /// Logs it.
    pub fn emit(self) {
        let (key, mode) = (self.key.display(), format!("{:o}", self.mode));
        tracing::warn!(%key, mode, "others than its owner may read this private key. hint: chmod 600");
    }
}
