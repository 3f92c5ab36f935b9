//! What a client makes of what it hears.
//!
//! The part of [`Client`] that judges: the order of what comes, each answer, each image.

use deltaworks_image::{Image, Limits as ImageLimits};
use deltaworks_protocol::ServerMessage;
use deltaworks_protocol::framing::Framing;
use deltaworks_protocol::message::{
    Ack, Closed, ErrorMessage, Gap, Opened, Policy, Start, split_control,
};

use super::{Around, Asked, Client, Handle, full_grant};
use crate::coverage::Event;

impl Client {
    /// Takes at most `count` bytes of what the server has said; returns how many there were.
    pub fn take(&mut self, count: usize, around: &mut Around<'_>) -> usize {
        let Some(wire) = self.wire.clone() else { return 0 };
        let framing = &mut self.framing;
        let count = wire.borrow_mut().take(count, |bytes| framing.handle_input(bytes));
        let mut framing = std::mem::replace(&mut self.framing, Framing::new(ImageLimits::HARD));
        while let Some(message) = framing.poll_message().expect("a message") {
            assert_eq!(self.ended_by, None, "nothing comes behind the end");
            if matches!(message[4], 1 | 2) {
                self.hear_image(message, around);
            } else {
                self.hear_control(message, around);
            }
        }
        self.framing = framing;
        if self.ended_by.is_some() && wire.borrow().untaken() == 0 {
            assert_eq!(self.framing.pending_bytes(), 0, "nothing comes behind the end");
            wire.borrow_mut().leave();
            if wire.borrow().is_finished() {
                self.disconnect(around);
            }
        }
        count
    }

    fn hear_image(&mut self, message: &[u8], around: &mut Around<'_>) {
        let image = Image::parse(message).expect("a whole image");
        let id = u64::from(image.document().slot) | u64::from(image.document().generation) << 32;
        let place = self.place;
        let reader = self.handles.iter_mut().find(|(_, handle)| handle.reads && handle.id == id);
        let Some((number, handle)) = reader else {
            panic!("client {place} is sent an image of a document that it does not read")
        };
        let (key, count) = around.model.image(id, &image, handle.last);
        let first = image.first_sequence();
        around.tell(|| format!("client {place} reads {key:?} at {first} through {number}"));
        assert!(!handle.is_over, "nothing comes behind what its policy left out at last");
        around.coverage.count(if count == 0 { Event::Info } else { Event::Image });
        assert_eq!(handle.gap_from, None, "the gap comes before what follows it");
        if handle.at_start {
            let end = first + u64::from(count);
            assert!(first <= handle.next, "client {place}: {first} follows {}", handle.next);
            assert!(count == 0 || handle.next < end, "client {place}: starts before its start");
            if count == 0 {
                handle.last = Some(key);
                return;
            }
            handle.at_start = false;
        } else {
            assert_eq!(first, handle.next, "client {place}: nothing is missing, nothing twice");
        }
        handle.last = Some(key);
        handle.next = first + u64::from(count);
    }

    fn hear_control(&mut self, message: &[u8], around: &mut Around<'_>) {
        let (kind, body) = split_control(message, &ImageLimits::HARD).expect("control");
        let message = ServerMessage::decode(kind, body).expect("a server's message");
        around.tell(|| format!("client {} hears {message:?}", self.place));
        let is_end = matches!(
            message,
            ServerMessage::Error(ErrorMessage { handle: None, request: None, .. })
                | ServerMessage::Closed(Closed { handle: None, .. })
        );
        assert!(self.has_hello || is_end || matches!(message, ServerMessage::Hello(_)));
        match message {
            ServerMessage::Hello(_) => self.has_hello = true,
            ServerMessage::Opened(opened) => self.opened(&opened, around),
            ServerMessage::Ack(ack) => self.acked(&ack, around),
            ServerMessage::Credit(credit) => {
                around.coverage.count(Event::CreditWithheld);
                let full = full_grant(around.setting, self.told(credit.handle).name);
                self.told(credit.handle).granted(credit.bytes, full);
            }
            ServerMessage::Gap(gap) => self.gap(gap, around),
            ServerMessage::Error(error) => self.failed(&error, around),
            ServerMessage::Closed(Closed { handle: None, code, .. }) => self.ended(code, around),
            ServerMessage::Closed(closed) => self.closed(&closed, around),
            ServerMessage::Ping(_) | ServerMessage::Pong(_) => {}
        }
    }

