//! Tidegate from outside: the real binary between real sockets. Each file is one behaviour, each test is
//! named after the promise that it keeps, and the origins are named by their misbehaviour.

#![allow(clippy::disallowed_methods, reason = "tests may block: they are not the data plane")]

#[path = "../rig/mod.rs"]
#[expect(dead_code, reason = "what the tests do not turn, the comparison with the peers does")]
mod rig;
mod support;

mod aborts;
mod api_keys;
mod access_log;
mod adaptive;
mod admin;
mod answers;
mod applied;
mod apply;
mod audit;
mod audit_disks;
mod auth;
mod auth_cache;
mod auth_fails;
mod balance;
mod boot;
mod bounds;
mod bulkheads;
mod certificates;
mod cli;
mod cohorts;
mod config_check;
mod config_map;
mod crashes;
mod deadlines;
mod disks;
mod door;
mod drain;
mod events;
mod examples;
mod experiments;
mod external;
mod floods;
mod gathered;
mod holders;
mod http2;
mod hung;
mod instruments;
mod large;
mod levers;
mod listeners;
mod live;
mod lossless;
mod matching;
mod names;
mod openapi;
mod overload;
mod page;
mod page_files;
mod parking;
mod permits;
mod plan;
mod probe;
mod ramps;
mod receipts;
mod restarts;
mod refusals;
mod retries;
mod rollback;
mod rollouts;
mod roles;
mod secrets;
mod seeds;
mod series;
mod sick;
mod slow;
mod starts;
mod strain;
mod streams;
mod supervisor;
mod swap;
mod tls;
mod tokens;
mod tunnels;
mod upsets;
mod waits;
mod walk;
mod words;
