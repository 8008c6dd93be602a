//! The server room: what stands between a client's transport and the walk. The door judges bytes before the
//! protocol engine sees them; the connection runs the engine; the pipeline is the walk itself; a station is
//! what one core needs for it.

pub mod arrival;
pub mod auth;
pub mod client;
pub mod connection;
pub mod departure;
pub mod door;
pub mod interim;
pub mod ledger;
pub mod outlet;
pub mod own;
pub mod pipeline;
pub mod process;
pub mod record;
pub mod station;
pub mod strain;
pub mod tunnel;
pub mod unread;
pub mod upgrade;
