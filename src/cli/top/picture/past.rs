//! The past hour in small series: learned from `GET /v1/series`, carried on from snapshots. Bounded by the points of
//! an hour and by the upstreams of the last snapshot.

use super::Snapshot;
use serde_json::Value;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Points of a series at most: an hour in steps of five seconds.
const MOST_POINTS: usize = 720;

/// Between two points, unless the gateway says otherwise.
const STEP: Duration = Duration::from_secs(5);

/// Series by their name and their upstream's, which is empty for those of the process.
#[derive(Debug)]
pub(in crate::cli::top) struct Past {
    step: Duration,
    next: Option<Instant>,
    series: BTreeMap<(String, String), VecDeque<Option<f64>>>,
}

impl Default for Past {
    fn default() -> Self {
        Past { step: STEP, next: None, series: BTreeMap::new() }
    }
}

impl Past {
    /// Takes in what the gateway remembers.
    pub fn learn(&mut self, answer: &Value, now: Instant) {
        let step = answer["step_seconds"].as_f64().filter(|step| (0.5..=60.0).contains(step));
        self.step = step.map_or(STEP, Duration::from_secs_f64);
        self.next = Some(now + self.step);
        let series = answer["series"].as_array().map(Vec::as_slice).unwrap_or_default();
        self.series = series
            .iter()
            .filter_map(|one| {
                let name = one["name"].as_str()?.to_owned();
                let upstream = one["upstream"].as_str().unwrap_or_default().to_owned();
                let values = one["values"].as_array()?;
                let newest = values.iter().skip(values.len().saturating_sub(MOST_POINTS));
                Some(((name, upstream), newest.map(Value::as_f64).collect()))
            })
            .collect();
    }

    /// Adds a point if it is time for one.
    pub fn live(&mut self, snapshot: &Snapshot, now: Instant) {
        if self.next.is_some_and(|next| now < next) {
            return;
        }
        self.next = Some(now + self.step);
        let is_there = |upstream: &str| upstream.is_empty() || snapshot.row(upstream).is_some();
        self.series.retain(|(_, upstream), _| is_there(upstream));
        let sum = |of: fn(&super::Row) -> Option<f64>| {
            snapshot
                .rows
                .iter()
                .filter_map(of)
                .fold(None, |sum: Option<f64>, value| Some(sum.unwrap_or(0.0) + value))
        };
        self.add("process.in_flight", "", Some(snapshot.status.in_flight.into()));
        self.add("process.requests_per_second", "", sum(|row| row.lately.requests_per_second));
        self.add("process.shed_per_second", "", sum(|row| row.lately.shed_per_second));
        self.add("worker.lag_seconds", "", snapshot.lag().map(|(_, lag)| lag));
        for row in &snapshot.rows {
            self.add("upstream.in_flight", &row.name, Some(row.in_flight));
            self.add("upstream.queue", &row.name, Some(row.queue));
            self.add("upstream.requests_per_second", &row.name, row.lately.requests_per_second);
            self.add("upstream.shed_per_second", &row.name, row.lately.shed_per_second);
            self.add("upstream.latency_p99_seconds", &row.name, row.lately.latency_p99_seconds);
        }
    }

    fn add(&mut self, name: &str, upstream: &str, value: Option<f64>) {
        let points = self.series.entry((name.to_owned(), upstream.to_owned())).or_default();
        points.push_back(value);
        points.drain(..points.len().saturating_sub(MOST_POINTS));
    }

    /// The newest `most` points of a series, the oldest first.
    pub fn of(&self, name: &str, upstream: &str, most: usize) -> Vec<Option<f64>> {
        let points = self.series.get(&(name.to_owned(), upstream.to_owned()));
        points.map_or_else(Vec::new, |points| {
            points.iter().skip(points.len().saturating_sub(most)).copied().collect()
        })
    }

    /// How far back so many points reach.
    pub fn reach(&self, points: usize) -> Duration {
        self.step.saturating_mul(points.min(MOST_POINTS) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Row;
    use super::*;
    use serde_json::json;

    fn snapshot(names: &[&str], in_flight: f64) -> Snapshot {
        let row = |name: &&str| Row { name: (*name).to_owned(), in_flight, ..Row::default() };
        Snapshot { rows: names.iter().map(row).collect(), ..Snapshot::default() }
    }

    #[test]
    fn what_the_gateway_remembers_is_carried_on_once_a_step() {
        let (mut past, start) = (Past::default(), Instant::now());
        let remembered = json!({"step_seconds": 5, "series": [
            {"name": "upstream.in_flight", "upstream": "a", "values": [1, null, 3]}, {"name": 7}, "x",
        ]});
        past.learn(&remembered, start);
        for second in 1..=10 {
            past.live(&snapshot(&["a"], f64::from(second)), start + Duration::from_secs(second as u64));
        }
        let points = past.of("upstream.in_flight", "a", 9);
        assert_eq!(points, [Some(1.0), None, Some(3.0), Some(5.0), Some(10.0)]);
        assert_eq!(past.of("upstream.in_flight", "a", 2), [Some(5.0), Some(10.0)]);
        assert_eq!(past.reach(60), Duration::from_secs(300));
    }

    #[test]
    fn it_grows_neither_with_time_nor_with_names_that_are_gone() {
        let (mut past, start) = (Past::default(), Instant::now());
        for at in 0..2_000 {
            let name = format!("u{at}");
            past.live(&snapshot(&["a", &name], 1.0), start + STEP * at);
        }
        assert_eq!(past.of("upstream.in_flight", "a", usize::MAX).len(), MOST_POINTS);
        let upstreams = past.series.keys().filter(|(name, _)| name == "upstream.in_flight").count();
        assert_eq!(upstreams, 2);
    }
}
