//! Against the five minutes before the rollout.
