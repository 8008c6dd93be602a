//! What waits, what is told at once, what is tried again: in simulated time.

use super::*;
use crate::control::notify::family::Family;
use crate::control::notify::family::{AUDITED, DOWN, GLASS_BROKEN, INCIDENT, ROLLED_BACK, SHEDDING, TEST};
use crate::control::notify::lasting::Stands;
use crate::control::notify::samples::{night, notice};
use proptest::prelude::*;

const WAIT: Duration = Duration::from_secs(2);

/// A spool and its clock.
struct Bench {
    spool: Spool,
    start: Instant,
    now: Duration,
    hurry: bool,
}

impl Bench {
    fn new(forgets: bool) -> Bench {
        let spool = Spool::new("x".into(), WAIT, forgets);
        Bench { spool, start: Instant::now(), now: Duration::ZERO, hurry: false }
    }

    fn moment(&self) -> Moment {
        Moment { now: self.start + self.now, at: night(), hurry: self.hurry }
    }

    fn happens(&mut self, subject: &str, member: &str, stands: Stands) {
        let now = self.moment().now;
        self.spool.take(&notice(&DOWN, subject, member, stands, 0), now);
    }

    /// What is sent now, if anything.
    fn look(&mut self) -> Option<Arc<Message>> {
        match self
            .spool
            .look(self.moment(), || vec![notice(&SHEDDING, "orders", "queue_full", Stands::Firing, 0)])
        {
            Due::Send(message) => Some(message),
            Due::Wait(_) => None,
        }
    }

    /// Lets time pass to whenever it wants to be looked at next, and returns what is sent then.
    fn next(&mut self) -> Arc<Message> {
        loop {
            match self.spool.look(self.moment(), Vec::new) {
                Due::Send(message) => return message,
                Due::Wait(Some(until)) => self.now = until - self.start,
                Due::Wait(None) => panic!("nothing is waited for"),
            }
        }
    }

    fn came(&mut self, verdict: Verdict) -> Option<Turn> {
        self.spool.came(verdict, self.moment(), 0.5)
    }

    fn later(&mut self) -> Option<Turn> {
        self.came(Verdict::Later("it answered 500".into(), None))
    }
}

#[test]
fn more_of_the_same_is_waited_for_and_told_at_once() {
    let mut bench = Bench::new(false);
    for n in 0..20 {
        bench.happens("orders", &format!("b{n}"), Stands::Firing);
    }
    assert!(bench.look().is_none(), "more may come");
    bench.now = WAIT;
    let message = bench.look().expect("it is time");
    assert_eq!((message.items.len(), message.events()), (1, 20));
    assert!(message.items[0].samples.len() <= 4 && message.items[0].members.len() <= 10);
    assert!(bench.look().is_none(), "it is under way");
    bench.came(Verdict::Taken);
    assert_eq!((bench.spool.counts.sent, bench.spool.depth()), (20, 0));
}

#[test]
fn a_storm_of_five_thousand_ejections_is_a_few_messages() {
    let (mut bench, mut messages) = (Bench::new(false), 0);
    for tick in 0..600 {
        bench.now = Duration::from_millis(tick * 100);
        for n in 0..9 {
            let n = tick * 9 + n;
            bench.happens(&format!("u{}", n % 100), &format!("b{}", n / 100), Stands::Firing);
        }
        if bench.look().is_some() {
            messages += 1;
            bench.came(Verdict::Taken);
        }
    }
    assert!((2..=14).contains(&messages), "in a minute: {messages}");
    bench.now += Duration::from_secs(11);
    while bench.look().is_some() {
        bench.came(Verdict::Taken);
        bench.now += Duration::from_secs(11);
    }
    let counts = bench.spool.counts;
    assert_eq!((counts.sent, counts.dropped), (5_400, 0), "every one of them was counted");
}

#[test]
fn after_a_quiet_time_people_hear_as_soon_as_at_first() {
    let mut bench = Bench::new(false);
    for _ in 0..6 {
        bench.happens("orders", "a", Stands::Firing);
        bench.next();
        bench.happens("users", "a", Stands::Firing);
        bench.came(Verdict::Taken);
    }
    bench.next();
    bench.came(Verdict::Taken);
    bench.now += QUIET;
    let quiet_until = bench.now;
    bench.happens("orders", "b", Stands::Firing);
    bench.next();
    assert_eq!(bench.now, quiet_until + WAIT);
}

