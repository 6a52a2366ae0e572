//! Bytes of the ring through all stages.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    rstwatch_fuzz::fuzzed::decode::run(input);
});
