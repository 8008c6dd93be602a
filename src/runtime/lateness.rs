//! Does a core keep up with its own work? Judged by how late its ticks are (`overload.md` 2(iv)), because what a tick
//! waits for, every request on that core waits for; the answer is how many classes it closes, from the bottom.
//!
//! One step a second while ticks are more than 20 ms late on average, one step back for every three seconds in which
//! they are less than 10 ms late. The worst tick of a second does not count, so one stall closes nothing however long
//! it is. Nor does lateness while the core had time to rest: then others took the processor from it, and refusing
//! work would not make it turn any sooner. Pure: whoever ticks brings the times. It knows no classes and refuses
//! nothing.

use std::time::Duration;

/// How long is looked at before each step.
const WINDOW: Duration = Duration::from_secs(1);
/// Later than this on average, and a step is closed.
const LATE: Duration = Duration::from_millis(20);
/// Less late than this, and it is in time again.
const IN_TIME: Duration = Duration::from_millis(10);
/// Of its time a core works at least this part if it is its own work that makes it late.
const BUSY: f64 = 0.8;
/// Windows in time before a step is opened again.
const CALM: u8 = 3;
/// One core's lateness and what follows from it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lateness {
    window: Window,
    closed: u8,
    calm: u8,
    mean: Duration,
}

/// What was seen since it began.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    began: Duration,
    busy_before: Duration,
    ticks: u32,
    late: Duration,
    worst: Duration,
}

/// What one window says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Late,
    Between,
    InTime,
}

impl Lateness {
    /// The core ticked at `now`, which is `late` after that was due, and has been `busy` for so long altogether; both
    /// since its start. At most `most` steps can be closed. Returns true when a window is over: then the numbers below
    /// are new.
    pub fn ticked(&mut self, now: Duration, late: Duration, busy: Duration, most: u8) -> bool {
        let window = &mut self.window;
        window.ticks += 1;
        window.late += late;
        window.worst = window.worst.max(late);
        let lasted = now.saturating_sub(window.began);
        if lasted < WINDOW {
            return false;
        }
        let worked = busy.saturating_sub(window.busy_before).as_secs_f64() / lasted.as_secs_f64();
        let mean = window.mean();
        *window = Window { began: now, busy_before: busy, ..Window::default() };
        self.mean = mean.unwrap_or(late);
        self.step(verdict(mean, worked), most);
        true
    }

    fn step(&mut self, verdict: Verdict, most: u8) {
        self.calm = if verdict == Verdict::InTime { self.calm + 1 } else { 0 };
        let late = u8::from(verdict == Verdict::Late);
        // A new configuration may have less to close.
        self.closed = (self.closed + late).min(most);
        if self.calm >= CALM {
            self.calm = 0;
            self.closed = self.closed.saturating_sub(1);
        }
    }

    /// Steps that are closed now.
    pub fn closed(&self) -> u8 {
        self.closed
    }

    /// How late the ticks of the last window were on average, without the worst.
    pub fn mean(&self) -> Duration {
        self.mean
    }
}

impl Window {
    /// Of all ticks but the worst; nothing if there was no other.
    fn mean(&self) -> Option<Duration> {
        let others = self.ticks.checked_sub(1).filter(|others| *others > 0)?;
        Some((self.late - self.worst) / others)
    }
}

/// A window with a single tick was one stall: neither in time nor a reason to refuse anybody.
fn verdict(mean: Option<Duration>, worked: f64) -> Verdict {
    match mean {
        Some(mean) if mean > LATE && worked >= BUSY => Verdict::Late,
        Some(mean) if mean < IN_TIME || worked < BUSY => Verdict::InTime,
        _ => Verdict::Between,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TICK: Duration = Duration::from_millis(100);
    const STEPS: u8 = 3;

    /// A core in simulated time, whose ticks come at multiples of a tenth of a second and what they are late.
    #[derive(Default)]
    struct Core {
        lateness: Lateness,
        due: Duration,
        busy: Duration,
    }

    impl Core {
        fn tick(&mut self, late_ms: u64, worked: f64) {
            let late = Duration::from_millis(late_ms);
            self.due += TICK;
            self.busy += TICK.mul_f64(worked);
            self.lateness.ticked(self.due + late, late, self.busy, STEPS);
            // What was due meanwhile is skipped.
            let skipped = (late.as_millis() / TICK.as_millis()) as u32;
            self.due += skipped * TICK;
            self.busy += (skipped * TICK).mul_f64(worked);
        }

        fn seconds(&mut self, seconds: u32, late_ms: u64, worked: f64) -> u8 {
            (0..10 * seconds).for_each(|_| self.tick(late_ms, worked));
            self.lateness.closed()
        }
    }

    #[test]
    fn a_core_that_does_not_keep_up_closes_a_step_a_second() {
        let mut core = Core::default();
        assert_eq!(core.seconds(1, 25, 1.0), 1);
        assert_eq!(core.lateness.mean(), Duration::from_millis(25));
        assert_eq!(core.seconds(1, 25, 1.0), 2);
        assert_eq!(core.seconds(10, 90, 1.0), STEPS);
    }

    #[test]
    fn steps_open_again_one_in_three_seconds_and_not_in_between() {
        let mut core = Core::default();
        core.seconds(5, 30, 1.0);
        assert_eq!(core.seconds(20, 15, 1.0), STEPS, "less late, and not in time either");
        assert_eq!(core.seconds(2, 1, 1.0), STEPS);
        // A window lasts up to a tick longer than its second, and one may have begun before.
        assert_eq!(core.seconds(2, 1, 1.0), STEPS - 1);
        assert_eq!(core.seconds(8, 1, 0.1), 0);
    }

    #[test]
    fn one_stall_closes_nothing_however_long_it_is() {
        for stall in [150, 500, 950, 3_000, 60_000] {
            let mut core = Core::default();
            core.seconds(2, 1, 1.0);
            core.tick(stall, 1.0);
            assert_eq!(core.seconds(3, 1, 1.0), 0, "{stall} ms");
        }
    }

    #[test]
    fn stalls_without_an_end_close_steps() {
        let mut core = Core::default();
        (0..10).for_each(|_| core.tick(400, 1.0));
        assert!(core.lateness.closed() >= 2, "{:?}", core.lateness);
    }

    #[test]
    fn a_core_that_others_keep_from_the_processor_refuses_nobody() {
        let mut core = Core::default();
        assert_eq!(core.seconds(30, 80, 0.3), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever came before: in time for long enough, and everything is open.
        #[test]
        fn everything_is_open_again_after_ten_seconds_in_time(
            before in prop::collection::vec((0_u64..2_000, 0.0_f64..=1.0), 0..200),
        ) {
            let mut core = Core::default();
            before.into_iter().for_each(|(late, worked)| core.tick(late, worked));
            prop_assert!(core.lateness.closed() <= STEPS);
            prop_assert_eq!(core.seconds(11, 2, 0.9), 0);
        }
    }
}