#[test]
fn what_began_and_ended_while_it_waited_is_told_as_over() {
    let mut bench = Bench::new(false);
    bench.happens("orders", "a", Stands::Firing);
    bench.happens("orders", "a", Stands::Resolved);
    let message = bench.next();
    assert_eq!(message.items[0].stands, Stands::Resolved);
    assert_eq!(message.items[0].count, 2);
}

#[test]
fn a_failure_is_tried_again_with_the_same_message_later_and_later() {
    let mut bench = Bench::new(false);
    bench.happens("orders", "a", Stands::Firing);
    let first = bench.next();
    assert_eq!(bench.later(), None, "one failure is no news");
    let (mut last, mut gaps) = (bench.now, Vec::new());
    for attempt in 0..8 {
        let message = bench.next();
        assert_eq!(message.id, first.id);
        gaps.push(bench.now - last);
        last = bench.now;
        let told = bench.later();
        assert_eq!(told.is_some(), attempt == 0, "said once: {told:?}");
    }
    assert!(gaps.windows(2).all(|pair| pair[1] >= pair[0]) && gaps[7] <= Duration::from_secs(60), "{gaps:?}");
    assert!(bench.spool.health.failing_since.is_some());
    bench.next();
    assert_eq!(bench.came(Verdict::Taken), Some(Turn::Recovers));
    assert!(bench.spool.health.failing_since.is_none() && bench.spool.health.last_failure.is_some());
}

#[test]
fn a_sink_that_says_when_is_not_asked_before() {
    let mut bench = Bench::new(false);
    bench.happens("orders", "a", Stands::Firing);
    bench.next();
    let before = bench.now;
    bench.came(Verdict::Later("it answered 429".into(), Some(Duration::from_secs(90))));
    bench.next();
    assert!(bench.now - before >= Duration::from_secs(90));
}

#[test]
fn a_refusal_is_not_tried_again_and_is_said() {
    let mut bench = Bench::new(false);
    bench.happens("orders", "a", Stands::Firing);
    bench.next();
    let told = bench.came(Verdict::Refused("it answered 404".into()));
    assert_eq!(told, Some(Turn::Fails("it answered 404".into(), true)));
    assert_eq!((bench.spool.counts.failed, bench.spool.depth()), (1, 0));
    bench.happens("orders", "b", Stands::Firing);
    bench.next();
    assert_eq!(bench.came(Verdict::Refused("it answered 404".into())), None, "said once");
}

#[test]
fn what_could_not_be_told_for_an_hour_is_given_up() {
    let mut bench = Bench::new(false);
    bench.happens("orders", "a", Stands::Firing);
    let mut attempts = 0;
    bench.next();
    while bench.spool.depth() > 0 {
        bench.later();
        attempts += 1;
        assert!(attempts < 100);
        if bench.spool.depth() > 0 {
            bench.next();
        }
    }
    assert!(bench.now >= MAX_AGE && bench.now < MAX_AGE + Duration::from_secs(120), "{:?}", bench.now);
    assert_eq!(bench.spool.counts.failed, 1);
}

#[test]
fn a_queue_that_is_full_gives_up_the_oldest_of_the_least_urgent() {
    let mut bench = Bench::new(false);
    let now = bench.moment().now;
    bench.spool.take(&notice(&SHEDDING, "orders", "queue_full", Stands::Firing, 0), now);
    for n in 0..MAX_WAITING + 44 {
        bench.spool.take(&notice(&AUDITED, &format!("actor{n}"), "read", Stands::Happened, 0), now);
    }
    assert_eq!((bench.spool.depth(), bench.spool.counts.dropped), (MAX_WAITING, 45));
    assert_eq!(bench.next().items[0].topic.family, &SHEDDING, "and the most urgent is told first");
    for n in 0..MAX_WAITING * 2 {
        bench.spool.take(&notice(&SHEDDING, &format!("u{n}"), "queue_full", Stands::Firing, 0), now);
    }
    let dropped = bench.spool.counts.dropped;
    bench.spool.take(&notice(&AUDITED, "late", "read", Stands::Happened, 0), now);
    assert_eq!(bench.spool.counts.dropped, dropped + 1, "it drives out nothing that is more urgent");
}

