//! How large a share of its clients a ramped upstream serves (`design.md`, "Cohorts"): a pure core that looks once a
//! second.
//!
//! The ramp bounds what is in flight; which part of the clients that is nobody knows beforehand. So the share follows
//! what happened: it falls to what found room, and grows while there is room to spare. It never decides how much the
//! backends hold, only who gets it; at the end of the ramp everyone is in again.

use crate::admission::cohorts::{Counted, Minute};

/// Refused inside the share at most, of those who ask: more, and the share is too large. A small room refuses more
/// while it is half empty (Erlang), so it is allowed more: one in so many as fit, and these.
const TOO_MANY: (f64, f64) = (0.02, 2.0);
/// It shrinks by no more than this in a second.
const LEAST: f64 = 0.25;
/// With less of the room used than this, there is room to spare.
const BUSY: f64 = 0.95;
/// How it grows then, in a second.
const GROWTH: (f64, f64) = (1.1, 0.005);
/// From here on everyone is in.
const WHOLE: f64 = 0.999;

/// How clients are chosen now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Nobody is left out.
    Everyone,
    /// By cohort: the same clients each time.
    Cohort,
    /// By request, because there are too few clients to choose among, or one of them is most of the traffic.
    Request,
}

impl Manner {
    /// The word in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Manner::Everyone => "everyone",
            Manner::Cohort => "cohort",
            Manner::Request => "request",
        }
    }
}

/// One second of a ramped upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Second {
    /// What was counted so far.
    pub counted: Counted,
    /// Clients of this second, by bucket.
    pub census: Vec<u32>,
    /// In flight, of what may be: 0 to 1.
    pub used: f64,
    /// What may be in flight.
    pub room: u32,
}

/// The choice of one upstream.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    running: Option<Running>,
}

#[derive(Clone, Debug)]
struct Running {
    occasion: u64,
    share: f64,
    manner: Manner,
    before: Counted,
    room: u32,
    minute: Minute,
    realised: f64,
}

/// What a choice comes to, for whoever looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    /// How clients are chosen.
    pub manner: Manner,
    /// The share that is in: 0 to 1.
    pub share: f64,
    /// The part of the requests that the share let in, in the last second: 0 to 1.
    pub realised: f64,
    /// Clients in the last minute, about.
    pub clients: f64,
    /// What the choice is made for; the same number chooses the same clients everywhere.
    pub occasion: u64,
}

impl Choice {
    /// No ramp binds: everyone is in.
    pub fn end(&mut self) {
        self.running = None;
    }

    /// Lives through a second in which a ramp bound. A new occasion is `day`, so that gateways beside each other
    /// choose the same clients.
    pub fn live(&mut self, second: Second, day: u64) {
        let fresh = || Running {
            occasion: day,
            share: 1.0,
            manner: Manner::Everyone,
            before: second.counted,
            room: second.room,
            minute: Minute::default(),
            realised: 1.0,
        };
        self.running.get_or_insert_with(fresh).live(second);
    }

    /// What it comes to; nothing while no ramp binds.
    pub fn standing(&self) -> Option<Standing> {
        self.running.as_ref().map(|it| Standing {
            manner: it.manner,
            share: it.share,
            realised: it.realised,
            clients: it.minute.census().clients,
            occasion: it.occasion,
        })
    }
}

impl Running {
    fn live(&mut self, second: Second) {
        self.minute.count(second.census);
        let Counted { admitted, shed, left_out } = since(self.before, second.counted);
        self.before = second.counted;
        let (let_in, asked) = (admitted + shed, admitted + shed + left_out);
        self.realised = if asked > 0 { let_in as f64 / asked as f64 } else { 1.0 };
        // What the ramp gives or takes by a step, the share need not find out second by second.
        let step = f64::from(second.room.max(1)) / f64::from(self.room.max(1));
        self.room = second.room;
        let share = self.share * step;
        let missing = if let_in > 0 { shed as f64 / let_in as f64 } else { 0.0 };
        let share = if missing > TOO_MANY.0 + 1.0 / (TOO_MANY.1 + f64::from(second.room)) {
            share * (1.0 - missing).max(LEAST)
        } else if left_out > 0 && second.used < BUSY && step <= 1.0 {
            share * GROWTH.0 + GROWTH.1
        } else {
            share
        };
        self.decide(share.clamp(0.0, 1.0));
    }

