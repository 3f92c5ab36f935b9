//! Parcels: what one slot of a ring holds, a cache line.
//!
//! Batches of one session go four to a line, and acks to one session two, because what crosses is paid by the
//! line; everything else goes alone. Sent in order, and unpacked in order: what does not go into the last
//! parcel begins the next.

use super::Queue;
use crate::chunk::Landed;
use crate::message::{Ack, Arrival, Message, SessionId};

/// Batches in a parcel.
pub(super) const BATCHES: usize = 4;
/// Acks in a parcel.
const ACKS: usize = 2;

/// Messages of one parcel at most.
pub(crate) const MESSAGES_MAX: usize = BATCHES;

/// One slot of a ring.
#[derive(Debug)]
#[repr(align(64))]
pub enum Parcel {
    /// Batches of one session: the images, each with its producer's place in the owner's table. None behind
    /// the first without a byte.
    Batches {
        /// Who sent them.
        session: SessionId,
        /// Their producers.
        producers: [u32; BATCHES],
        /// The images.
        landed: [Landed; BATCHES],
    },
    /// Acks to one session.
    Acks {
        /// How many.
        count: u8,
        /// The session.
        session: SessionId,
        /// Its handles.
        handles: [u32; ACKS],
        /// Bytes of credit that come back.
        credit_bytes: [u32; ACKS],
        /// Resends among the newly answered.
        duplicates: [u32; ACKS],
        /// The last batches that are answered.
        producer_sequences: [u64; ACKS],
        /// Their first sequences.
        sequences: [u64; ACKS],
    },
    /// Any other message.
    Message(Message),
}

const _: () = assert!(size_of::<Parcel>() == 64);

impl Parcel {
    /// A parcel with one batch.
    #[inline]
    pub(super) fn of_batch(landed: Landed, session: SessionId, producer: u32) -> Self {
        let nothing = Landed::nothing;
        let landed = [landed, nothing(), nothing(), nothing()];
        Self::Batches { session, producers: [producer, 0, 0, 0], landed }
    }

    /// A parcel with one ack.
    #[inline]
    pub(super) fn of_ack(ack: Ack) -> Self {
        Self::Acks {
            count: 1,
            session: ack.session,
            handles: [ack.handle, 0],
            credit_bytes: [ack.credit_bytes, 0],
            duplicates: [ack.duplicates, 0],
            producer_sequences: [ack.producer_sequence, 0],
            sequences: [ack.sequence, 0],
        }
    }

    /// Adds a batch behind those that are in it.
    ///
    /// # Errors
    /// Gives the image back if it is another's, or there is no room.
    #[inline]
    pub(super) fn add_batch(
        &mut self,
        image: Landed,
        from: SessionId,
        by: u32,
    ) -> Result<(), Landed> {
        let Self::Batches { session, producers, landed } = self else { return Err(image) };
        let Some(place) = landed.iter().position(Landed::is_nothing) else { return Err(image) };
        if *session != from {
            return Err(image);
        }
        (landed[place], producers[place]) = (image, by);
        Ok(())
    }

    /// Adds an ack behind the one that is in it; `false` if that is another's, or there is no room.
    #[inline]
    pub(super) fn add_ack(&mut self, ack: &Ack) -> bool {
        let Self::Acks {
            count,
            session,
            handles,
            credit_bytes,
            duplicates,
            producer_sequences,
            sequences,
        } = self
        else {
            return false;
        };
        if usize::from(*count) == ACKS || *session != ack.session {
            return false;
        }
        *count += 1;
        handles[1] = ack.handle;
        credit_bytes[1] = ack.credit_bytes;
        duplicates[1] = ack.duplicates;
        producer_sequences[1] = ack.producer_sequence;
        sequences[1] = ack.sequence;
        true
    }

    /// How many messages it holds.
    #[inline]
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Batches { landed, .. } => landed.iter().filter(|it| !it.is_nothing()).count(),
            Self::Acks { count, .. } => usize::from(*count),
            Self::Message(_) => 1,
        }
    }

    /// Puts what core `core` has sent in it behind everything else in `queue`.
    #[inline]
    pub(crate) fn unpack(self, core: u16, queue: &mut Queue) {
        match self {
            Self::Batches { session, producers, landed } => {
                let (room, put) = queue.batch_room(BATCHES);
                let there = landed.into_iter().zip(producers).filter(|it| !it.0.is_nothing());
                for (room, (landed, producer)) in room.iter_mut().zip(there) {
                    *room = Arrival { landed, core, session, producer, place: 0 };
                    *put += 1;
                }
            }
            Self::Acks {
                count,
                session,
                handles,
                credit_bytes,
                duplicates,
                producer_sequences,
                sequences,
            } => {
                let acks = queue.acks();
                for place in 0..usize::from(count).min(ACKS) {
                    acks.push(Ack {
                        session,
                        handle: handles[place],
                        producer_sequence: producer_sequences[place],
                        sequence: sequences[place],
                        credit_bytes: credit_bytes[place],
                        duplicates: duplicates[place],
                    });
                }
            }
            Self::Message(message) => queue.push(message),
        }
    }
}
