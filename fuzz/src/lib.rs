//! The targets that the tests run too, for cargo-fuzz.

#[path = "../../tests/fuzz/targets/mod.rs"]
pub mod targets;

/// A fuzzer of the target of this name.
#[macro_export]
macro_rules! fuzz {
    ($name:literal) => {
        use std::sync::LazyLock;

        static TARGET: LazyLock<$crate::targets::Target> = LazyLock::new(|| $crate::targets::named($name));

        libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET
            .try_bytes(data)
            .unwrap_or_else(|reason| panic!("{reason}")));
    };
}