#[test]
fn a_queue_that_is_full_gives_up_first_what_need_not_be_heard() {
    let mut bench = Bench::new(false);
    let now = bench.moment().now;
    let mut happens = |family: &'static Family, subject: &str| {
        bench.spool.take(&notice(family, subject, "", Stands::Happened, 0), now);
    };
    happens(&ROLLED_BACK, "7");
    for n in 0..MAX_WAITING * 2 {
        happens(&DOWN, &format!("u{n}"));
    }
    happens(&ROLLED_BACK, "8");
    for n in 0..MAX_WAITING {
        happens(&SHEDDING, &format!("u{n}"));
    }
    let owed =
        |bench: &Bench| bench.spool.owed().map(|(_, item)| item.topic.subject.clone()).collect::<Vec<_>>();
    assert_eq!(owed(&bench), ["7", "8"]);
    let mut full = Bench::new(false);
    for n in 0..MAX_WAITING {
        full.spool.take(&notice(&ROLLED_BACK, &format!("{n}"), "", Stands::Happened, 0), now);
    }
    full.spool.take(&notice(&DOWN, "orders", "", Stands::Firing, 0), now);
    assert_eq!(
        (owed(&full).len(), full.spool.counts.dropped),
        (MAX_WAITING, 1),
        "it drives out none of them"
    );
    full.spool.take(&notice(&SHEDDING, "orders", "", Stands::Firing, 0), now);
    assert_eq!(owed(&full).len(), MAX_WAITING - 1, "unless somebody should look now");
}

#[test]
fn what_an_earlier_process_owed_and_nobody_wants_now_is_dropped_and_counted() {
    let mut bench = Bench::new(false);
    let owed = |family, message: Option<&str>, count| {
        let item = Item { count, ..Item::of(notice(family, "7", "", Stands::Happened, 0)) };
        Owed::of("oncall", message, &item).expect("it says something")
    };
    let owed = vec![
        owed(&INCIDENT, Some("00aa-1"), 3),
        owed(&ROLLED_BACK, Some("00aa-1"), 2),
        owed(&GLASS_BROKEN, None, 4),
    ];
    bench.spool.takes_over(owed, bench.moment(), |item| item.topic.family == &ROLLED_BACK);
    assert_eq!((bench.spool.events(), bench.spool.counts.dropped), (2, 7));
    let message = bench.look().expect("at once");
    assert_eq!((message.id.as_str(), message.items[0].topic.family), ("00aa-1", &ROLLED_BACK));
}

#[test]
fn whoever_forgets_is_told_again_and_that_is_not_tried_again() {
    let mut bench = Bench::new(true);
    assert!(bench.look().is_none());
    bench.now = AGAIN;
    let message = bench.look().expect("a minute is over");
    assert_eq!((message.items[0].topic.family, message.events()), (&SHEDDING, 0));
    bench.later();
    assert_eq!(bench.spool.depth(), 0, "the next one says the same");
    assert!(bench.look().is_none());
    bench.now = AGAIN * 2;
    assert!(bench.look().is_some());
    let mut keeps = Bench::new(false);
    keeps.now = AGAIN * 3;
    assert!(keeps.look().is_none(), "a person who was told is not told again");
}

#[test]
fn at_the_end_of_the_process_everything_is_tried_once_more_and_nothing_is_waited_for() {
    let mut bench = Bench::new(true);
    bench.happens("orders", "a", Stands::Firing);
    bench.next();
    bench.later();
    bench.happens("users", "a", Stands::Firing);
    bench.hurry = true;
    let put_off = bench.look().expect("at once");
    assert_eq!(put_off.items[0].topic.subject, "orders");
    bench.later();
    let waited = bench.look().expect("at once");
    assert_eq!(waited.items[0].topic.subject, "users");
    bench.later();
    assert!(bench.look().is_none() && bench.spool.depth() == 0);
    assert_eq!(bench.spool.counts.failed, 2);
    assert_eq!(bench.spool.owed().count(), 0, "neither must be heard");
}

