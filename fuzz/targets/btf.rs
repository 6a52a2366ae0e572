//! Bytes as BTF.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    rstwatch_fuzz::fuzzed::btf::run(input);
});
