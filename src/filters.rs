//! What a request or an answer may carry on: pure functions over heads, in an order that the chain fixes at
//! build time. They decide about fields, never about room, backends or connections; only [`auth`], where a service
//! is asked who may pass, goes through the rooms below like a request of its own.

pub mod auth;
pub mod cookies;
pub mod deadline;
pub mod edits;
pub mod fields;
pub mod forwarded;
pub mod framing;
pub mod hop_by_hop;
pub mod identity;
pub mod settings;
