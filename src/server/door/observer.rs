//! What the door tells of a connection: the messages that pass, the bytes, and when all is flushed. Deadlines,
//! counts and "the client has it all" are made of this by whoever owns the connection.

use super::Refusal;
use bytes::Bytes;

/// Who is told what passes through the door. Called while the connection is polled: it must only note.
pub trait Observer {
    /// True while a request whose head has passed is not answered to the last byte. It must be true from
    /// [`Observer::head_complete`] on: then the end of input and a refusal wait for the answer.
    fn busy(&self) -> bool;
    /// The first byte of a head has come (HTTP/1).
    fn head_started(&self) {}
    /// A head has come whole and is on its way to the engine (HTTP/1; pipelined ones come one after another).
    fn head_complete(&self, _message: Message) {}
    /// The last byte of a request has come, its body and trailers included (HTTP/1).
    fn message_complete(&self) {}
    /// The client has ended its side between requests.
    fn half_closed(&self) {}
    /// Bytes read from the transport.
    fn read(&self, _bytes: usize) {}
    /// Bytes written to the transport.
    fn wrote(&self, _bytes: usize) {}
    /// All that the engine had to write is written, and the transport is flushed.
    fn flushed(&self) {}
    /// Nothing more will pass. Told once.
    fn refused(&self, _refusal: Refusal) {}
    /// An interim answer (a whole 1xx head) to be written before the final one. One that comes while earlier
    /// bytes are unsent is dropped, since it could end up inside another answer; it is a hint only.
    fn interim(&self) -> Option<Bytes> {
        None
    }
}

/// How a request's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// No body.
    Empty,
    /// This many bytes, more than zero.
    Sized(u64),
    /// Chunked.
    Chunked,
}

/// What the door knows of a request from its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// How its body ends.
    pub length: Length,
    /// HTTP/1.0: no interim answers, no chunks.
    pub http10: bool,
    /// The client may wait for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// The client has said that it asks nothing more on this connection.
    pub last: bool,
    /// Asks for a WebSocket; what follows is held until [`Observer::busy`] ends or the door is taken apart.
    pub upgrade: bool,
}
