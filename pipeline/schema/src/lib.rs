//! JSON Type Definition over CBOR, compiled to a flat program that validates in place.
