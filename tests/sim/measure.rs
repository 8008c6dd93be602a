//! What came of a simulation, by second.

/// Milliseconds that are told apart; slower answers count as this.
const LONGEST_MS: usize = 2_000;

/// One second.
#[derive(Clone, Debug)]
pub struct Second {
    /// New requests of clients.
    pub offered: u32,
    /// All that reached a gateway, repetitions included.
    pub arrived: u32,
    /// Sent to a backend.
    pub admitted: u32,
    /// Answered in time.
    pub answered: u32,
    /// Refused by a gateway.
    pub shed: u32,
    /// Not answered in time.
    pub late: u32,
    /// Lost with a backend that died, or sent to one that was down.
    pub broken: u32,
    /// The most in flight at all backends at once, slots kept for nobody included.
    pub most_in_flight: u32,
    /// Sent while more were in flight than ramps leave.
    pub beyond_ramp: u32,
    /// Adaptive limits of all gateways together at the end of it.
    pub limit: u32,
    /// What ramps left at the end of it, of all gateways together; the largest number without a ramp.
    pub ramp_total: u32,
    /// Answers by whole milliseconds from arrival.
    times: Vec<u32>,
}

impl Second {
    fn new() -> Self {
        Second {
            offered: 0,
            arrived: 0,
            admitted: 0,
            answered: 0,
            shed: 0,
            late: 0,
            broken: 0,
            most_in_flight: 0,
            beyond_ramp: 0,
            limit: 0,
            ramp_total: u32::MAX,
            times: Vec::new(),
        }
    }

    /// An answer after `nanos`.
    pub fn answer(&mut self, nanos: u64) {
        if self.times.is_empty() {
            self.times.resize(LONGEST_MS + 1, 0);
        }
        self.answered += 1;
        self.times[((nanos / 1_000_000) as usize).min(LONGEST_MS)] += 1;
    }
}

/// All seconds.
#[derive(Debug)]
pub struct Measured {
    /// In order.
    pub seconds: Vec<Second>,
    /// Backends that died of their load.
    pub crashes: u32,
    /// What gateways told, with the second in which they did.
    pub diary: Vec<(f64, String)>,
}

impl Measured {
    /// Nothing yet, for so many seconds.
    pub fn new(seconds: usize) -> Self {
        Measured { seconds: vec![Second::new(); seconds + 1], crashes: 0, diary: Vec::new() }
    }

    /// The sum of a count over the seconds from `from` to before `to`.
    pub fn sum(&self, from: usize, to: usize, count: fn(&Second) -> u32) -> f64 {
        self.seconds[from..to].iter().map(|second| f64::from(count(second))).sum()
    }

    /// A second, on average.
    pub fn mean(&self, from: usize, to: usize, count: fn(&Second) -> u32) -> f64 {
        self.sum(from, to, count) / (to - from) as f64
    }

    /// The part of new requests that was refused.
    pub fn shed_part(&self, from: usize, to: usize) -> f64 {
        self.sum(from, to, |second| second.shed) / self.sum(from, to, |second| second.offered).max(1.0)
    }

    /// Milliseconds that so large a part of the answers took at most; nothing when there was none.
    pub fn percentile(&self, from: usize, to: usize, part: f64) -> f64 {
        let answers = self.sum(from, to, |second| second.answered);
        let mut rest = (answers * part).ceil().max(1.0);
        for ms in 0..=LONGEST_MS {
            for second in self.seconds[from..to].iter().filter(|second| !second.times.is_empty()) {
                rest -= f64::from(second.times[ms]);
            }
            if rest <= 0.0 {
                return (ms + 1) as f64;
            }
        }
        f64::NAN
    }

    /// Seconds from `from` until two seconds in a row answered at least such a part of what was offered.
    pub fn recovered(&self, from: usize, part: f64) -> Option<usize> {
        let well = |second: &Second| f64::from(second.answered) >= part * f64::from(second.offered);
        let end = self.seconds.len() - 1;
        (from..end - 1).find(|at| well(&self.seconds[*at]) && well(&self.seconds[at + 1])).map(|at| at - from)
    }
}

impl Measured {
    /// Prints every second and the diary.
    pub fn tell(&self) {
        println!("second offered arrived admitted answered shed late broken in_flight limit ramp p50 p99");
        for at in 0..self.seconds.len() - 1 {
            let it = &self.seconds[at];
            let ramp = if it.ramp_total == u32::MAX { "-".to_owned() } else { it.ramp_total.to_string() };
            println!(
                "{at:6} {:7} {:7} {:8} {:8} {:4} {:4} {:6} {:9} {:5} {ramp:>4} {:3} {:3}",
                it.offered,
                it.arrived,
                it.admitted,
                it.answered,
                it.shed,
                it.late,
                it.broken,
                it.most_in_flight,
                if it.limit == u32::MAX { 0 } else { it.limit },
                self.percentile(at, at + 1, 0.5),
                self.percentile(at, at + 1, 0.99),
            );
        }
        self.diary.iter().for_each(|(at, line)| println!("{at:.1} s: {line}"));
        println!("{} crashes", self.crashes);
    }
}
