//! What a client session does with each message that comes in.
//!
//! Sequences are held against the document's cursor here: what is missing, doubled or out of order is a
//! fault, what was told as a gap is an event. Nothing is kept of an image but where it ends.

use deltaworks_image::{Image, ImageError, Kind, Limits};

use super::document::Phase;
use super::event::{
    DocumentKey, Event, Fault, OpenedDocument, Outcome, Refusal, ServerLimits, UnknownReason,
};
use super::outbox::Answer;
use super::{Healing, Received, Session, State, slot};
use crate::error_code::{Effect, ErrorCode};
use crate::message::{
    Ack, Close, Control, ErrorMessage, Gap, Opened, Policy, ServerMessage, split_control,
};

impl Session {
    /// Takes one whole message.
    ///
    /// # Errors
    /// The connection is of no more use: shut it and call `handle_disconnected` with this.
    pub fn handle_message(&mut self, now_ns: u64, message: &[u8]) -> Result<Received, Fault> {
        if message.get(4).and_then(|&kind| Kind::from_number(kind)).is_some_and(Kind::is_image) {
            let image = Image::parse(message).and_then(|image| image.verify().map(|()| image));
            return self.handle_image(now_ns, image);
        }
        let (kind, body) = split_control(message, &Limits::HARD).map_err(Fault::Image)?;
        self.handle_control(now_ns, kind, body)?;
        Ok(Received::Nothing)
    }

    /// Takes an image that was parsed and verified, or why it could not be.
    ///
    /// # Errors
    /// As [`handle_message`](Self::handle_message).
    pub fn handle_image(
        &mut self,
        now_ns: u64,
        image: Result<Image<'_>, ImageError>,
    ) -> Result<Received, Fault> {
        if self.is_failed() {
            return Ok(Received::Nothing);
        }
        let image = image.map_err(Fault::Image)?;
        self.heard_ns = now_ns;
        let id = image.document().to_bits();
        let index = match self.newest_id {
            Some((newest, index)) if newest == id => index,
            _ => {
                let index = *self.by_id.get(&id).ok_or(Fault::Stray)?;
                self.newest_id = Some((id, index));
                index
            }
        };
        let key = DocumentKey(index);
        let document = slot(&mut self.documents, key).ok_or(Fault::Stray)?;
        if document.phase != Phase::Open || document.is_forgotten {
            return Ok(Received::Nothing);
        }
        let (expected, came) = (document.cursor, image.first_sequence());
        let count = u64::from(image.count());
        if came > expected {
            return Err(Fault::Missing { document: key, expected, came });
        }
        let skip = expected - came;
        let is_old = if image.kind() == Kind::Info { skip > 0 } else { skip >= count };
        if is_old {
            if document.may_start_inside {
                return Ok(Received::Nothing);
            }
            if self.config.healing == Healing::Off {
                return Err(Fault::Doubled { document: key, expected, came });
            }
            self.counters.doubled += 1;
            return Ok(Received::Nothing);
        }
        if skip > 0 && !document.may_start_inside {
            return Err(Fault::Doubled { document: key, expected, came });
        }
        document.may_start_inside &= image.kind() == Kind::Info;
        document.cursor = came.saturating_add(count);
        if !document.options.echo && document.is_own(image.origin()) {
            self.counters.suppressed += 1;
            return Ok(Received::Nothing);
        }
        Ok(match image.kind() {
            Kind::Info => Received::Info { document: key },
            _ => Received::Batch { document: key, skip: skip as u32 },
        })
    }

    /// Takes the body of a control message, its padding cut off.
    ///
    /// # Errors
    /// As [`handle_message`](Self::handle_message).
    pub fn handle_control(&mut self, now_ns: u64, kind: Kind, body: &[u8]) -> Result<(), Fault> {
        if self.is_failed() {
            return Ok(());
        }
        let message = ServerMessage::decode(kind, body).map_err(Fault::Control)?;
        self.heard_ns = now_ns;
        match message {
            ServerMessage::Hello(hello) => {
                if self.state != State::Greeting {
                    return Err(Fault::Control(ErrorCode::HelloRepeated));
                }
                self.state = State::Running;
                let server = ServerLimits::from(&hello);
                self.server = Some(server);
                self.limits.image_bytes_max = server.batch_bytes_max;
                self.limits.deltas_per_batch_max = server.deltas_per_batch_max;
                self.events.push_back(Event::Connected(server));
                for index in 0..self.documents.len() as u32 {
                    self.ask(now_ns, index);
                }
            }
            ServerMessage::Error(error) => return self.handle_error(&error),
            ServerMessage::Closed(closed) => match closed.handle {
                Some(handle) => self.handle_closed(handle, closed.code),
                None => {
                    let text = closed.text.into();
                    return Err(Fault::Ended { code: closed.code, text });
                }
            },
            ServerMessage::Ping(ping) => self.pong = Some(ping.token),
            ServerMessage::Pong(_) => {}
            _ if self.state != State::Running => {
                return Err(Fault::Control(ErrorCode::HelloExpected));
            }
            ServerMessage::Opened(opened) => return self.handle_opened(&opened),
            ServerMessage::Ack(ack) => return self.handle_ack(now_ns, &ack),
            ServerMessage::Gap(gap) => return self.handle_gap(&gap),
            ServerMessage::Credit(credit) => {
                if let Some(index) = self.index_of(credit.handle) {
                    if let Some(document) = self.documents[index as usize].as_mut() {
                        document.grant(credit.bytes);
                    }
                    self.make_ready(index);
                }
            }
        }
        Ok(())
    }

