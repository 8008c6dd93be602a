//! Measures one operation: time and allocations per call, the latter with a bound that it asserts or that
//! `counts.toml` has. Only what the measuring thread allocates counts.
//!
//! Instructions are counted from outside: `--cases` prints the names of a bench's cases, and `--count CASE N` runs
//! the operation of one case N times and nothing else, so that the difference between N and 2 N under valgrind or
//! `perf stat -e instructions:u` is that of N operations; it prints how often these N allocated. `benches/counts`
//! compares with what was agreed, `benches/instructions.sh` prints all of them.
//! What differs from run to run (cases with a second thread) has no place there.

#![allow(dead_code, reason = "each bench is a crate of its own and uses a part of this")]

use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// The gateway's allocator, counting.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: every call is handed to the gateway's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { MiMalloc.realloc(block, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What to do with each case, as the command line says.
pub enum Meter {
    /// Measure all.
    Measure,
    /// Print the names of those whose instructions can be counted.
    List,
    /// Run one, this many times.
    Count(String, usize),
}

impl Meter {
    /// Reads the command line.
    pub fn from_args() -> Self {
        // Cargo says `--bench`; `cargo test --benches` says nothing.
        let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        match args[..] {
            ["--cases"] => Meter::List,
            ["--count", case, times] => Meter::Count(case.to_owned(), times.parse().expect("N is a number")),
            _ => Meter::Measure,
        }
    }

    /// All cases are measured, so that this is the place for one that cannot be counted.
    pub fn measures(&self) -> bool {
        matches!(self, Meter::Measure)
    }

    /// One case is counted, so that this is the place for one that cannot be measured.
    pub fn counts(&self) -> bool {
        matches!(self, Meter::Count(..))
    }

    /// False if no case runs whose name begins like this, so that its setting up can be spared.
    pub fn wants(&self, beginning: &str) -> bool {
        match self {
            Meter::Measure | Meter::List => true,
            Meter::Count(case, _) => case.starts_with(beginning),
        }
    }

    /// Takes one case and asserts that it never allocates.
    pub fn assert_free_of_allocations<T>(&self, case: &str, mut op: impl FnMut(usize) -> T) {
        self.assert_allocations(case, 0.0, |calls| {
            for n in 0..calls {
                black_box(op(black_box(n)));
            }
        });
    }

    /// Takes one case, whose `batch` does the operation as often as it is told, and asserts that one operation
    /// allocates `most` times or less, on average.
    pub fn assert_allocations(&self, case: &str, most: f64, batch: impl FnMut(usize)) {
        let each = self.measure_allocations(case, batch);
        assert!(each <= most, "{case}: {each} allocations, {most} at most");
    }

    /// The same without a bound. Returns the allocations of one operation, or 0 where it was not to be measured.
    pub fn measure_allocations(&self, case: &str, mut batch: impl FnMut(usize)) -> f64 {
        match self {
            Meter::Measure => return measure(case, batch),
            Meter::List => println!("{case}"),
            Meter::Count(wanted, times) if wanted == case => {
                let before = ALLOCATIONS.get();
                batch(*times);
                println!("{} allocations", ALLOCATIONS.get() - before);
            }
            Meter::Count(..) => {}
        }
        0.0
    }
}

/// Runs `batch` for a fifth of a second with rising numbers and prints the best of ten rounds. Returns the allocations
/// of one operation.
fn measure(case: &str, mut batch: impl FnMut(usize)) -> f64 {
    let (mut rounds, mut calls, mut all) = (0, 1_000, 0);
    let mut best = Duration::MAX;
    let before = ALLOCATIONS.get();
    while rounds < 10 {
        let start = Instant::now();
        batch(calls);
        let took = start.elapsed();
        all += calls;
        if took < Duration::from_millis(20) {
            calls *= 2;
            continue;
        }
        rounds += 1;
        best = best.min(took * 1_000 / calls as u32);
    }
    let each = (ALLOCATIONS.get() - before) as f64 / all as f64;
    println!("{case:<44} {:>9.1} ns {each:>7.2} allocations", best.as_nanos() as f64 / 1_000.0);
    each
}
