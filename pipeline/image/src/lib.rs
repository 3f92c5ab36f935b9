//! The bytes of a batch: prelude, header, deltas; the same on the wire, in memory and in the log.
