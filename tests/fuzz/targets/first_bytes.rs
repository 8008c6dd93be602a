//! Fuzzes the first bytes of a connection; the promise is in `checks/first_bytes.rs`.

#![no_main]

#[path = "../checks/first_bytes.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::first_bytes(data));
