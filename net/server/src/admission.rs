//! Who may have another session: so many in all, so many of one origin.
//!
//! Belongs to the doorkeeper's thread, which alone adds; a session gives its seat back from the
//! core that it lived on, by counting down. It never waits and takes no lock. Origins without
//! sessions are forgotten when twice as many are remembered as there may be sessions; a remembered
//! one takes about 150 bytes, which are part of a session's share of the budget. What an origin has
//! used of its quota is remembered as long: who comes again has not forgotten its debts.

use std::collections::HashMap;

use deltaworks_pipeline::quota::SharedUse;
use deltaworks_protocol::ErrorCode;
use deltaworks_runtime::seats::{Seat as OneSeat, Seats};
use deltaworks_runtime::sync::Arc;

use crate::peer::{Origin, Peer};

/// The limits, and who sits.
#[derive(Debug)]
pub(crate) struct Admission {
    sessions_max: usize,
    per_origin_max: usize,
    all: Seats,
    origins: HashMap<Origin, OfOrigin>,
}

/// What is known of an origin.
#[derive(Debug, Default)]
struct OfOrigin {
    seats: Seats,
    used: Arc<SharedUse>,
}

/// Permission for one session; dropped, it is given back.
#[derive(Debug)]
pub(crate) struct Seat {
    _of_origin: OneSeat,
    _of_all: OneSeat,
    used: Arc<SharedUse>,
}

impl Seat {
    /// What its origin has used of an address's quota.
    pub fn used(&self) -> Arc<SharedUse> {
        Arc::clone(&self.used)
    }
}

impl Admission {
    pub fn new(sessions_max: usize, per_origin_max: usize) -> Self {
        Self { sessions_max, per_origin_max, all: Seats::default(), origins: HashMap::new() }
    }

    /// Admits so many of one origin from now on; those that sit stay.
    pub fn limit_origins(&mut self, per_origin_max: usize) {
        self.per_origin_max = per_origin_max;
    }

    /// A seat for `peer`.
    ///
    /// # Errors
    /// The number of the limit that is reached.
    pub fn admit(&mut self, peer: &Peer) -> Result<Seat, ErrorCode> {
        let of_all = self.all.take(self.sessions_max).ok_or(ErrorCode::SessionLimit)?;
        self.forget_the_absent();
        let origin = self.origins.entry(peer.origin()).or_default();
        let of_origin = origin.seats.take(self.per_origin_max).ok_or(ErrorCode::AddressLimit)?;
        Ok(Seat { _of_origin: of_origin, _of_all: of_all, used: Arc::clone(&origin.used) })
    }

    /// Half of the remembered at least are without a session then, so the cost of looking at all
    /// of them is spread over as many arrivals.
    fn forget_the_absent(&mut self) {
        if self.origins.len() >= 2 * self.sessions_max {
            self.origins.retain(|_, origin| origin.seats.is_taken());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> Peer {
        Peer::Tcp(([192, 0, 2, number], 1).into())
    }

    #[test]
    fn each_limit_has_its_number_and_an_ended_session_makes_room() {
        let mut admission = Admission::new(3, 2);
        let first = admission.admit(&peer(1)).expect("a seat");
        let _second = admission.admit(&peer(1)).expect("a seat");
        assert_eq!(admission.admit(&peer(1)).expect_err("full"), ErrorCode::AddressLimit);
        let _third = admission.admit(&peer(2)).expect("another origin has its own limit");
        assert_eq!(admission.admit(&peer(2)).expect_err("full"), ErrorCode::SessionLimit);
        drop(first);
        let _again = admission.admit(&peer(1)).expect("a seat was given back");
        assert_eq!(admission.admit(&peer(3)).expect_err("full"), ErrorCode::SessionLimit);
    }

    #[test]
    fn origins_that_have_left_are_forgotten() {
        let mut admission = Admission::new(4, 1);
        let stays = admission.admit(&peer(0)).expect("a seat");
        for number in 1..200 {
            drop(admission.admit(&peer(number)).expect("a seat"));
            assert!(admission.origins.len() <= 8, "{}", admission.origins.len());
        }
        assert_eq!(admission.admit(&peer(0)).expect_err("it sits"), ErrorCode::AddressLimit);
        drop(stays);
        admission.admit(&peer(0)).expect("a seat");
    }

    #[test]
    fn sessions_of_one_origin_share_what_it_has_used() {
        let mut admission = Admission::new(4, 2);
        let first = admission.admit(&peer(1)).expect("a seat").used();
        let again = admission.admit(&peer(1)).expect("a seat").used();
        let other = admission.admit(&peer(2)).expect("a seat").used();
        assert!(Arc::ptr_eq(&first, &again) && !Arc::ptr_eq(&first, &other));
    }
}
