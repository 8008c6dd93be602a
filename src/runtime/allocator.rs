//! Sees to it that memory which was freed goes back to the system.
//!
//! The allocator keeps freed pages for a second, in case they are wanted again, and gives them back the next time
//! that a thread frees a whole page of it. On a gateway that has become quiet, nobody does: ten thousand connections
//! that were parked would cost what they did. So one thread that may wait for the system frees one every second.

use std::hint::black_box;
use std::time::Duration;

/// How often. The allocator itself looks whether anything is due, so this costs a microsecond.
const EVERY: Duration = Duration::from_secs(1);

/// More than the allocator keeps for later by itself. It is never touched: it costs addresses, no memory.
const LARGE: usize = 2 << 20;

/// Never ends. Giving back takes long when there is much: not for a thread that serves.
pub async fn give_back() {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        drop(black_box(Vec::<u8>::with_capacity(LARGE)));
    }
}
