//! Restarts that are noticed, and everything that looks like one and is none.

use super::*;

/// A backend whose signs are moved by hand, looked at ten times a second.
struct Watched {
    detector: Detector,
    began: Instant,
    tenths: u32,
    look: Look,
}

impl Watched {
    /// Up, with ten connections, for as long as it takes to be trusted.
    fn up() -> Self {
        let signs = Signs { connected: 10, established: 10, ..Signs::default() };
        let mut watched = Watched {
            detector: Detector::default(),
            began: Instant::now(),
            tenths: 0,
            look: Look { signs, ..Look::default() },
        };
        assert_eq!(watched.pass(30), None);
        watched
    }

    /// The same, and its answers carry boot id 1.
    fn with_boot_id() -> Self {
        let mut watched = Self::up();
        (watched.look.signs.boot, watched.look.signs.confirmed) = (1, 10);
        assert_eq!(watched.pass(30), None);
        watched
    }

    /// Changes its signs and looks once.
    fn then(&mut self, change: impl FnOnce(&mut Signs)) -> Option<Notice> {
        change(&mut self.look.signs);
        self.pass(1)
    }

    /// So many looks; the first thing that is noticed.
    fn pass(&mut self, looks: u32) -> Option<Notice> {
        let mut first = None;
        for _ in 0..looks {
            self.tenths += 1;
            let now = self.began + Duration::from_millis(100) * self.tenths;
            let noticed = self.detector.look(now, &self.look);
            first = first.or(noticed);
        }
        first
    }

    fn dies(&mut self) -> Option<Notice> {
        self.then(|signs| {
            (signs.established, signs.lost_at_work, signs.refused) =
                (0, signs.lost_at_work + 4, signs.refused + 1);
        })
    }

    fn accepts(&mut self) -> Option<Notice> {
        self.then(|signs| (signs.connected, signs.established) = (signs.connected + 1, signs.established + 1))
    }

    fn answers(&mut self, boot: u64) -> Option<Notice> {
        self.then(|signs| {
            signs.boots += u64::from(signs.boot != boot);
            (signs.boot, signs.confirmed) = (boot, signs.connected);
        })
    }
}

fn ramps(cause: Cause) -> Option<Notice> {
    Some(Notice::Restarted { cause, ramps: true })
}

fn counts(cause: Cause) -> Option<Notice> {
    Some(Notice::Restarted { cause, ramps: false })
}

#[test]
fn refused_and_then_accepted_is_a_restart() {
    let mut backend = Watched::up();
    assert_eq!((backend.dies(), backend.pass(50)), (None, None), "it is not back yet");
    assert_eq!(backend.accepts(), ramps(Cause::Refused));
    assert_eq!(backend.pass(100), None, "once");
}

#[test]
fn whoever_refuses_or_lost_its_last_connection_is_away_until_somebody_is_let_in() {
    let mut backend = Watched::up();
    assert!(!backend.detector.is_away());
    backend.then(|signs| (signs.established, signs.lost_idle) = (3, 7));
    assert!(!backend.detector.is_away(), "three are left");
    backend.then(|signs| signs.established = 0);
    assert!(backend.detector.is_away(), "before anybody was refused");
    backend.then(|signs| signs.refused += 1);
    assert!(backend.detector.is_away());
    assert_eq!(backend.accepts(), ramps(Cause::Refused));
    assert!(!backend.detector.is_away());
    backend.then(|signs| signs.established = 0);
    assert!(!backend.detector.is_away(), "it closed what was idle");
}

#[test]
fn a_restart_between_two_looks_is_one() {
    let mut backend = Watched::up();
    let noticed = backend.then(|signs| {
        (signs.refused, signs.connected, signs.established, signs.lost_at_work) = (3, 12, 2, 4);
    });
    assert_eq!(noticed, ramps(Cause::Refused));
}

#[test]
fn starting_the_gateway_is_no_restart_of_anybody() {
    // Down from the first look on, then up: nobody knows that it was ever there.
    let mut backend = Watched {
        detector: Detector::default(),
        began: Instant::now(),
        tenths: 0,
        look: Look { health: Some(Health::Down), ..Look::default() },
    };
    assert_eq!(backend.then(|signs| signs.refused = 3), None);
    assert_eq!(backend.then(|signs| signs.refused = 9), None);
    assert_eq!(backend.accepts(), None);
    assert_eq!(backend.answers(1), None);
    backend.look.health = Some(Health::Up);
    assert_eq!(backend.pass(10), None);
}

#[test]
fn what_is_spoken_to_in_another_way_begins_anew() {
    let mut backend = Watched::with_boot_id();
    assert_eq!(backend.then(|signs| *signs = Signs::default()), None);
    assert_eq!(backend.accepts(), None);
    assert_eq!(backend.answers(2), None);
}

#[test]
fn idle_closes_and_single_breaks_are_none() {
    let mut backend = Watched::up();
    assert_eq!(backend.then(|signs| (signs.established, signs.lost_idle) = (0, 10)), None);
    assert_eq!(backend.accepts(), None);
    assert_eq!(backend.then(|signs| (signs.established, signs.lost_at_work) = (0, 1)), None);
    assert_eq!(backend.accepts(), None);
    assert_eq!(backend.pass(30), None);
}

