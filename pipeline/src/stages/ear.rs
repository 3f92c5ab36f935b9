//! How the sessions of a core hear what its own validation owes them: at once, without a message.
//!
//! The part of [`SessionSide`] that is lent to the end of a turn's validation.

use super::SessionSide;
use crate::mailbox::Queue;
use crate::message::Ack;
use crate::port::SessionPort;
use crate::propagation::Propagation;
use crate::reception::Reception;
use crate::validation::AckEar;

impl SessionSide {
    /// Its agent; and its ear, unless something that was sent to it earlier is still in `own`, or credit is to be
    /// withheld, which is looked at when the next turn begins.
    pub(super) fn apart<'a, P: SessionPort>(
        &'a mut self,
        own: &Queue,
        port: &'a mut P,
    ) -> (&'a mut Propagation, Option<Ear<'a, P>>) {
        let Self { reception, propagation } = self;
        let hears = own.holds_only_batches() && reception.grants_all();
        (propagation, hears.then_some(Ear { reception, port }))
    }
}

/// Where a core's own validation tells what its sessions are owed.
pub(super) struct Ear<'a, P> {
    reception: &'a mut Reception,
    port: &'a mut P,
}

impl<P: SessionPort> AckEar for Ear<'_, P> {
    #[inline(always)]
    fn hear(&mut self, ack: &Ack) {
        self.reception.ack_plainly(ack, self.port);
    }
}