#[test]
fn at_the_end_of_the_process_each_message_that_was_refused_is_left_to_the_next_one() {
    let mut bench = Bench::new(false);
    let told = |bench: &mut Bench, family: &'static Family, subject: &str| {
        let now = bench.moment().now;
        bench.spool.take(&notice(family, subject, "", Stands::Happened, 0), now);
    };
    told(&mut bench, &ROLLED_BACK, "7");
    let first = bench.next().id.clone();
    bench.later();
    told(&mut bench, &ROLLED_BACK, "8");
    bench.hurry = true;
    bench.look().expect("what was put off, at once");
    bench.later();
    let second = bench.look().expect("what waited, at once").id.clone();
    let owed = |bench: &Bench| -> Vec<(Option<String>, String)> {
        let each = bench.spool.owed();
        each.map(|(id, item)| (id.map(str::to_owned), item.topic.subject.clone())).collect()
    };
    let both = [(Some(first), "7".to_owned()), (Some(second), "8".to_owned())];
    assert_eq!(owed(&bench), both, "in order, while one is under way");
    bench.later();
    told(&mut bench, &DOWN, "orders");
    bench.look().expect("at once");
    bench.later();
    assert_eq!(owed(&bench), both, "what need not be heard drives out nothing");
    for n in 0..MAX_OWED {
        told(&mut bench, &ROLLED_BACK, &format!("more-{n}"));
        bench.look().expect("at once");
        bench.later();
    }
    assert_eq!(bench.spool.left.len(), MAX_OWED, "and it does not grow for ever");
    bench.spool.close();
    assert_eq!(bench.spool.owed().count(), 0);
}

#[test]
fn what_waits_outlives_other_settings_and_what_nobody_wants_does_not() {
    let mut bench = Bench::new(false);
    bench.happens("orders", "a", Stands::Firing);
    bench.next();
    bench.came(Verdict::Later("it answered 500".into(), Some(Duration::from_secs(300))));
    let now = bench.moment().now;
    bench.spool.take(&notice(&SHEDDING, "orders", "queue_full", Stands::Firing, 0), now);
    bench.spool.follow(WAIT, false, |topic| topic.family == &DOWN);
    assert_eq!((bench.spool.depth(), bench.spool.counts.dropped), (1, 1));
    assert!(bench.look().is_some(), "another address may be the right one: it is tried at once");
    bench.came(Verdict::Taken);
    bench.now += Duration::from_secs(60);
    assert!(bench.look().is_none(), "nothing is left");
}

#[test]
fn somebody_who_was_reached_by_hand_is_told_what_waits() {
    let mut bench = Bench::new(false);
    bench.happens("orders", "a", Stands::Firing);
    bench.next();
    bench.later();
    bench.next();
    assert!(matches!(bench.later(), Some(Turn::Fails(..))));
    assert!(bench.look().is_none());
    assert_eq!(bench.spool.heard(bench.moment()), Some(Turn::Recovers));
    assert!(bench.look().is_some());
    assert_eq!(TEST.severity.as_str(), "info");
}

proptest! {
    #[test]
    fn every_event_ends_in_exactly_one_count(
        steps in prop::collection::vec((0..8u8, 0..40u16, any::<bool>(), 0..90u64), 1..300),
    ) {
        let (mut bench, mut taken) = (Bench::new(false), 0u64);
        let mut under_way = false;
        for (step, subject, told, after) in steps {
            bench.now += Duration::from_secs(after);
            match step {
                0..=3 => {
                    let stands = [Stands::Firing, Stands::Resolved, Stands::Happened][usize::from(step % 3)];
                    let family = if subject % 2 == 0 { &SHEDDING } else { &AUDITED };
                    let notice = Notice { told, ..notice(family, &format!("u{subject}"), "m", stands, 0) };
                    let now = bench.moment().now;
                    (0..20).for_each(|_| bench.spool.take(&notice, now));
                    taken += 20;
                }
                4 if under_way => drop(bench.came(Verdict::Taken)),
                5 if under_way => drop(bench.later()),
                6 if under_way => drop(bench.came(Verdict::Refused("it answered 400".into()))),
                _ => {
                    under_way = under_way || bench.look().is_some();
                    continue;
                }
            }
            if step >= 4 {
                under_way = false;
            }
            let counts = bench.spool.counts;
            let ended = counts.sent + counts.failed + counts.dropped + counts.deduplicated;
            prop_assert_eq!(taken, ended + bench.spool.events());
            prop_assert!(bench.spool.depth() <= MAX_WAITING + MAX_ITEMS);
        }
    }
}
