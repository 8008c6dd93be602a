//! How strongly what was counted speaks against a difference in failure rate being at most so large.
