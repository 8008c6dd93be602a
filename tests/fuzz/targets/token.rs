//! Fuzzes tokens and sets of keys; the promise is in `checks/token.rs`.

#![no_main]

#[path = "../checks/token.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::token(data));
