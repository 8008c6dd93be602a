//! Where the frames of one direction of a WebSocket begin and end (RFC 6455, 5.2): all that must be known to put
//! a frame of our own between two of the peers'. Frames of control may stand between the fragments of a
//! message, so every frame's end is a place for one.
//!
//! It reads lengths and nothing else: no masks are undone, no rule is enforced. A peer that sends nonsense gets
//! boundaries in odd places, and breaks nobody's connection but its own.

/// Close, with the status 1001: going away.
const CLOSE: u8 = 8;
const GOING_AWAY: [u8; 2] = 1001u16.to_be_bytes();

/// Follows one direction from its first byte on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Frames {
    /// The head as far as it has passed: two bytes, and up to eight of the length.
    head: [u8; 10],
    have: usize,
    /// Bytes of mask and payload that are still to pass, once the head has.
    left: Option<u64>,
    closed: bool,
}

impl Frames {
    /// No frame has begun that has not ended.
    pub fn is_between(&self) -> bool {
        self.have == 0
    }

    /// A Close has passed: its sender may not say anything more.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// These bytes pass.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = &bytes[self.step(bytes)..];
        }
    }

    /// How many of these bytes belong to the frame that has begun: all of them if it does not end here, none
    /// between two frames.
    pub fn rest_of_frame(&self, bytes: &[u8]) -> usize {
        if self.is_between() { 0 } else { Frames::clone(self).step(bytes) }
    }

    /// Passes bytes up to the end of the current frame, and returns how many.
    fn step(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        let left = loop {
            if let Some(left) = self.left {
                break left;
            }
            let Some(byte) = bytes.get(used) else { return used };
            self.head[self.have] = *byte;
            self.have += 1;
            used += 1;
            self.left = self.behind_the_head();
        };
        let rest = bytes.len() - used;
        let taken = usize::try_from(left).map_or(rest, |left| left.min(rest));
        match left - taken as u64 {
            0 => {
                let closed = self.closed || self.head[0] & 0x0f == CLOSE;
                *self = Frames { closed, ..Frames::default() };
            }
            left => self.left = Some(left),
        }
        used + taken
    }

    /// How much mask and payload follow, once the head is complete.
    fn behind_the_head(&self) -> Option<u64> {
        let length_bytes = match self.head[1] & 0x7f {
            _ if self.have < 2 => return None,
            127 => 8,
            126 => 2,
            short => return Some(u64::from(short) + self.mask_bytes()),
        };
        let written =
            self.head[2..self.have].iter().fold(0, |length: u64, byte| length << 8 | u64::from(*byte));
        (self.have == 2 + length_bytes).then(|| written.saturating_add(self.mask_bytes()))
    }

    fn mask_bytes(&self) -> u64 {
        u64::from(self.head[1] >> 7) * 4
    }
}

/// Which side a frame is for: clients mask what they send, and servers do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Towards {
    /// Towards the client.
    Client,
    /// Towards the backend.
    Backend,
}

