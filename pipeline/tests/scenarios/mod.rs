//! What the inline form must do, as plain functions: a scenario passes by returning and fails by
//! panicking. The includer defines the macro `scenarios!` and makes of this list what it runs:
//! native tests, or a table for wasm32.

mod image;
mod order;
mod slow;
mod world;

scenarios! {
    image: [a_batch_has_the_same_bytes_at_the_writer_and_the_reader],
    order: [
        interleaved_documents_keep_their_order,
        control_never_overtakes_data_nor_data_control,
        a_dropped_document_ends_in_order_and_its_name_begins_anew,
    ],
    slow: [
        a_slow_subscriber_on_another_core_is_told_its_gap,
        a_waiting_subscriber_slows_the_publisher_and_misses_nothing,
    ],
}