    fn told(&mut self, number: u32) -> &mut Handle {
        let place = self.place;
        let handle = self.handles.get_mut(&number);
        handle.unwrap_or_else(|| panic!("client {place} is told of {number}, which is not open"))
    }

    fn opened(&mut self, opened: &Opened<'_>, around: &mut Around<'_>) {
        let asked = self.asked.remove(&opened.request).expect("opened is an answer");
        let Asked { name, access, policy, start, answered, .. } = asked;
        let document = around.model.opened(opened.document, name, opened.epoch);
        let (reads, writes) = (access.reads(), access.writes());
        if opened.document >> 32 > 0 {
            around.coverage.count(Event::SlotReused);
        }
        assert!(opened.window_start <= opened.next_sequence && opened.window_start > 0);
        assert_eq!(opened.start_sequence, start_of(start, opened), "{start:?}");
        if let Some(info) = opened.info {
            assert!(document.has_info(info), "an info that nobody sent");
        }
        if writes {
            document.bound(self.conduct.producer, opened.origin, opened.producer_sequence);
            if let Some((id, answered)) = answered.filter(|(id, _)| *id == opened.document) {
                let last = opened.producer_sequence;
                assert!(last >= answered, "{answered} of {id} was answered, {last} is remembered");
            }
        }
        let gap_from = match start {
            Start::Sequence { sequence, epoch } if epoch == opened.epoch => {
                around.coverage.count(Event::Resumed);
                (reads && sequence < opened.start_sequence).then_some(sequence)
            }
            Start::Sequence { .. } => {
                around.coverage.count(Event::EpochChanged);
                None
            }
            Start::Live | Start::Window => None,
        };
        let policy = around.setting.policy(around.setting.names[name].check, policy);
        let told = reads.then(|| policy.number()).flatten();
        assert_eq!(opened.policy, told, "{asked:?} has its policy, or its collection's");
        if reads && asked.policy == Policy::OfCollection {
            around.coverage.count(Event::PolicyOfCollection);
        }
        let bound_at = opened.producer_sequence;
        // What was not answered is sent again, and sometimes what was.
        let known = self.known.get(&opened.document).copied().unwrap_or(0);
        let next_number = if around.dice.says(50) { known.min(bound_at) } else { bound_at } + 1;
        for older in self.handles.values_mut() {
            older.reads &= !(reads && older.id == opened.document);
        }
        let mut handle = Handle {
            name,
            id: opened.document,
            reads,
            writes,
            policy,
            is_over: false,
            begun_at: opened.start_sequence,
            left_out: Vec::new(),
            next: gap_from.unwrap_or(opened.start_sequence),
            at_start: true,
            last: None,
            gap_from,
            next_number,
            fresh_number: bound_at + 1,
            bound_at,
            answered: bound_at,
            sent: 0,
            resent: 0,
            resends_told: 0,
            balance_bytes: 0,
            grant_bytes: 0,
            is_closing: false,
        };
        handle.granted(opened.credit, full_grant(around.setting, name));
        let known = self.handles.insert(opened.handle, handle);
        assert!(known.is_none(), "a handle is given once");
        assert!(!self.dead.contains(&opened.handle), "and again only when the client closed it");
        self.freeing.remove(&opened.handle);
    }

