//! The atomics of admission under every interleaving: a limit is never exceeded, a refusal strands nobody,
//! and a freed permit always finds whoever waits.
//!
//! The files under test are included as they are; only `crate::sync` is another. The rest of a core (its
//! queue, its bell) is modelled here the way `src/admission/wait.rs` uses the line.

#[allow(dead_code, reason = "the model uses the counter; the guard around it is tested elsewhere")]
#[path = "../src/permit.rs"]
mod permit;

#[allow(dead_code, reason = "the rate of releases is no part of the protocol")]
#[path = "../src/admission/line.rs"]
mod line;

#[path = "loom/sync.rs"]
mod sync;

use line::Line;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use loom::thread;
use permit::Counter;

/// Explores with at most two forced switches (three find nothing more and take ten times as long).
fn explore(model: impl Fn() + Sync + Send + Copy + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    for fence_first in [true, false] {
        sync::atomic::FENCE_FIRST.set(fence_first);
        builder.check(model);
    }
}

/// What all cores share: the line, and a bell for each core.
struct Street {
    line: Line,
    bells: Vec<AtomicBool>,
    limit: u32,
    max_waiting: u32,
}

impl Street {
    fn new(cores: usize, limit: u32) -> Arc<Self> {
        let bells = (0..cores).map(|_| AtomicBool::new(false)).collect();
        Arc::new(Street { line: Line::new(cores), bells, limit, max_waiting: 8 })
    }

    /// A read-modify-write, as in tokio's `Notify`: loom may order a plain store before an answer that it
    /// followed.
    fn ring(&self, core: usize) {
        self.bells[core].swap(true, SeqCst);
    }
}

/// One core: what it holds, and how many wait in its queue. Its own thread only, as in the gateway.
struct Core {
    street: Arc<Street>,
    id: usize,
    holds: u32,
    queue: u32,
    /// The class of all its requests, and what that class may fill.
    class: usize,
    limit: u32,
}

impl Core {
    fn new(street: &Arc<Street>, id: usize) -> Self {
        Core { street: street.clone(), id, holds: 0, queue: 0, class: 0, limit: street.limit }
    }

    /// A core that has a permit already.
    fn holding_one(street: &Arc<Street>, id: usize) -> Self {
        assert!(street.line.in_flight.try_acquire(street.limit));
        Core { holds: 1, ..Core::new(street, id) }
    }

    /// A request arrives: behind those who wait, else in, else in line and one more look.
    fn arrive(&mut self) {
        if self.street.line.waiting.get() == 0 && self.try_admit() {
            return;
        }
        assert!(self.join(), "the line has room");
        self.wake();
    }

    fn try_admit(&mut self) -> bool {
        let admitted = self.street.line.in_flight.try_acquire(self.limit);
        self.holds += u32::from(admitted);
        admitted
    }

    fn join(&mut self) -> bool {
        let joined = self.street.line.join(self.id, self.class, self.street.max_waiting);
        self.queue += u32::from(joined);
        joined
    }

    fn release(&mut self) {
        self.holds -= 1;
        if self.street.line.release() {
            self.wake();
        }
    }

    /// The first in this core's queue gives up, if it was not served meanwhile.
    fn give_up(&mut self) {
        if self.queue > 0 {
            self.queue -= 1;
            self.street.line.leave(self.id, self.class);
            self.wake();
        }
    }

    fn wake(&mut self) {
        match self.street.line.core_to_wake(self.id) {
            Some(core) if core == self.id => self.serve(),
            Some(core) => self.street.ring(core),
            None => {}
        }
    }

    fn serve(&mut self) {
        while self.queue > 0 {
            if !self.try_admit() {
                return;
            }
            self.queue -= 1;
            self.street.line.leave(self.id, self.class);
        }
        if let Some(core) = self.street.line.core_to_wake(self.id) {
            self.street.ring(core);
        }
    }

    /// Answers its bell if it rang.
    fn answer(&mut self) -> bool {
        let rang = self.street.bells[self.id].swap(false, SeqCst);
        if rang {
            self.serve();
        }
        rang
    }
}

/// Lets every core answer its bell until none rings; then nobody may wait while there is room.
fn settle(street: &Street, mut cores: Vec<Core>) {
    while cores.iter_mut().any(Core::answer) {}
    let held: u32 = cores.iter().map(|core| core.holds).sum();
    let waiting: u32 = cores.iter().map(|core| core.queue).sum();
    assert_eq!(street.line.in_flight.get(), held, "the count is what the cores hold");
    assert_eq!(street.line.waiting.get(), waiting, "the line is what the cores queue");
    assert!(waiting == 0 || held >= street.limit, "{waiting} wait beside {held} of {} taken", street.limit);
}

/// What one core does in a model.
type Part = fn(&mut Core);

/// Runs each core's part on its own thread, and settles.
fn run<const N: usize>(street: &Arc<Street>, parts: [(Core, Part); N]) {
    let threads: Vec<_> = parts
        .into_iter()
        .map(|(mut core, part)| {
            thread::spawn(move || {
                part(&mut core);
                core
            })
        })
        .collect();
    let cores = threads.into_iter().map(|thread| thread.join().expect("no part panics")).collect();
    settle(street, cores);
}

