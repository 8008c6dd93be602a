//! How large the metrics are.