#[test]
fn connections_that_broke_at_once_and_came_back_are_counted_and_not_ramped() {
    let mut backend = Watched::up();
    assert_eq!(backend.then(|signs| (signs.established, signs.lost_at_work) = (0, 2)), None);
    assert_eq!(backend.accepts(), counts(Cause::ConnectionsLost));
    // Not while others live.
    let mut backend = Watched::up();
    assert_eq!(backend.then(|signs| (signs.established, signs.lost_at_work) = (8, 2)), None);
    assert_eq!((backend.accepts(), backend.pass(30)), (None, None));
    // And not one by one.
    let mut backend = Watched::up();
    backend.then(|signs| (signs.established, signs.lost_at_work) = (1, 1));
    backend.pass(10);
    assert_eq!(backend.then(|signs| (signs.established, signs.lost_at_work) = (0, 2)), None);
    assert_eq!((backend.accepts(), backend.pass(30)), (None, None));
}

#[test]
fn a_full_backlog_refuses_and_is_no_restart() {
    let mut backend = Watched::up();
    for _ in 0..20 {
        assert_eq!(backend.then(|signs| signs.refused += 1), None);
        assert_eq!(backend.accepts(), None, "ten connections of before are alive");
    }
    assert_eq!(backend.pass(300), None);
}

#[test]
fn a_process_that_leaves_in_good_order_answers_what_it_has_first() {
    let mut backend = Watched::up();
    assert_eq!(backend.then(|signs| (signs.established, signs.refused) = (3, 1)), None);
    assert_eq!(backend.accepts(), None, "three of before are still served");
    assert_eq!(backend.then(|signs| signs.established = 1), ramps(Cause::Refused));
}

#[test]
fn where_a_name_has_several_addresses_one_of_them_says_nothing_of_the_others() {
    let mut backend = Watched::up();
    backend.look.several = true;
    for _ in 0..20 {
        assert_eq!((backend.dies(), backend.accepts()), (None, None));
    }
}

#[test]
fn the_same_boot_id_takes_it_back() {
    let mut backend = Watched::with_boot_id();
    backend.dies();
    assert_eq!(backend.accepts(), ramps(Cause::Refused));
    assert_eq!(backend.pass(5), None, "nobody has answered yet");
    assert_eq!(backend.answers(1), Some(Notice::Withdrawn));
    assert_eq!(backend.pass(30), None);
    // Broken connections are not even counted then.
    backend.then(|signs| (signs.established, signs.lost_at_work) = (0, signs.lost_at_work + 9));
    assert_eq!((backend.accepts(), backend.answers(1)), (None, None));
}

#[test]
fn a_new_boot_id_confirms_it_and_is_not_a_second_one() {
    let mut backend = Watched::with_boot_id();
    backend.dies();
    assert_eq!(backend.accepts(), ramps(Cause::Refused));
    assert_eq!(backend.answers(2), None);
    assert_eq!(backend.pass(30), None);
    assert_eq!(backend.answers(3), ramps(Cause::BootId), "this is another one");
}

#[test]
fn a_new_boot_id_alone_is_a_restart_and_ramps_as_often_as_it_comes() {
    let mut backend = Watched::with_boot_id();
    for boot in 2..6 {
        assert_eq!(backend.answers(boot), ramps(Cause::BootId));
        assert_eq!(backend.pass(110), None);
    }
}

#[test]
fn an_address_that_several_servers_share_is_told_and_ignored() {
    let mut backend = Watched::with_boot_id();
    backend.answers(2);
    backend.pass(110);
    assert_eq!(backend.answers(1), Some(Notice::Shared));
    for boot in [2, 1, 2, 3, 1] {
        assert_eq!((backend.answers(boot), backend.pass(50)), (None, None));
    }
}

#[test]
fn down_and_up_by_health_is_a_restart_but_late_is_not() {
    let mut backend = Watched::up();
    for (health, expected) in
        [(Health::Up, None), (Health::Late, None), (Health::Up, None), (Health::Down, None)]
    {
        backend.look.health = Some(health);
        assert_eq!(backend.pass(30), expected, "{health:?}");
    }
    backend.look.health = Some(Health::Up);
    assert_eq!(backend.pass(30), ramps(Cause::Health));
}

#[test]
fn one_restart_that_shows_in_every_way_is_noticed_once() {
    let mut backend = Watched::with_boot_id();
    backend.dies();
    backend.look.health = Some(Health::Down);
    assert_eq!(backend.pass(20), None);
    assert_eq!(backend.accepts(), ramps(Cause::Refused));
    assert_eq!(backend.answers(2), None);
    backend.look.health = Some(Health::Up);
    assert_eq!(backend.pass(100), None);
    // The other way round: health sees it first.
    let mut backend = Watched::with_boot_id();
    backend.dies();
    backend.look.health = Some(Health::Down);
    backend.pass(20);
    backend.look.health = Some(Health::Up);
    assert_eq!(backend.pass(1), ramps(Cause::Health));
    assert_eq!((backend.accepts(), backend.answers(2), backend.pass(100)), (None, None, None));
}

#[test]
fn without_a_new_boot_id_one_ramp_a_minute() {
    let mut backend = Watched::up();
    let mut causes = Vec::new();
    for _ in 0..8 {
        backend.dies();
        causes.push(backend.accepts());
        assert_eq!(backend.pass(98), None);
    }
    let expected = (0..8).map(|n| if n % 6 == 0 { ramps(Cause::Refused) } else { counts(Cause::Refused) });
    assert_eq!(causes, expected.collect::<Vec<_>>());
}

#[test]
fn a_new_address_is_another_server() {
    let mut backend = Watched::up();
    backend.look.moved = true;
    assert_eq!(backend.pass(1), ramps(Cause::NewAddress));
}
