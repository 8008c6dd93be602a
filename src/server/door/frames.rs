//! How much work an HTTP/2 client makes without asking for anything: its frame headers, counted against a
//! budget (hyper-notes 7; CVE-2019-9512, -9514, -9515, -9518, CVE-2023-44487).
//!
//! It promises that a flood of PING, SETTINGS, RST_STREAM, PRIORITY, WINDOW_UPDATE, CONTINUATION or empty
//! DATA ends the connection after about [`BURST`] frames beyond [`PER_SECOND`], while a client that
//! transfers data is never close to it: what is written to a client and what it uploads refill the budget.
//! It reads no payloads and does not replace the engine's checks; HEADERS are free here, because streams in
//! flight and answers thrown away are bounded elsewhere.

use super::Refusal;
use super::sniff::PREFACE;
use crate::reject::Reason;
use std::time::Instant;

/// Cost that a client may run up at once. A page that is left cancels some hundred streams.
pub const BURST: u32 = 1_000;
/// Cost that is free each second: keep-alive pings, windows of slow streams, an application's cancels.
pub const PER_SECOND: u32 = 200;
/// Bytes written to the client that earn 1. An answer, however small, is worth the cancel or window update
/// that it may bring; a PING's acknowledgement (17 bytes) is not worth a PING.
const WRITTEN_PER_TOKEN: usize = 32;
/// Bytes of DATA from the client that earn 1.
const DATA_PER_TOKEN: usize = 1024;

const HEADER: usize = 9;
const END_STREAM: u8 = 1;

/// The frame counter of one connection.
#[derive(Debug)]
pub struct Frames {
    /// Bytes of the preface or of a payload still to come.
    skip: usize,
    /// A frame header in progress.
    header: [u8; HEADER],
    filled: usize,
    budget: u32,
    /// Bytes that have not earned a whole token yet.
    written: usize,
    data: usize,
    refilled: Instant,
}

impl Frames {
    /// At the beginning of a connection, before the preface.
    pub fn new(now: Instant) -> Self {
        Frames {
            skip: PREFACE.len(),
            header: [0; HEADER],
            filled: 0,
            budget: BURST,
            written: 0,
            data: 0,
            refilled: now,
        }
    }

