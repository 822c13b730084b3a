//! The target of `carbon_user::fuzz` that has this program's name, for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| carbon_user::fuzz::run(env!("CARGO_BIN_NAME"), bytes));
