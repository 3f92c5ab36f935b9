//! What the inline form must do, as plain functions: a scenario passes by returning and fails by
//! panicking. The includer defines the macro `scenarios!` and makes of this list what it runs:
//! native tests, or a table for wasm32.

mod account;
mod fairness;
mod image;
mod input;
mod interleaving;
mod kept;
mod lanes;
mod latency;
mod moving;
mod noted;
mod order;
mod overload;
mod placing;
mod quotas;
mod schema;
mod sends;
mod slow;
mod world;

scenarios! {
    fairness: [
        a_greedy_session_leaves_paced_ones_their_turn,
        messages_that_rings_have_room_for_keep_nobody_from_reading,
        a_crowd_is_taken_turn_by_turn,
        greedy_sessions_share_evenly,
        a_flood_of_control_is_taken_in_shares,
        slow_checks_end_a_turn,
        many_readers_hold_no_quiet_one,
    ],
    image: [a_batch_has_the_same_bytes_at_the_writer_and_the_reader],
    input: [
        frames_cut_at_every_position_arrive_whole,
        bytes_that_trickle_arrive_whole,
        random_bytes_end_only_their_session,
        resends_are_recognised_and_jumps_refused,
        the_older_of_two_sessions_with_one_producer_is_fenced,
        ignoring_credit_ends_the_session,
        handles_and_limits_are_checked,
        an_unfinished_message_has_a_deadline,
        unfinished_large_messages_leave_room_for_others,
        without_nodes_a_batch_is_refused,
    ],
    interleaving: [
        order_is_kept_for_control_and_data_interleaved_of_many_documents,
        documents_do_not_block_each_other,
    ],
    kept: [
        a_hot_document_leaves_a_thousand_quiet_ones_their_history,
        kept_chunks_come_round_under_readers,
        when_the_share_is_full_the_oldest_goes,
        who_keeps_nothing_is_not_copied,
        a_document_moves_with_its_kept_images,
        who_keeps_nothing_counts_what_its_document_has_kept,
        kept_images_leave_with_their_documents,
        what_goes_is_counted_to_the_byte,
        images_are_kept_while_their_documents_leave,
        chunks_that_are_begun_while_documents_leave_ask_their_new_owner,
    ],
    lanes: [
        a_hot_document_is_promoted_and_the_others_go_first,
        a_document_leaves_its_lane_and_moves,
        control_keeps_its_place_in_a_lane,
        a_dropped_document_leaves_its_lane_free,
        a_slow_batch_in_a_lane_keeps_the_order,
        a_lane_that_is_overfull_is_judged_beyond_its_share,
        hot_documents_share_a_turn_by_weight,
        a_load_between_the_thresholds_changes_nothing,
    ],
    latency: [images_are_timed_from_socket_to_socket],
    moving: [
        batches_keep_their_order_at_each_moment_of_a_move,
        a_document_is_dropped_at_each_moment_of_a_move,
        a_writer_leaves_and_comes_back_at_each_moment_of_a_move,
        an_open_overtakes_nothing_at_each_moment_of_a_move,
        a_reader_comes_at_each_moment_of_a_move,
        a_second_writer_and_a_resend_at_each_moment_of_a_move,
        a_writer_is_fenced_at_each_moment_of_a_move,
        a_session_goes_at_each_moment_of_a_move,
        a_document_goes_round_under_pressure,
        a_batch_in_slices_is_finished_first,
        a_document_stays_where_it_is_if_there_is_no_room,
        what_cannot_move_is_told_so,
        the_pause_of_a_move_is_measured,
        an_idle_guest_is_unloaded,
        node_blocks_are_lent_and_given_back,
        a_document_without_nodes_finds_blocks_where_it_goes,
    ],
    noted: [what_was_noted_of_an_image_goes_with_its_chunk],
    order: [
        order_per_document_is_kept_with_interleaved_documents,
        a_close_never_overtakes_data_nor_data_a_close,
        a_slow_batch_holds_no_other_document,
        no_more_waits_behind_slow_batches_than_may,
        a_close_that_crosses_the_servers_frees_the_handle,
        a_refused_open_is_told_of_nothing_else,
        a_dropped_document_ends_in_order_and_its_name_begins_anew,
    ],
    overload: [
        a_skipping_subscriber_jumps_to_the_newest,
        a_burst_is_not_skipped,
        nothing_comes_behind_the_end,
        a_skipping_subscriber_is_never_far_behind,
        what_a_frozen_subscriber_misses_is_told_once,
        a_closing_subscriber_ends_with_its_numbers,
        history_that_was_asked_for_is_not_skipped,
        a_collection_says_which_policies_there_are,
        a_conflating_subscriber_ends_with_the_newest_of_every_key,
        ten_thousand_slow_subscribers_cost_what_is_said,
        frozen_subscribers_are_not_looked_at,
        a_look_at_each_frozen_subscriber_is_seen,
        who_follows_is_told_what_it_misses,
        who_can_be_sent_to_is_served_before_chunks_go,
        who_gets_more_than_its_share_is_served_the_next_time,
    ],
    placing: [
        a_hot_document_moves_to_a_core_of_its_own_and_back,
        a_promotion_keeps_what_races_with_it_in_order,
        documents_are_spread_by_their_load,
        a_worker_can_be_emptied,
        a_worker_without_room_is_left_alone,
        moves_by_name_shut_no_worker,
        a_document_that_is_too_large_shuts_no_worker,
        thresholds_change_while_documents_are_there,
        how_even_workers_are_to_be_changes_while_they_work,
    ],
    quotas: [
        a_session_is_granted_no_more_than_its_quota,
        producers_have_quotas_of_their_own,
        sessions_of_an_address_share_its_quota,
        writers_of_a_collection_share_its_quota,
        what_one_quota_refuses_another_keeps,
        a_quota_counts_deltas,
        closing_and_opening_again_refills_no_quota,
        credit_that_was_not_used_is_given_back,
        who_waits_for_credit_waits_once,
        quotas_change_while_sessions_are_there,
        credit_of_another_rate_is_not_given_back,
    ],
    schema: [
        one_bad_delta_refuses_the_whole_batch,
        one_bad_batch_among_many_alike_is_refused,
        a_large_batch_is_checked_in_slices,
        an_info_travels_in_order_and_is_kept,
        a_collection_has_limits_of_its_own,
    ],
    sends: [
        a_send_is_as_long_as_whole_segments,
        many_readers_get_more_at_once_than_a_read_brings,
    ],
    slow: [
        a_slow_subscriber_on_another_core_is_told_its_gap,
        only_readers_are_told_of_a_gap,
        a_waiting_subscriber_slows_the_publisher_and_misses_nothing,
        copies_for_slow_subscribers_come_and_go,
        a_planted_leak_of_copies_is_seen,
    ],
}
