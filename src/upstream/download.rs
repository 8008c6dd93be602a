//! A backend's answer on its way to the client. As long as the client takes it, whoever writes to the client pulls
//! it frame by frame; when the client does not, the core's tick reads ahead, within bounds, so that the backend
//! is done with it and its permits come free. Frames, trailers and a break in the middle come out in the order
//! in which they came in, and none of them earlier because of it.

use crate::memory::{CoreMemory, Held};
use crate::upstream::passage::{Passage, is_stand_in};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

/// Bytes that are read ahead for one exchange at most, and one frame.
pub const MOST: u64 = 1 << 20;
/// What a frame costs beside its bytes, or answers in pieces of one byte would be read ahead for nothing.
const FRAME: u64 = 128;
/// Below so many bytes a piece is copied out of the buffer that it came in.
const SMALL: usize = 4096;

/// How an answer ended at the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With its last byte.
    Complete,
    /// In the middle.
    Broken,
}

/// How the client is given an answer.
#[derive(Debug, Default)]
pub enum Manner {
    /// As it comes.
    #[default]
    AsItComes,
    /// So many bytes at once at most: its connection's bound.
    InPieces(usize),
    /// Past the engines.
    Through(Rc<Passage>),
}

/// The backend's engine gave up in the middle.
pub(super) struct Broken;

/// The answer's body, and what was read of it ahead of the client.
#[derive(Debug, Default)]
pub(super) struct Download {
    incoming: Option<Incoming>,
    ahead: Option<Box<Ahead>>,
    manner: Manner,
}

#[derive(Debug)]
struct Ahead {
    frames: VecDeque<Frame<Bytes>>,
    /// Of the data among them.
    bytes: u64,
    memory: Held,
    end: Option<End>,
}

/// What was read ahead.
pub(super) enum Stored {
    /// A frame; true if it was the last and the answer is complete.
    Frame(Frame<Bytes>, bool),
    /// The end.
    End(End),
}

impl Download {
    /// The body begins.
    pub(super) fn new(incoming: Incoming, manner: Manner) -> Self {
        Download { incoming: Some(incoming), ahead: None, manner }
    }

    /// What comes from now on comes to us, as it is kept here.
    pub(super) fn close_passage(&self) {
        if let Manner::Through(passage) = &self.manner {
            passage.close();
        }
    }

    /// The client takes what comes again.
    fn reopen_passage(&self) {
        if let (Manner::Through(passage), Some(incoming)) = (&self.manner, &self.incoming) {
            passage.reopen(incoming.size_hint().lower());
        }
    }

    fn piece(&self) -> Option<usize> {
        if let Manner::InPieces(piece) = self.manner { Some(piece) } else { None }
    }

    /// It must be kept and given to the client piece by piece.
    pub(super) fn is_too_large(&self, frame: &Frame<Bytes>) -> bool {
        self.piece().is_some_and(|piece| length(frame) > piece as u64)
    }

    /// Asks the backend for the next frame.
    pub(super) fn poll_backend(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let next = ready!(Pin::new(incoming).poll_frame(cx));
        Poll::Ready(match (next, &self.manner) {
            (Some(Ok(frame)), Manner::Through(passage)) => Some(passage.recognise(frame).ok_or(Broken)),
            (next, _) => next.map(|next| next.map_err(|_| Broken)),
        })
    }

    /// Nothing more will come from the backend.
    pub(super) fn backend_is_done(&self) -> bool {
        let read = self.ahead.as_ref().is_some_and(|ahead| ahead.end.is_some());
        read || self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    /// Another frame may be read ahead.
    pub(super) fn has_room(&self) -> bool {
        self.ahead.as_ref().is_none_or(|ahead| ahead.memory.bytes() < MOST && ahead.end.is_none())
    }

    /// Keeps a frame that was read ahead.
    pub(super) fn store(&mut self, frame: Frame<Bytes>, memory: &Rc<CoreMemory>) {
        let frame = frame.map_data(alone);
        let ahead = self.ahead.get_or_insert_with(|| Ahead::new(memory));
        ahead.memory.set(ahead.memory.bytes() + cost(&frame));
        ahead.bytes += length(&frame);
        ahead.frames.push_back(frame);
    }

    /// Keeps the end that was read ahead.
    pub(super) fn store_end(&mut self, end: End, memory: &Rc<CoreMemory>) {
        self.ahead.get_or_insert_with(|| Ahead::new(memory)).end = Some(end);
    }

    /// What comes next of what was read ahead. With nothing left, the backend is asked directly again.
    pub(super) fn next_stored(&mut self) -> Option<Stored> {
        let piece = self.piece();
        let ahead = self.ahead.as_mut()?;
        if let Some(frame) = ahead.next(piece) {
            let last = ahead.frames.is_empty() && ahead.end == Some(End::Complete);
            return Some(Stored::Frame(frame, last));
        }
        match ahead.end {
            Some(end) => Some(Stored::End(end)),
            None => {
                self.ahead = None;
                self.reopen_passage();
                None
            }
        }
    }

    /// The client has been given all of it.
    pub(super) fn is_end_stream(&self) -> bool {
        match &self.ahead {
            Some(ahead) => ahead.frames.is_empty() && ahead.end == Some(End::Complete),
            None => self.incoming.as_ref().is_some_and(Body::is_end_stream),
        }
    }

    /// What the client has not been given yet.
    pub(super) fn size_hint(&self) -> SizeHint {
        let mut hint = self.incoming.as_ref().map_or_else(SizeHint::default, Body::size_hint);
        let stored = self.ahead.as_ref().map_or(0, |ahead| ahead.bytes);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(stored));
        }
        hint.set_lower(hint.lower().saturating_add(stored));
        hint
    }
}