    fn handle_opened(&mut self, opened: &Opened<'_>) -> Result<(), Fault> {
        let key = DocumentKey(opened.request);
        let events = &mut self.events;
        let document = slot(&mut self.documents, key)
            .filter(|document| document.phase == Phase::Asking)
            .ok_or(Fault::Stray)?;
        let is_again = document.epoch.is_some();
        let changed = document.epoch.is_some_and(|epoch| epoch != opened.epoch);
        document.phase = Phase::Open;
        document.handle = opened.handle;
        document.balance = opened.credit.min(i64::MAX as u64) as i64;
        if document.options.access.writes() {
            let answered = |answer: Answer| events.push_back(answer.of(key));
            if is_again && !changed {
                document.outbox.resume(opened.producer_sequence, answered);
            } else {
                document.outbox.renumber(opened.producer_sequence, answered);
            }
        }
        document.opened(opened);
        if changed {
            let sequence = document.cursor;
            events.push_back(Event::EpochChanged { document: key, epoch: opened.epoch, sequence });
        }
        let told = OpenedDocument {
            is_again,
            epoch: opened.epoch,
            window_start: opened.window_start,
            next_sequence: opened.next_sequence,
            start_sequence: opened.start_sequence,
            origin: opened.origin,
            producer_sequence: opened.producer_sequence,
            info: opened.info.map(Into::into),
            kind: opened.kind.into(),
            policy: opened.policy.and_then(Policy::from_number),
        };
        events.push_back(Event::Opened(key, Box::new(told)));
        self.by_handle.insert(opened.handle, key.0);
        if document.options.access.reads() {
            self.by_id.insert(opened.document, key.0);
            self.newest_id = None;
        }
        self.make_ready(key.0);
        Ok(())
    }

    fn handle_ack(&mut self, now_ns: u64, ack: &Ack) -> Result<(), Fault> {
        let Some(index) = self.index_of(ack.handle) else { return Ok(()) };
        let key = DocumentKey(index);
        let (events, counters) = (&mut self.events, &mut self.counters);
        let document = slot(&mut self.documents, key).ok_or(Fault::Stray)?;
        document.asked_ns = now_ns;
        document.grant(ack.credit);
        counters.duplicates += u64::from(ack.duplicates);
        document.outbox.acknowledge(ack.producer_sequence, ack.sequence, |answer| {
            counters.refused += u64::from(matches!(answer.outcome, Outcome::Refused(_)));
            events.push_back(answer.of(key));
        });
        self.make_ready(index);
        Ok(())
    }

    fn handle_gap(&mut self, gap: &Gap) -> Result<(), Fault> {
        let Some(index) = self.index_of(gap.handle) else { return Ok(()) };
        let key = DocumentKey(index);
        let document = slot(&mut self.documents, key).ok_or(Fault::Stray)?;
        let (expected, from, to) = (document.cursor, gap.from, gap.to);
        if from > expected {
            return Err(Fault::Missing { document: key, expected, came: from });
        }
        if to <= expected {
            return Err(Fault::Doubled { document: key, expected, came: to });
        }
        self.counters.gaps += 1;
        if self.config.healing == Healing::Off {
            return Err(Fault::Gap { document: key, from: expected, to });
        }
        document.cursor = to;
        document.may_start_inside = false;
        let policy = Policy::from_number(gap.policy).unwrap_or_default();
        let behind_bytes = gap.behind_bytes;
        let event = Event::Gap { document: key, from: expected, to, policy, behind_bytes };
        self.events.push_back(event);
        Ok(())
    }

    fn handle_error(&mut self, error: &ErrorMessage<'_>) -> Result<(), Fault> {
        if Effect::of_number(error.code) == Effect::EndsSession {
            return Err(Fault::Ended { code: error.code, text: error.text.into() });
        }
        if let Some(request) = error.request {
            let key = DocumentKey(request);
            slot(&mut self.documents, key)
                .filter(|document| document.phase == Phase::Asking)
                .ok_or(Fault::Stray)?;
            let refusal = Box::new(Refusal::from(error));
            self.events.push_back(Event::OpenRefused(key, refusal));
            let reason = UnknownReason::HandleEnded(error.code);
            self.end_document(request, error.code, reason);
            return Ok(());
        }
        let (Some(handle), Some(number)) = (error.handle, error.producer_sequence) else {
            return Err(Fault::Control(ErrorCode::ControlMalformed));
        };
        let Some(index) = self.index_of(handle) else { return Ok(()) };
        if error.code == ErrorCode::SequenceJump.number() {
            return Err(Fault::Jump(DocumentKey(index)));
        }
        if let Some(document) = self.documents[index as usize].as_mut() {
            // A refusal of a number that was answered before tells nothing new.
            document.outbox.refuse(number, Refusal::from(error));
        }
        Ok(())
    }

    fn handle_closed(&mut self, handle: u32, code: u16) {
        // After both sides closed at once, a second `closed` finds nothing to end.
        let Some(index) = self.by_handle.get(&handle).copied() else { return };
        let is_ours = self.documents[index as usize]
            .as_ref()
            .is_some_and(|document| document.phase == Phase::Closing);
        if !is_ours {
            Close { handle: Some(handle) }.encode_to(&mut self.control);
        }
        self.end_document(index, code, UnknownReason::HandleEnded(code));
    }
}
