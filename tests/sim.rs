//! The overload scenarios of the design in simulated time (`overload.md` 4): clients, gateways and a fleet are a model,
//! and what decides in the gateways is the crate's own: the choice of a backend, the line, the limit that finds
//! itself, the shares of a ramp.
//!
//! Rollouts are played as well, before their guard (`rollouts`).
//!
//! Every scenario runs from 64 seeds and holds its bars from each; a second model, without the mechanism that it is
//! about, must miss them. What it cannot show: networks, the cost of shedding, several cores. That is what the
//! overload experiments with real sockets are for (`tests/rig`).

#[path = "sim/backend.rs"]
mod backend;
#[path = "sim/chance.rs"]
mod chance;
#[path = "sim/events.rs"]
mod events;
#[path = "sim/gateway.rs"]
mod gateway;
#[path = "sim/limit.rs"]
mod limit;
#[path = "sim/limits.rs"]
mod limits;
#[path = "sim/measure.rs"]
mod measure;
#[path = "sim/queues.rs"]
mod queues;
#[path = "sim/restarts.rs"]
mod restarts;
#[path = "sim/rollouts.rs"]
mod rollouts;
#[path = "sim/scene.rs"]
mod scene;
#[path = "sim/seeds.rs"]
mod seeds;
#[path = "sim/steering.rs"]
mod steering;
#[path = "sim/versions.rs"]
mod versions;
#[path = "sim/world.rs"]
mod world;
