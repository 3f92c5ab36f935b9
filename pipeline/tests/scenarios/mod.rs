//! What the inline form must do, as plain functions: a scenario passes by returning and fails by
//! panicking. The includer defines the macro `scenarios!` and makes of this list what it runs:
//! native tests, or a table for wasm32.

mod image;

scenarios! {
    image: [a_batch_has_the_same_bytes_at_the_writer_and_the_reader],
}