/// The frame that says that the gateway goes away. The mask need not be unpredictable: it protects from
/// payloads that somebody else chose (RFC 6455, 10.3), and this one is ours.
pub fn goodbye(towards: Towards) -> Vec<u8> {
    let first = 0x80 | CLOSE;
    match towards {
        Towards::Client => [&[first, 2], &GOING_AWAY[..]].concat(),
        Towards::Backend => {
            let mask = fastrand::u32(..).to_be_bytes();
            let masked = [GOING_AWAY[0] ^ mask[0], GOING_AWAY[1] ^ mask[1]];
            [&[first, 0x80 | 2], &mask[..], &masked[..]].concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame as a peer sends it.
    fn frame(opcode: u8, last: bool, masked: bool, payload: usize) -> Vec<u8> {
        let mask = u8::from(masked) << 7;
        let mut frame = vec![u8::from(last) << 7 | opcode];
        match payload {
            0..126 => frame.push(mask | payload as u8),
            126..65_536 => {
                frame.push(mask | 126);
                frame.extend((payload as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((payload as u64).to_be_bytes());
            }
        }
        // Payloads full of what looks like the head of a Close.
        frame.extend(std::iter::repeat_n(0x88, payload + usize::from(masked) * 4));
        frame
    }

    #[test]
    fn our_own_goodbyes_are_whole_frames() {
        for towards in [Towards::Client, Towards::Backend] {
            let mut frames = Frames::default();
            let bytes = goodbye(towards);
            let (last, first) = bytes.split_last().expect("not empty");
            frames.pass(first);
            assert!(!frames.is_between() && !frames.is_closed());
            frames.pass(&[*last]);
            assert!(frames.is_between() && frames.is_closed());
        }
        assert_eq!(goodbye(Towards::Client), [0x88, 0x02, 0x03, 0xe9]);
        let masked = goodbye(Towards::Backend);
        assert_eq!(masked[..2], [0x88, 0x82]);
        assert_eq!([masked[6] ^ masked[2], masked[7] ^ masked[3]], GOING_AWAY);
    }

    #[test]
    fn a_length_that_no_peer_can_send_never_ends_and_breaks_nothing() {
        let mut frames = Frames::default();
        frames.pass(&[0x82, 0xff]);
        frames.pass(&[0xff; 8]);
        frames.pass(&[0; 10_000]);
        assert!(!frames.is_between());
        assert_eq!(frames.rest_of_frame(&[0; 10]), 10);
    }

    fn any_frame() -> impl Strategy<Value = (u8, bool, bool, usize)> {
        let opcodes = prop::sample::select(vec![0u8, 1, 2, 8, 9, 10]);
        let lengths = prop_oneof![0usize..4, 120usize..130, Just(65_535), Just(65_536), 200usize..2_000];
        (opcodes, any::<bool>(), any::<bool>(), lengths)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// However the bytes are cut into pieces, the boundaries are where the frames end.
        #[test]
        fn any_split_gives_the_same_boundaries(
            frames in prop::collection::vec(any_frame(), 1..6),
            pieces in prop::collection::vec(1usize..5_000, 1..40),
        ) {
            let mut bytes = Vec::new();
            let mut ends = Vec::new();
            let mut closes_at = None;
            for (opcode, last, masked, payload) in frames {
                bytes.extend(frame(opcode, last, masked, payload));
                ends.push(bytes.len());
                if opcode == CLOSE {
                    closes_at = closes_at.or(Some(bytes.len()));
                }
            }
            let (mut follower, mut at) = (Frames::default(), 0);
            for piece in pieces.iter().cycle() {
                let piece = &bytes[at..(at + piece).min(bytes.len())];
                let rest = follower.rest_of_frame(piece);
                match ends.iter().find(|end| **end > at) {
                    _ if at == 0 || ends.contains(&at) => prop_assert_eq!(rest, 0),
                    Some(end) => prop_assert_eq!(rest, (end - at).min(piece.len())),
                    None => {}
                }
                follower.pass(piece);
                at += piece.len();
                prop_assert_eq!(follower.is_between(), ends.contains(&at), "after {} bytes", at);
                prop_assert_eq!(follower.is_closed(), closes_at.is_some_and(|end| at >= end));
                if at == bytes.len() {
                    break;
                }
            }
        }

        /// Whatever strangers send, reserved bits, lengths of 2^63 and Closes of any size included: no panic, the
        /// same places however it is cut, and always a byte to pass on inside a frame.
        #[test]
        fn nonsense_has_the_same_boundaries_however_it_is_cut(
            bytes in prop::collection::vec(
                prop_oneof![any::<u8>(), prop::sample::select(vec![0u8, 1, 2, 0x7e, 0x7f, 0x80, 0x88, 0xfe, 0xff])],
                0..400,
            ),
            pieces in prop::collection::vec(1usize..40, 1..20),
        ) {
            let mut whole = Frames::default();
            let places: Vec<_> = bytes.iter().map(|byte| {
                whole.pass(&[*byte]);
                (whole.is_between(), whole.is_closed())
            }).collect();
            let (mut cut, mut at) = (Frames::default(), 0);
            for piece in pieces.iter().cycle() {
                if at == bytes.len() {
                    break;
                }
                let piece = &bytes[at..(at + piece).min(bytes.len())];
                let rest = cut.rest_of_frame(piece);
                prop_assert_eq!(rest == 0, cut.is_between());
                prop_assert!(rest == 0 || rest == piece.len() || places[at + rest - 1].0);
                cut.pass(piece);
                at += piece.len();
                prop_assert_eq!((cut.is_between(), cut.is_closed()), places[at - 1]);
            }
        }
    }
}
