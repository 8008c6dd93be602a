//! What the files under test see instead of the library's `sync`.

/// Loom's atomics, with sequential consistency as the language defines it.
///
/// Loom treats a SeqCst access as AcqRel and would report lost wake-ups that cannot happen; its SeqCst
/// fence is exact. A fence before each access, or one after each, makes the accesses sequentially
/// consistent. Every model runs both ways, because each way hides a weaker ordering on one side.
pub mod atomic {
    pub use loom::sync::atomic::Ordering;
    use loom::sync::atomic::Ordering::{AcqRel, Acquire, SeqCst};
    use loom::sync::atomic::fence;
    use std::cell::Cell;

    thread_local! {
        /// Loom runs all threads of a model on one thread of the system, so all of them see this one.
        pub static FENCE_FIRST: Cell<bool> = const { Cell::new(true) };
    }

    /// One access with its fence, if its ordering asks for one.
    fn fenced<T>(order: Ordering, access: impl FnOnce() -> T) -> T {
        let first = FENCE_FIRST.get();
        if order == SeqCst && first {
            fence(SeqCst);
        }
        let value = access();
        if order == SeqCst && !first {
            fence(SeqCst);
        }
        value
    }

    /// What loom would make of a read-modify-write, said openly.
    fn weak(order: Ordering) -> Ordering {
        if order == SeqCst { AcqRel } else { order }
    }

    /// The same for a load.
    fn weak_load(order: Ordering) -> Ordering {
        if order == SeqCst { Acquire } else { order }
    }

    macro_rules! atomic {
        ($name:ident, $number:ty) => {
            #[derive(Debug, Default)]
            pub struct $name(loom::sync::atomic::$name);

            #[allow(dead_code, reason = "each width needs only some of it")]
            impl $name {
                pub fn new(value: $number) -> Self {
                    $name(loom::sync::atomic::$name::new(value))
                }

                pub fn load(&self, order: Ordering) -> $number {
                    fenced(order, || self.0.load(weak_load(order)))
                }

                pub fn fetch_add(&self, value: $number, order: Ordering) -> $number {
                    fenced(order, || self.0.fetch_add(value, weak(order)))
                }

                pub fn fetch_sub(&self, value: $number, order: Ordering) -> $number {
                    fenced(order, || self.0.fetch_sub(value, weak(order)))
                }

                pub fn fetch_update(
                    &self,
                    set: Ordering,
                    fetch: Ordering,
                    mut next: impl FnMut($number) -> Option<$number>,
                ) -> Result<$number, $number> {
                    let mut seen = self.load(fetch);
                    while let Some(value) = next(seen) {
                        let exchange = || self.0.compare_exchange(seen, value, weak(set), weak_load(fetch));
                        match fenced(set, exchange) {
                            Ok(before) => return Ok(before),
                            Err(newer) => seen = newer,
                        }
                    }
                    Err(seen)
                }
            }
        };
    }

    atomic!(AtomicU32, u32);
    atomic!(AtomicU64, u64);
}
