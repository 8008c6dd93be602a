//! What is told of a restart and of the way back, in words with numbers.

use crate::control::ramp::guard::{Course, Turn};
use crate::control::ramp::incarnation::Cause;
use crate::control::ramp::lever::Target;
use crate::telemetry::events::Comeback;

/// A restart; whether it is ramped for it.
pub(super) fn incarnation(target: &Target, cause: Cause, ramps: bool) -> Comeback {
    let event = Comeback::new("incarnation", target, cause.told()).because(cause.as_str());
    if ramps { event } else { event.and("it is not ramped for that") }
}

/// A turn as it is told.
pub(super) fn told(target: &Target, turn: Turn, course: &Course<'_>) -> Vec<Comeback> {
    match turn {
        Turn::Step { from, to } => {
            let why = format!("from {from} %, after it was well for a dwell");
            vec![Comeback::new("step", target, why).at(to)]
        }
        Turn::Held(hold) => vec![Comeback::new("hold", target, hold).because(hold.as_str())],
        Turn::BackOff { from, to, why, times, alert } => {
            let back = Comeback::new("back_off", target, format!("from {from} %: {why}")).at(to);
            let alerted = alert.then(|| {
                let why = format!(
                    "it went back {times} times, so the next step is tried only after {} s that are well; \
                     `ramp clear` ends the ramp",
                    course.dwell.as_secs().max(60)
                );
                Comeback::new("alert", target, why).at(to)
            });
            [back].into_iter().chain(alerted).collect()
        }
        Turn::Done => vec![Comeback::new("done", target, "it was well at everything for a dwell").at(100.0)],
    }
}
