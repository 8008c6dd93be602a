//! What is looked for outside before a change, as typed events.

use super::stream::{Kind, Record};

/// Somebody had a text probed: names were asked for and connections made that no traffic asked for.
#[derive(Clone, Copy, Debug)]
pub struct TextProbed<'a> {
    /// Who asked.
    pub by: &'a str,
    /// Blake3 of the text, hex.
    pub hash: &'a str,
    /// Findings, and those among them that refuse the text.
    pub findings: (usize, usize),
}

impl TextProbed<'_> {
    /// Logs it.
    pub fn emit(self) {
        let TextProbed { by, hash, findings: (findings, gates) } = self;
        tracing::info!(by, hash, findings, gates, "a text was probed");
        Record::new(Kind::Config, "a text was probed")
            .with("outcome", "probed")
            .with("by", by)
            .with("hash", hash)
            .with("findings", findings)
            .with("gates", gates)
            .hand_on();
    }
}