    fn acked(&mut self, ack: &Ack, around: &mut Around<'_>) {
        let producer = self.conduct.producer;
        let full = full_grant(around.setting, self.told(ack.handle).name);
        let handle = self.told(ack.handle);
        assert!(handle.writes && ack.producer_sequence >= handle.answered, "acks do not go back");
        assert!(ack.producer_sequence <= handle.sent.max(handle.bound_at), "acked before it came");
        let range = (handle.answered, ack.producer_sequence);
        handle.answered = ack.producer_sequence;
        handle.resends_told += u64::from(ack.duplicates);
        assert!(handle.resends_told <= handle.resent, "only resends are duplicates");
        handle.granted(ack.credit, full);
        let (id, is_resent) = (handle.id, range.1 <= handle.bound_at);
        around.coverage.count(Event::Ack);
        around.coverage.add(Event::Duplicate, u64::from(ack.duplicates));
        around.model.acked(id, producer, range, ack.sequence, is_resent);
    }

    fn gap(&mut self, gap: Gap, around: &mut Around<'_>) {
        let place = self.place;
        let handle = self.told(gap.handle);
        assert!(handle.reads, "a gap is for a reader");
        assert!(gap.to > gap.from);
        match handle.gap_from.take() {
            Some(from) => {
                assert_eq!(gap.from, from, "client {place}: the gap begins where it stood");
                around.coverage.count(Event::GapAtOpen);
            }
            None => {
                let at_start = handle.at_start && gap.from <= handle.next;
                assert!(
                    gap.from == handle.next || at_start,
                    "client {place}: a gap from {} where the stream stood at {}",
                    gap.from,
                    handle.next
                );
                assert_ne!(handle.policy, Policy::Wait, "who is waited for loses nothing");
                assert_eq!(Some(gap.policy), handle.policy.number(), "its policy left it out");
                around.coverage.count(match handle.policy {
                    Policy::Skip => Event::Skipped,
                    _ => Event::GapTold,
                });
                handle.is_over = handle.policy == Policy::Close;
                if handle.policy == Policy::Conflate {
                    handle.left_out.push((gap.from, gap.to));
                }
                let document = around.model.document(handle.id);
                document.left_out(gap.from, gap.to);
                if document.windows_within(gap.from, gap.to) {
                    around.coverage.count(Event::Merged);
                }
            }
        }
        handle.next = gap.to;
        handle.last = None;
        // What follows begins where the gap ends.
        handle.at_start = false;
    }

    fn failed(&mut self, error: &ErrorMessage<'_>, around: &mut Around<'_>) {
        if let Some(request) = error.request {
            let asked = self.asked.remove(&request).expect("an answer");
            return self.open_refused(&asked, error.code, around);
        }
        let (Some(number), Some(batch)) = (error.handle, error.producer_sequence) else {
            // `closed` with the same number follows.
            return;
        };
        let producer = self.conduct.producer;
        let handle = self.told(number);
        let (id, name) = (handle.id, handle.name);
        let event = match error.code {
            400 | 401 => Event::RefusedBySchema,
            402 => {
                assert!(batch > handle.answered + 1, "batch {batch} leaves nothing out");
                Event::Jump
            }
            403 => {
                assert!(batch <= handle.bound_at, "a new number was forgotten");
                handle.resends_told += 1;
                Event::Forgotten
            }
            404 => {
                assert!(around.model.may_be_fenced(name, producer), "nobody else writes as it");
                Event::RefusedByFence
            }
            405 => {
                assert!(around.model.document(id).is_dropped, "nobody dropped it");
                Event::RefusedByDrop
            }
            406 => Event::RefusedByBudget,
            407 => Event::RefusedInfo,
            408 => Event::RefusedByEnd,
            410 => Event::RefusedByCollection,
            code => panic!("client {}: batch {batch} was refused for {code}", self.place),
        };
        around.coverage.count(event);
        let is_consumed = !matches!(error.code, 402..=404);
        around.model.refused(id, (producer, batch), error.code, error.delta, is_consumed);
    }

