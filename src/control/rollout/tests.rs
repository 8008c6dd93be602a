//! Simulated rollouts.
