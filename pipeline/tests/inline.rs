//! The inline form's scenarios as native tests; `make test-wasm` runs the same list on wasm32.

/// Makes one test out of every scenario in the list of `scenarios/mod.rs`.
macro_rules! scenarios {
    ($($module:ident: [$($name:ident),* $(,)?]),* $(,)?) => {
        mod tests {
            $(mod $module {
                $(#[test]
                fn $name() {
                    crate::scenarios::$module::$name();
                })*
            })*
        }
    };
}

mod scenarios;