    fn decide(&mut self, share: f64) {
        let few = self.minute.census().is_few(share);
        (self.manner, self.share) = match share {
            share if share >= WHOLE => (Manner::Everyone, 1.0),
            _ if few => (Manner::Request, 1.0),
            share => (Manner::Cohort, share),
        };
    }
}

fn since(before: Counted, now: Counted) -> Counted {
    Counted {
        admitted: now.admitted.saturating_sub(before.admitted),
        shed: now.shed.saturating_sub(before.shed),
        left_out: now.left_out.saturating_sub(before.left_out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An upstream whose clients ask evenly: so many of them, for so many requests in flight at once.
    struct World {
        choice: Choice,
        counted: Counted,
        clients: u32,
        wanted: f64,
    }

    impl World {
        fn new(clients: u32, wanted: f64) -> Self {
            World { choice: Choice::default(), counted: Counted::default(), clients, wanted }
        }

        fn second(&mut self, room: u32) -> Standing {
            let share = self.choice.standing().map_or(1.0, |standing| standing.share);
            let inside = self.wanted * share;
            let held = inside.min(f64::from(room));
            // Ten requests a second for each in flight.
            self.counted.admitted += (held * 10.0) as u64;
            self.counted.shed += ((inside - held) * 10.0) as u64;
            self.counted.left_out += ((self.wanted - inside) * 10.0) as u64;
            let mut census = vec![0; 1024];
            (0..self.clients).for_each(|n| census[(n as usize * 37) % 1024] += 1);
            let second = Second { counted: self.counted, census, used: held / f64::from(room), room };
            self.choice.live(second, 20_000);
            self.choice.standing().expect("a ramp binds")
        }

        fn seconds(&mut self, many: u32, room: u32) -> Standing {
            (1..many).fold(self.second(room), |_, _| self.second(room))
        }
    }

    #[test]
    fn a_quarter_of_the_room_is_for_a_quarter_of_the_clients() {
        let mut world = World::new(400, 400.0);
        let standing = world.seconds(4, 100);
        assert_eq!(standing.manner, Manner::Cohort);
        assert!((0.22..=0.26).contains(&standing.share), "{standing:?}");
        // The next step takes in more of them at once, and the last one everybody.
        assert!((0.44..=0.52).contains(&world.second(200).share));
        assert_eq!(world.seconds(3, 400).manner, Manner::Everyone);
    }

    #[test]
    fn nobody_is_left_out_while_there_is_room() {
        let mut world = World::new(400, 90.0);
        assert_eq!(world.seconds(10, 100).manner, Manner::Everyone);
        // Who was left out in a rush is let in again when it is over.
        world.wanted = 300.0;
        assert!(world.seconds(3, 100).share < 0.4);
        world.wanted = 80.0;
        assert_eq!(world.seconds(20, 100).manner, Manner::Everyone);
    }

    #[test]
    fn with_few_clients_or_one_that_is_most_it_is_each_request_for_itself() {
        assert_eq!(World::new(20, 400.0).seconds(5, 100).manner, Manner::Request);
        let mut choice = Choice::default();
        let mut census = vec![1; 1024];
        census[7] = 1_000;
        for n in 1..5 {
            let counted = Counted { admitted: n * 100, shed: n * 300, left_out: 0 };
            choice.live(Second { counted, census: census.clone(), used: 1.0, room: 10 }, 20_000);
        }
        assert_eq!(choice.standing().expect("a ramp binds").manner, Manner::Request);
    }

    #[test]
    fn whoever_was_in_stays_in_and_an_ended_ramp_leaves_nothing() {
        let mut world = World::new(400, 400.0);
        let first = world.seconds(5, 100);
        let later = world.seconds(30, 100);
        assert_eq!(first.occasion, later.occasion);
        assert!((first.share - later.share).abs() < 0.03, "{} {}", first.share, later.share);
        world.choice.end();
        assert_eq!(world.choice.standing(), None);
    }
}
