//! What the door tells of a client's connection, written down where the core's tick and the requests look.

use crate::server::client::Client;
use crate::server::door::{Length, Message, Observer, Refusal};
use crate::server::record::Record;
use bytes::Bytes;
use std::rc::Rc;
use std::sync::PoisonError;

/// The door tells what passes.
#[derive(Clone, Debug)]
pub struct Watcher(pub Rc<Client>);

impl Observer for Watcher {
    fn busy(&self) -> bool {
        self.0.active.get() + self.0.arriving.get() > 0 || !self.0.unflushed.borrow().is_empty()
    }

    fn head_started(&self) {
        self.0.in_head.set(true);
        if self.0.active.get() == 0 {
            self.0.deadline.set(Some(self.0.at_least(self.0.settings.header_timeout)));
        }
    }

    fn head_complete(&self, message: Message) {
        self.0.asked_last.set(message.last);
        self.0.in_head.set(false);
        self.0.in_body.set(message.length != Length::Empty);
        self.0.arriving.set(self.0.arriving.get() + 1);
        self.0.deadline.set(None);
    }

    fn message_complete(&self) {
        self.0.in_body.set(false);
    }

    fn half_closed(&self) {
        // A client that only said that it has nothing more to ask looks the same as one that is gone.
        self.0.left.set(true);
        self.0.watched.borrow().iter().for_each(|progress| progress.client_left());
    }

    fn wrote(&self, bytes: usize) {
        self.0.wrote.set(self.0.wrote.get() + bytes as u64);
        self.0.watched.borrow().iter().for_each(|progress| progress.has_left(bytes));
    }

    fn flushed(&self) {
        if !self.0.unflushed.borrow().is_empty() {
            let records = std::mem::take(&mut *self.0.unflushed.borrow_mut());
            records.into_iter().for_each(Record::complete);
            if self.0.active.get() == 0 {
                self.0.mid_answer.set(false);
            }
        }
    }

    fn refused(&self, refusal: Refusal) {
        self.0.refused.set(Some(refusal));
    }

    fn interim(&self) -> Option<Bytes> {
        let mut queued = self.0.interim.lock().unwrap_or_else(PoisonError::into_inner);
        (!queued.is_empty()).then(|| Bytes::from(std::mem::take(&mut *queued)))
    }
}
