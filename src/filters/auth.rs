//! Pure parts of auth.
pub mod api_key;
pub mod claims;
pub mod jwt;