impl Ahead {
    fn new(memory: &Rc<CoreMemory>) -> Box<Self> {
        Box::new(Ahead { frames: VecDeque::new(), bytes: 0, memory: Held::new(memory), end: None })
    }

    /// The next frame, or a piece of it.
    fn next(&mut self, piece: Option<usize>) -> Option<Frame<Bytes>> {
        let frame = self.frames.pop_front()?;
        let before = cost(&frame);
        let (frame, rest) = split(frame, piece);
        self.memory.shrink(before - rest.as_ref().map_or(0, cost));
        self.bytes -= length(&frame);
        rest.into_iter().for_each(|rest| self.frames.push_front(rest));
        Some(frame)
    }
}

/// A frame's first piece, and the rest.
fn split(frame: Frame<Bytes>, piece: Option<usize>) -> (Frame<Bytes>, Option<Frame<Bytes>>) {
    match (frame.into_data(), piece) {
        (Ok(mut data), Some(piece)) if data.len() > piece => {
            let first = data.split_to(piece);
            (Frame::data(first), Some(Frame::data(data)))
        }
        (Ok(data), _) => (Frame::data(data), None),
        (Err(frame), _) => (frame, None),
    }
}

/// A small piece without the buffer that it came in, which would live as long as the piece and is many times what
/// the piece is counted with. A stand-in is known by where it lies.
fn alone(data: Bytes) -> Bytes {
    if data.len() < SMALL && !is_stand_in(&data) { Bytes::copy_from_slice(&data) } else { data }
}

fn length(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |data| data.len() as u64)
}

fn cost(frame: &Frame<Bytes>) -> u64 {
    length(frame) + FRAME
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;
    use crate::upstream::passage::stand_in;
    use http::HeaderMap;
    use proptest::prelude::*;
    use std::sync::Arc;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_read_ahead_comes_out_in_order_and_costs_nothing_afterwards(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2_000), 1..30),
            broken in any::<bool>(),
            limit in 0..100_000u64,
            piece in prop::option::of(1..3_000usize),
        ) {
            let shared = Arc::new(Memory::default());
            let core = CoreMemory::new(shared.clone(), limit);
            let manner = piece.map_or(Manner::AsItComes, Manner::InPieces);
            let mut download = Download { manner, ..Download::default() };
            for piece in &pieces {
                download.store(Frame::data(Bytes::from(piece.clone())), &core);
            }
            download.store(Frame::trailers(HeaderMap::new()), &core);
            prop_assert!(!download.is_end_stream());
            let end = if broken { End::Broken } else { End::Complete };
            download.store_end(end, &core);
            prop_assert!(!download.has_room() && download.backend_is_done());
            prop_assert_eq!(download.size_hint().lower() as usize, pieces.concat().len());
            let mut came = Vec::new();
            loop {
                match download.next_stored() {
                    Some(Stored::Frame(frame, last)) => {
                        prop_assert_eq!(last, frame.is_trailers() && !broken);
                        prop_assert!(!download.is_too_large(&frame));
                        came.extend(frame.into_data().unwrap_or_default());
                    }
                    Some(Stored::End(came)) => { prop_assert_eq!(came, end); break }
                    None => prop_assert!(false, "it has an end"),
                }
            }
            prop_assert_eq!(came, pieces.concat());
            prop_assert_eq!(download.is_end_stream(), !broken);
            core.settle();
            prop_assert_eq!(shared.used(), 0);
        }
    }

    #[test]
    fn a_small_piece_does_not_keep_the_buffer_that_it_came_in() {
        let core = CoreMemory::new(Arc::default(), 64 << 20);
        let mut download = Download::default();
        let buffer = Bytes::from(vec![7; 128 * 1024]);
        download.store(Frame::data(buffer.slice(..1)), &core);
        assert!(buffer.is_unique(), "nothing else holds it");
        let Some(Stored::Frame(piece, false)) = download.next_stored() else { panic!("it is stored") };
        assert_eq!(piece.into_data().ok().as_deref(), Some(&[7][..]));
    }

    #[test]
    fn a_stand_in_that_is_kept_is_still_one_however_small() {
        let core = CoreMemory::new(Arc::default(), 64 << 20);
        let mut download = Download::default();
        download.store(Frame::data(stand_in(1)), &core);
        let Some(Stored::Frame(piece, false)) = download.next_stored() else { panic!("it is stored") };
        assert!(piece.data_ref().is_some_and(|data| is_stand_in(data)));
    }

    #[test]
    fn reading_ahead_stops_at_its_bound_also_in_small_pieces() {
        let core = CoreMemory::new(Arc::default(), 64 << 20);
        for piece in [1, 64 * 1024] {
            let mut download = Download::default();
            let mut stored = 0;
            while download.has_room() {
                download.store(Frame::data(Bytes::from(vec![0; piece])), &core);
                stored += 1;
            }
            assert!(stored as u64 <= MOST / (piece as u64 + FRAME) + 1, "{stored} pieces of {piece}");
        }
    }
}