#[test]
fn a_limit_is_never_exceeded() {
    explore(|| {
        let counter = Arc::new(Counter::default());
        let inside = Arc::new(AtomicU32::new(0));
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (counter, inside) = (counter.clone(), inside.clone());
                thread::spawn(move || {
                    if counter.try_acquire(2) {
                        assert!(inside.fetch_add(1, SeqCst) < 2, "three are inside a limit of two");
                        inside.fetch_sub(1, SeqCst);
                        counter.release();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no thread panics");
        }
        assert_eq!(counter.get(), 0);
    });
}

#[test]
fn a_refused_attempt_never_makes_one_fail_that_fits() {
    explore(|| {
        let counter = Arc::new(Counter::default());
        counter.acquire();
        let lower = counter.clone();
        let refused = thread::spawn(move || lower.try_acquire(1));
        assert!(counter.try_acquire(2), "there was room, and nobody else took it");
        assert!(!refused.join().expect("no panic"), "one was taken all the time");
        assert_eq!(counter.get(), 2);
    });
}

#[test]
fn of_two_for_the_last_place_exactly_one_gets_it() {
    explore(|| {
        let counter = Arc::new(Counter::default());
        let other = counter.clone();
        let theirs = thread::spawn(move || other.try_acquire(1));
        let ours = counter.try_acquire(1);
        assert_ne!(ours, theirs.join().expect("no panic"));
    });
}

#[test]
fn a_release_finds_the_waiter_of_another_core() {
    explore(|| {
        let street = Street::new(2, 1);
        let holder = Core::holding_one(&street, 0);
        let waiter = Core::new(&street, 1);
        run(&street, [(holder, Core::release), (waiter, Core::arrive)]);
    });
}

#[test]
fn two_releases_serve_two_waiters_on_two_cores() {
    explore(|| {
        let street = Street::new(3, 1);
        let holder = Core::holding_one(&street, 0);
        let stays = Core::new(&street, 1);
        let passes = Core::new(&street, 2);
        let pass = |core: &mut Core| {
            core.arrive();
            if core.holds > 0 {
                core.release();
            }
        };
        run(&street, [(holder, Core::release), (stays, Core::arrive), (passes, pass)]);
    });
}

#[test]
fn whoever_leaves_during_a_release_strands_nobody_else() {
    explore(|| {
        let street = Street::new(3, 1);
        let holder = Core::holding_one(&street, 0);
        let mut leaves = Core::new(&street, 1);
        let mut stays = Core::new(&street, 2);
        assert!(leaves.join() && stays.join());
        let leave = |core: &mut Core| {
            core.answer();
            core.give_up();
        };
        let listen = |core: &mut Core| {
            core.answer();
        };
        run(&street, [(holder, Core::release), (leaves, leave), (stays, listen)]);
    });
}

#[test]
fn whoever_overtakes_the_line_wakes_it_on_leaving() {
    explore(|| {
        let street = Street::new(3, 1);
        let holder = Core::holding_one(&street, 0);
        let waiter = Core::new(&street, 1);
        let overtakes = Core::new(&street, 2);
        let overtake = |core: &mut Core| {
            if core.try_admit() {
                core.release();
            }
        };
        run(&street, [(holder, Core::release), (waiter, Core::arrive), (overtakes, overtake)]);
    });
}

#[test]
fn the_line_never_grows_beyond_its_bound() {
    explore(|| {
        let line = Arc::new(Line::new(2));
        let threads: Vec<_> = (0..2)
            .map(|core| {
                let line = line.clone();
                thread::spawn(move || line.join(core, 0, 1))
            })
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        assert_eq!(joined.filter(|joined| *joined).count(), 1);
        assert_eq!(line.waiting.get(), 1);
    });
}

/// Both permits are held on core 0. A low class, which may fill only one, waits there too; a high class waits
/// on core 1. The permit that comes free is for the high class: the low one must not swallow the bell.
#[test]
fn a_class_at_its_threshold_strands_no_higher_class() {
    explore(|| {
        let street = Street::new(2, 2);
        let line = &street.line;
        assert!(line.in_flight.try_acquire(2) && line.in_flight.try_acquire(2));
        let mut low = Core { class: 1, limit: 1, holds: 2, ..Core::new(&street, 0) };
        let mut high = Core::new(&street, 1);
        low.arrive();
        high.arrive();
        let freed = thread::spawn(move || {
            low.release();
            low
        });
        let low = freed.join().expect("no panic");
        assert_eq!(low.queue, 1, "the low class does not fit");
        high.answer();
        assert_eq!(high.holds, 1, "the high class waits beside a free permit");
    });
}

/// The model itself can fail: without the second look a wake-up is lost.
#[test]
#[should_panic(expected = "1 wait beside 0 of 1 taken")]
fn a_waiter_that_does_not_look_again_is_found_stranded() {
    explore(|| {
        let street = Street::new(2, 1);
        let holder = Core::holding_one(&street, 0);
        let waiter = Core::new(&street, 1);
        let arrive_and_sleep = |core: &mut Core| {
            if !core.try_admit() {
                core.join();
            }
        };
        run(&street, [(holder, Core::release), (waiter, arrive_and_sleep)]);
    });
}
