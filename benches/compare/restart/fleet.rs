//! Backends in processes, and whoever starts them again: one that dies is back, cold, three seconds later.

use super::backend::{self, Look, Orders};
use crate::place::Place;
use crate::roles::Role;
use anyhow::Result;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a backend is away.
const AWAY: Duration = Duration::from_secs(3);
/// How often whoever waits looks whether it is all over.
const LOOK: Duration = Duration::from_millis(10);

/// Some backends; they end with it.
pub struct Processes {
    addresses: Vec<SocketAddr>,
    slots: Vec<Arc<Slot>>,
    keepers: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

/// One backend, whichever process it is now.
#[derive(Default)]
struct Slot {
    in_flight: AtomicU64,
    up: AtomicBool,
    crashes: AtomicU64,
    killed: AtomicBool,
    process: Mutex<Option<u32>>,
}

impl Processes {
    /// Starts so many, and waits until all are there.
    pub fn start(place: &Place, many: usize, orders: Orders) -> Result<Processes> {
        let held: Vec<TcpListener> =
            (0..many).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
        let addresses: Vec<SocketAddr> =
            held.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
        drop(held);
        let stop = Arc::new(AtomicBool::new(false));
        let slots: Vec<Arc<Slot>> = addresses.iter().map(|_| Arc::default()).collect();
        let keeper = |(n, slot): (usize, &Arc<Slot>)| {
            let (slot, stop, place) = (slot.clone(), stop.clone(), place.load);
            let orders = Orders { address: addresses[n], seed: orders.seed + n as u64, ..orders };
            std::thread::spawn(move || keep(&slot, &stop, place, orders))
        };
        let keepers = slots.iter().enumerate().map(keeper).collect();
        let processes = Processes { addresses, slots, keepers, stop };
        while !processes.slots.iter().all(|slot| slot.up.load(Relaxed)) {
            std::thread::park_timeout(LOOK);
        }
        Ok(processes)
    }

    /// Where they listen.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Ends them all at once, as `kill -9` does.
    pub fn kill(&self) {
        for slot in &self.slots {
            slot.killed.store(true, Relaxed);
            end(slot);
        }
    }

    /// In their hands.
    pub fn in_flight(&self) -> u64 {
        self.slots.iter().map(|slot| slot.in_flight.load(Relaxed)).sum()
    }

    /// Deaths that nobody ordered.
    pub fn crashes(&self) -> u64 {
        self.slots.iter().map(|slot| slot.crashes.load(Relaxed)).sum()
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.slots.iter().for_each(|slot| end(slot));
        self.keepers.drain(..).for_each(|keeper| drop(keeper.join()));
    }
}

/// Keeps one backend alive until it is all over. Its first process is warm.
fn keep(slot: &Slot, stop: &AtomicBool, core: usize, cold: Orders) {
    let mut orders = Orders { cold: 0, ..cold };
    while !stop.load(Relaxed) {
        if let Ok(mut role) = Role::on(core, backend::NAME, Some(&orders)) {
            *slot.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(role.id());
            while let Ok(Look { in_flight }) = role.next() {
                slot.in_flight.store(in_flight, Relaxed);
                slot.up.store(true, Relaxed);
            }
            *slot.process.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        slot.in_flight.store(0, Relaxed);
        orders = cold;
        let was_up = slot.up.swap(false, Relaxed);
        if was_up && !slot.killed.swap(false, Relaxed) && !stop.load(Relaxed) {
            slot.crashes.fetch_add(1, Relaxed);
        }
        let died = Instant::now();
        while died.elapsed() < AWAY && !stop.load(Relaxed) {
            std::thread::park_timeout(LOOK);
        }
    }
}

fn end(slot: &Slot) {
    let process = *slot.process.lock().unwrap_or_else(PoisonError::into_inner);
    let process = process.and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(process) = process {
        let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
    }
}