    fn open_refused(&mut self, asked: &Asked, code: u16, around: &mut Around<'_>) {
        let event = match code {
            304 => {
                let check = around.setting.names[asked.name].check;
                let number = asked.policy.number().map_or(0, usize::from);
                let overload = around.setting.overload(check);
                let has_key = asked.policy != Policy::Conflate || overload.key.is_some();
                let is_allowed = overload.allowed[number] && has_key;
                assert!(asked.access.reads() && !is_allowed, "{:?} is allowed", asked.policy);
                Event::OpenRefusedPolicy
            }
            306 => Event::OpenRefusedDocuments,
            307 => Event::OpenRefusedHandles,
            308 => Event::OpenRefusedProducers,
            309 => Event::OpenRefusedBudget,
            310 => {
                // One that was asked for later may have been opened earlier, if this one waited
                // behind a slow batch of a document that was dropped.
                let name = asked.name;
                let reads = self.handles.values().any(|it| it.name == name && it.reads);
                assert!(asked.may_be_twice || reads, "it does not read the document");
                Event::OpenRefusedTwice
            }
            code => panic!("client {}: an open was refused for {code}", self.place),
        };
        around.coverage.count(event);
    }

    fn closed(&mut self, closed: &Closed<'_>, around: &mut Around<'_>) {
        let number = closed.handle.expect("a handle's");
        if closed.code == 500 && self.freeing.remove(&number) {
            return;
        }
        let handle = self.handles.remove(&number);
        let handle = handle.unwrap_or_else(|| panic!("{number} is closed, and was not open"));
        self.remember(&handle, around.model);
        match closed.code {
            500 => assert!(handle.is_closing, "nobody asked for it"),
            501 => {
                if handle.reads && !handle.is_closing {
                    around.coverage.count(Event::StreamEnded);
                    around.model.document(handle.id).ended(handle.next);
                }
                let document = around.model.document(handle.id);
                assert!(document.is_dropped, "nobody dropped it");
                document.was_ended = true;
            }
            502 => {
                let may = around.model.may_be_fenced(handle.name, self.conduct.producer);
                assert!(may, "nobody else writes as it");
                around.coverage.count(Event::Fenced);
            }
            504 => {
                assert_eq!(handle.policy, Policy::Close, "its policy closes nothing");
                let document = around.model.document(handle.id);
                let is_told = handle.is_over || document.may_have_info_at(handle.next);
                assert!(is_told, "client {}: closed, and not told what is missing", self.place);
                around.coverage.count(Event::ClosedByPolicy);
            }
            code => panic!("a handle is closed for {code}"),
        }
        if closed.code != 500 {
            if handle.is_closing {
                self.freeing.insert(number);
            } else {
                self.dead.insert(number);
            }
        }
    }

    fn ended(&mut self, code: u16, around: &mut Around<'_>) {
        self.ended_by = Some(code);
        let event = match code {
            500 => {
                assert!(self.is_leaving, "nobody asked for the end");
                return;
            }
            200 | 299 => return,
            207 => Event::SessionRefused,
            211 => {
                assert!(self.has_overdrawn, "client {} kept to its credit", self.place);
                Event::EndedByCredit
            }
            212 => Event::EndedByCarry,
            213 => Event::EndedBySpill,
            214 => Event::EndedByBacklog,
            code => panic!("client {} kept the rules, and was ended for {code}", self.place),
        };
        around.coverage.count(event);
    }
}

impl Handle {
    fn granted(&mut self, bytes: u64, full: i64) {
        self.grant_bytes += bytes as i64;
        self.balance_bytes += bytes as i64;
        assert!(
            self.balance_bytes <= full,
            "{} B of credit, {full} were granted",
            self.balance_bytes
        );
    }
}

/// Where a subscription must begin.
fn start_of(start: Start, opened: &Opened<'_>) -> u64 {
    match start {
        Start::Live => opened.next_sequence,
        Start::Sequence { sequence, epoch } if epoch == opened.epoch => {
            sequence.max(opened.window_start)
        }
        Start::Window | Start::Sequence { .. } => opened.window_start,
    }
}
