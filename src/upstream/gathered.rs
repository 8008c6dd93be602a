//! The beginning of a request's body, kept until the request has its permits: a client that drips then holds
//! nothing of the upstream.
//!
//! The first piece stays as it came, because most bodies are one piece; later ones are copied together, so that
//! a thousand pieces of one byte cost a thousand bytes.

use crate::memory::{CoreMemory, Held};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;
use std::rc::Rc;

/// Bytes that are kept at most, and one piece.
pub const MOST: u64 = 64 * 1024;

/// What was gathered and not passed on.
#[derive(Debug)]
pub(super) struct Gathered {
    first: Bytes,
    rest: BytesMut,
    trailers: Option<Box<HeaderMap>>,
    memory: Held,
    /// The body has ended behind it.
    ended: bool,
}

impl Gathered {
    /// Nothing yet.
    pub(super) fn new(memory: &Rc<CoreMemory>) -> Self {
        Gathered {
            first: Bytes::new(),
            rest: BytesMut::new(),
            trailers: None,
            memory: Held::new(memory),
            ended: false,
        }
    }

    /// Takes a frame in. False when the budget has no room for it.
    pub(super) fn add(&mut self, frame: Frame<Bytes>) -> bool {
        match frame.into_data() {
            Ok(data) => {
                if !self.memory.grow(data.len() as u64) {
                    return false;
                }
                if self.first.is_empty() {
                    self.first = data;
                } else {
                    self.rest.extend_from_slice(&data);
                }
            }
            Err(frame) => self.trailers = frame.into_trailers().ok().map(Box::new),
        }
        true
    }

    /// More would be too much.
    pub(super) fn is_enough(&self) -> bool {
        self.bytes() >= MOST
    }

    /// The body has ended behind it.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// The body has ended, and was not passed on to its end.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// The next frame to pass on.
    pub(super) fn next(&mut self) -> Option<Frame<Bytes>> {
        let data =
            if self.first.is_empty() { self.rest.split().freeze() } else { std::mem::take(&mut self.first) };
        if !data.is_empty() {
            self.memory.shrink(data.len() as u64);
            return Some(Frame::data(data));
        }
        self.trailers.take().map(|trailers| Frame::trailers(*trailers))
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> u64 {
        (self.first.len() + self.rest.len()) as u64
    }

    /// Nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes() == 0 && self.trailers.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Memory;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn passed_on(gathered: &mut Gathered) -> (Vec<u8>, Option<HeaderMap>) {
        let (mut bytes, mut trailers) = (Vec::new(), None);
        while let Some(frame) = gathered.next() {
            match frame.into_data() {
                Ok(data) => bytes.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        (bytes, trailers)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_gathered_comes_out_in_order_and_costs_nothing_afterwards(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..50),
            limit in 0..2_000u64,
        ) {
            let shared = Arc::new(Memory::default());
            let core = CoreMemory::new(shared.clone(), limit);
            let mut gathered = Gathered::new(&core);
            let mut kept = Vec::new();
            for piece in &pieces {
                if gathered.add(Frame::data(Bytes::from(piece.clone()))) {
                    kept.extend_from_slice(piece);
                } else {
                    prop_assert!((kept.len() + piece.len()) as u64 > limit);
                }
                prop_assert_eq!(gathered.bytes(), kept.len() as u64);
                prop_assert_eq!(gathered.memory.bytes(), kept.len() as u64);
            }
            gathered.add(Frame::trailers(HeaderMap::new()));
            let (bytes, trailers) = passed_on(&mut gathered);
            prop_assert_eq!(bytes, kept);
            prop_assert!(trailers.is_some() && gathered.is_empty());
            core.settle();
            prop_assert_eq!(shared.used(), 0);
        }
    }

    #[test]
    fn it_stops_at_its_bound() {
        let core = CoreMemory::new(Arc::default(), 1 << 20);
        let mut gathered = Gathered::new(&core);
        assert!(gathered.add(Frame::data(Bytes::from(vec![0; 60 << 10]))) && !gathered.is_enough());
        assert!(gathered.add(Frame::data(Bytes::from(vec![0; 4 << 10]))) && gathered.is_enough());
    }
}