    /// Counts the frames that begin in the next bytes. `clock` is read only when the budget is used up.
    pub fn inspect(&mut self, mut bytes: &[u8], clock: impl Fn() -> Instant) -> Result<(), Refusal> {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let n = (HEADER - self.filled).min(bytes.len());
            if n == 0 {
                return Ok(());
            }
            self.header[self.filled..self.filled + n].copy_from_slice(&bytes[..n]);
            self.filled += n;
            bytes = &bytes[n..];
            if self.filled == HEADER {
                self.filled = 0;
                self.frame(&clock)?;
            }
        }
    }

    /// Notes bytes written to the client.
    pub fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
        self.earn(self.written / WRITTEN_PER_TOKEN);
        self.written %= WRITTEN_PER_TOKEN;
    }

    /// The frame whose header is complete.
    fn frame(&mut self, clock: &impl Fn() -> Instant) -> Result<(), Refusal> {
        let [a, b, c, kind, flags, ..] = self.header;
        self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        // SETTINGS must be applied and acknowledged; the others are small work each.
        let (cost, detail) = match kind {
            0 if self.skip == 0 && flags & END_STREAM == 0 => (2, "h2 empty DATA flood"),
            0 => {
                self.data += self.skip;
                self.earn(self.data / DATA_PER_TOKEN);
                self.data %= DATA_PER_TOKEN;
                return Ok(());
            }
            1 => return Ok(()),
            2 => (1, "h2 PRIORITY flood"),
            3 => (1, "h2 RST_STREAM flood"),
            4 => (4, "h2 SETTINGS flood"),
            6 => (1, "h2 PING flood"),
            8 => (1, "h2 WINDOW_UPDATE flood"),
            9 => (1, "h2 CONTINUATION flood"),
            _ => (1, "h2 flood of unknown frames"),
        };
        self.spend(cost, detail, clock)
    }

    fn spend(
        &mut self,
        cost: u32,
        detail: &'static str,
        clock: &impl Fn() -> Instant,
    ) -> Result<(), Refusal> {
        if self.budget < cost {
            let now = clock();
            let earned = now.saturating_duration_since(self.refilled).as_secs_f64() * f64::from(PER_SECOND);
            self.earn(earned as usize);
            self.refilled = now;
        }
        match self.budget.checked_sub(cost) {
            Some(left) => {
                self.budget = left;
                Ok(())
            }
            None => Err(Refusal { reason: Reason::BadRequest, detail }),
        }
    }

    fn earn(&mut self, tokens: usize) {
        let tokens = u32::try_from(tokens).unwrap_or(BURST);
        self.budget = self.budget.saturating_add(tokens).min(BURST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        bytes.resize(HEADER + payload, 0xff);
        bytes
    }

    /// A counter past the preface, and its clock, which stands still.
    fn connected() -> (Frames, Instant) {
        let now = Instant::now();
        let mut frames = Frames::new(now);
        frames.inspect(PREFACE, || now).unwrap();
        (frames, now)
    }

    #[test]
    fn each_flood_is_refused_by_its_name() {
        for (kind, payload, name) in [
            (0, 0, "h2 empty DATA flood"),
            (2, 5, "h2 PRIORITY flood"),
            (3, 4, "h2 RST_STREAM flood"),
            (4, 0, "h2 SETTINGS flood"),
            (6, 8, "h2 PING flood"),
            (8, 4, "h2 WINDOW_UPDATE flood"),
            (9, 1, "h2 CONTINUATION flood"),
            (0x10, 4, "h2 flood of unknown frames"),
        ] {
            let (mut frames, now) = connected();
            let one = frame(kind, 0, payload);
            let refused = (0..=BURST).find_map(|_| frames.inspect(&one, || now).err());
            assert_eq!(refused.map(|r| r.detail), Some(name));
        }
    }

    #[test]
    fn a_ping_flood_is_refused_although_its_answers_are_written() {
        let (mut frames, now) = connected();
        let ping = frame(6, 0, 8);
        let refused = (0..3 * BURST).any(|_| {
            frames.wrote(ping.len());
            frames.inspect(&ping, || now).is_err()
        });
        assert!(refused);
    }

    #[test]
    fn frames_are_counted_the_same_however_they_are_cut() {
        let bytes = [frame(6, 0, 8), frame(0, 1, 100), frame(3, 0, 4)].concat().repeat(2 * BURST as usize);
        for size in [1, 7, 9, 10, 4096] {
            let (mut frames, now) = connected();
            let fine: usize =
                bytes.chunks(size).take_while(|c| frames.inspect(c, || now).is_ok()).map(<[u8]>::len).sum();
            let frames_fine = fine / 139;
            assert!((450..=560).contains(&frames_fine), "cut by {size}: {frames_fine}");
        }
    }

    #[test]
    fn a_client_that_transfers_is_never_refused() {
        let (mut frames, now) = connected();
        // Small messages both ways; a window update each, a ping for some, a cancel for others.
        for i in 0..50 * BURST {
            frames.inspect(&frame(1, 4, 20), || now).unwrap();
            frames.inspect(&frame(0, 1, 0), || now).unwrap();
            frames.wrote(64);
            frames.inspect(&frame(8, 0, 4), || now).unwrap();
            if i % 4 == 0 {
                frames.inspect(&frame(3, 0, 4), || now).unwrap();
                frames.inspect(&frame(6, 0, 8), || now).unwrap();
            }
        }
        // An upload, nothing written but window updates.
        for _ in 0..BURST {
            frames.inspect(&frame(0, 0, 16_384), || now).unwrap();
            frames.inspect(&frame(6, 0, 8), || now).unwrap();
        }
    }

    #[test]
    fn a_quiet_rate_of_pings_is_free_for_ever() {
        let (mut frames, mut now) = connected();
        for _ in 0..20 * BURST {
            now += Duration::from_millis(10);
            frames.inspect(&frame(6, 0, 8), || now).unwrap();
        }
    }
}
