//! The pipeline's scenarios as one wasm32 module.
//!
//! `pipeline/tests/scenarios` holds the scenarios as plain functions; the native tests and this
//! module run the same ones. Node (`run.mjs`) makes a fresh instance per scenario, because a panic
//! traps and leaves an instance that is worth nothing. It knows no thread, clock, socket or file.

#![deny(unsafe_code)]

mod exports;

/// Makes a table of the scenarios out of the list in `scenarios/mod.rs`.
macro_rules! scenarios {
    ($($module:ident: [$($name:ident),* $(,)?]),* $(,)?) => {
        pub(crate) const SCENARIOS: &[(&str, fn())] = &[
            $($((concat!(stringify!($module), "::", stringify!($name)), $module::$name)),*),*
        ];
    };
}

#[path = "../../tests/scenarios/mod.rs"]
mod scenarios;
