//! Stress, structure by structure, from the ring up to whole stages.

mod ring;

mod doorbell;

mod counters;

mod pending;

mod stream;

mod stages;
