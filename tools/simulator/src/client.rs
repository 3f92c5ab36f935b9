//! A client: what it says, and what it makes of what it hears.
//!
//! It keeps the rules of the protocol, and holds what it is told against them and against the model.
//! It outlives its connections: whoever is cut off comes back, resumes where it stood, and sends
//! again what was not answered.

mod hearing;

use std::collections::{BTreeMap, BTreeSet};

use deltaworks_image::Limits as ImageLimits;
use deltaworks_image::builder::set_handle;
use deltaworks_protocol::Control;
use deltaworks_protocol::framing::Framing;
use deltaworks_protocol::message::{
    Access, ClientHello, Close, Drop as DropDocument, Open, OpenOptions, Ping, Policy, Start,
};

use crate::coverage::{Coverage, Event};
use crate::dice::Dice;
use crate::model::{Key, Model};
use crate::setting::{Conduct, Setting};
use crate::wire::{Loss, SharedWire};

/// What is said and heard in one step, and who remembers it.
pub struct Around<'a> {
    /// What the world is like.
    pub setting: &'a Setting,
    /// What everybody must see.
    pub model: &'a mut Model,
    /// What has happened.
    pub coverage: &'a mut Coverage,
    /// The dice of this step.
    pub dice: &'a mut Dice,
    /// What happens, for who looks at a failing schedule.
    pub told: &'a mut Vec<String>,
    /// Whether anybody looks.
    pub tells: bool,
}

impl Around<'_> {
    /// Tells what happens, if anybody looks.
    pub fn tell(&mut self, text: impl FnOnce() -> String) {
        if self.tells {
            self.told.push(text());
        }
    }
}

/// An `open` that was not answered yet.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// The place of the document among the names.
    pub name: usize,
    access: Access,
    policy: Policy,
    start: Start,
    /// The session may read the document already.
    may_be_twice: bool,
    /// What its producer knew answered then: at most of one life of the name.
    answered: Option<(u64, u64)>,
}

/// A document that is open.
#[derive(Debug)]
pub struct Handle {
    /// The document's place among the names.
    pub name: usize,
    /// The document.
    pub id: u64,
    /// It reads, and images of the document are its own.
    pub reads: bool,
    writes: bool,
    /// The one that it has, whether it was asked for or its collection's.
    policy: Policy,
    /// Its policy has closed it: it is told so, and reads no more.
    is_over: bool,
    /// The sequence that must come next, and what was read last.
    pub next: u64,
    /// Where it began, and what `conflate` has left out since.
    begun_at: u64,
    left_out: Vec<(u64, u64)>,
    at_start: bool,
    last: Option<Key>,
    /// The sequence from which a gap must be told at once.
    gap_from: Option<u64>,
    /// The next number to be sent, and the lowest that nobody has sent through this handle.
    next_number: u64,
    fresh_number: u64,
    /// What was answered when it was opened, and since.
    bound_at: u64,
    answered: u64,
    sent: u64,
    resent: u64,
    resends_told: u64,
    balance_bytes: i64,
    grant_bytes: i64,
    is_closing: bool,
}

/// A client.
pub struct Client {
    /// Its place.
    pub place: usize,
    /// How it behaves.
    pub conduct: Conduct,
    /// Its connection, until it knows that it has ended.
    pub wire: Option<SharedWire>,
    framing: Framing,
    has_hello: bool,
    /// It has asked for the end of its session.
    is_leaving: bool,
    /// It has sent a batch although it knew of no credit; some may have been on its way.
    has_overdrawn: bool,
    /// The number that the server has ended its session with.
    pub ended_by: Option<u16>,
    next_request: u32,
    /// What it has asked for.
    pub asked: BTreeMap<u32, Asked>,
    /// What it has open.
    pub handles: BTreeMap<u32, Handle>,
    /// Closed by the server, and not yet by the client.
    dead: BTreeSet<u32>,
    /// Closed by both; the client may be told once more.
    freeing: BTreeSet<u32>,
    /// How far it had read, by name: epoch and next sequence.
    resume: BTreeMap<usize, (u64, u64)>,
    /// The last of its numbers that it knows answered, by document.
    known: BTreeMap<u64, u64>,
    scratch: Vec<u8>,
}

impl Client {
    /// A client that is not connected.
    pub fn new(place: usize, conduct: Conduct) -> Self {
        Self {
            place,
            conduct,
            wire: None,
            framing: Framing::new(ImageLimits::HARD),
            has_hello: false,
            is_leaving: false,
            has_overdrawn: false,
            ended_by: None,
            next_request: 1,
            asked: BTreeMap::new(),
            handles: BTreeMap::new(),
            dead: BTreeSet::new(),
            freeing: BTreeSet::new(),
            resume: BTreeMap::new(),
            known: BTreeMap::new(),
            scratch: Vec::new(),
        }
    }

    /// Whether it is connected, and means to stay.
    pub fn is_staying(&self) -> bool {
        self.wire.is_some() && !self.is_leaving
    }

    /// Begins a session over a new connection.
    pub fn connect(&mut self, wire: SharedWire, around: &mut Around<'_>) {
        self.wire = Some(wire);
        self.framing = Framing::new(ImageLimits::HARD);
        (self.has_hello, self.is_leaving, self.ended_by) = (false, false, None);
        self.has_overdrawn = false;
        self.asked.clear();
        self.handles.clear();
        self.dead.clear();
        self.freeing.clear();
        self.say(&ClientHello { version_min: 1, version_max: 1, client: "sim", token: None });
        for _ in 0..1 + around.dice.below(2) {
            self.open(around);
        }
    }

    /// Its connection is gone: it remembers how far it had come.
    pub fn disconnect(&mut self, around: &mut Around<'_>) {
        let handles = std::mem::take(&mut self.handles);
        for handle in handles.values() {
            self.remember(handle, around.model);
        }
        self.asked.clear();
        self.wire = None;
    }

    fn remember(&mut self, handle: &Handle, model: &mut Model) {
        if handle.reads {
            let epoch = model.document(handle.id).epoch;
            self.resume.insert(handle.name, (epoch, handle.next));
        }
        if handle.writes {
            self.known.insert(handle.id, handle.answered);
        }
    }

    /// Loses the connection.
    pub fn lose(&mut self, loss: Loss, around: &mut Around<'_>) {
        let Some(wire) = &self.wire else { return };
        let in_mid_message = wire.borrow().unread() > 0;
        around.coverage.count(match loss {
            Loss::Reset => Event::Reset,
            Loss::Gone if in_mid_message => Event::Gone,
            Loss::Gone => Event::Reset,
        });
        wire.borrow_mut().lose(loss);
        around.tell(|| format!("client {} loses its connection: {loss:?}", self.place));
        self.disconnect(around);
    }

    fn say(&mut self, message: &impl Control) {
        self.scratch.clear();
        message.encode_to(&mut self.scratch);
        if let Some(wire) = &self.wire {
            wire.borrow_mut().say(&self.scratch);
        }
    }

    /// Says one thing or another.
    pub fn act(&mut self, around: &mut Around<'_>) {
        if !self.is_staying() || self.ended_by.is_some() {
            return;
        }
        match around.dice.below(100) {
            0..=78 => _ = self.publish(around),
            79..=88 => self.open(around),
            89..=93 => self.close(around),
            94..=95 => self.drop_document(around),
            96..=98 => {
                let token = around.dice.next() >> 32;
                self.say(&Ping { token });
            }
            _ if around.dice.says(around.setting.losses) => self.leave(around),
            _ => {}
        }
    }

    /// Asks for the end of its session.
    pub fn leave(&mut self, around: &mut Around<'_>) {
        if self.is_staying() && self.ended_by.is_none() {
            around.tell(|| format!("client {} closes its session", self.place));
            self.is_leaving = true;
            self.say(&Close { handle: None });
        }
    }

    fn open(&mut self, around: &mut Around<'_>) {
        let documents = self.conduct.documents;
        let mine: Vec<usize> =
            (0..around.setting.names.len()).filter(|name| documents & 1 << name != 0).collect();
        let name = around.dice.pick(&mine);
        let access = around.dice.pick(&[Access::Both, Access::Read, Access::Write]);
        self.open_as(name, access, around);
    }

    /// Asks for a document.
    pub fn open_as(&mut self, name: usize, access: Access, around: &mut Around<'_>) {
        if self.asked.len() > 3 {
            return;
        }
        let waits = around.dice.says(around.setting.waits);
        let policy = if waits { Policy::Wait } else { around.dice.pick(&around.setting.policies) };
        let start = match self.resume.get(&name) {
            Some((epoch, sequence)) if around.dice.says(60) => {
                Start::Sequence { sequence: *sequence, epoch: *epoch }
            }
            _ => around.dice.pick(&[Start::Live, Start::Window]),
        };
        let may_be_twice = access.reads()
            && (self.handles.values().any(|it| it.name == name && it.reads && !it.is_closing)
                || self.asked.values().any(|it| it.name == name && it.access.reads()));
        let request = self.next_request;
        self.next_request += 1;
        let producer = if access.writes() { self.conduct.producer } else { 0 };
        let answered = around.model.last_answered(name, producer);
        self.asked.insert(request, Asked { name, access, policy, start, may_be_twice, answered });
        if access.writes() {
            around.model.claim(name, producer);
        }
        let options = OpenOptions { access, start, policy, producer, echo: true };
        let text = around.setting.names[name].name;
        around.tell(|| format!("client {} asks for {text}: {options:?}", self.place));
        self.say(&Open::new(request, text, options));
    }

    fn pick(&self, around: &mut Around<'_>, fits: impl Fn(&Handle) -> bool) -> Option<u32> {
        let open: Vec<u32> = self
            .handles
            .iter()
            .filter(|(_, handle)| !handle.is_closing && fits(handle))
            .map(|(number, _)| *number)
            .collect();
        (!open.is_empty()).then(|| around.dice.pick(&open))
    }

    fn close(&mut self, around: &mut Around<'_>) {
        if around.dice.says(50)
            && let Some(dead) = self.dead.pop_first()
        {
            self.freeing.insert(dead);
            self.say(&Close { handle: Some(dead) });
            return;
        }
        let Some(number) = self.pick(around, |_| true) else { return };
        around.tell(|| format!("client {} closes handle {number}", self.place));
        around.coverage.count(Event::Closed);
        self.handles.get_mut(&number).expect("picked").is_closing = true;
        self.say(&Close { handle: Some(number) });
        // Asked for anew at once: older images are on their way.
        let handle = &self.handles[&number];
        if around.dice.says(40) {
            let (name, reads) = (handle.name, handle.reads);
            let access = if reads { Access::Both } else { Access::Write };
            self.open_as(name, access, around);
        }
    }

    fn drop_document(&mut self, around: &mut Around<'_>) {
        let Some(number) = self.pick(around, |handle| handle.writes) else { return };
        let handle = &self.handles[&number];
        around.model.document(handle.id).is_dropped = true;
        around.tell(|| format!("client {} drops the document of handle {number}", self.place));
        self.say(&DropDocument { handle: number });
    }

    /// Sends some batches, as far as credit goes; returns how many.
    pub fn publish(&mut self, around: &mut Around<'_>) -> usize {
        let Some(number) = self.pick(around, |handle| handle.writes) else { return 0 };
        let mut count = 0;
        for _ in 0..1 + around.dice.below(4) {
            if self.handles[&number].balance_bytes <= 0 {
                around.coverage.count(Event::CreditSpent);
                if self.handles[&number].answered >= self.handles[&number].sent {
                    around.coverage.count(Event::CreditWaits);
                }
                if !self.conduct.overdraws || !around.dice.says(20) {
                    break;
                }
                self.has_overdrawn = true;
                around.coverage.count(Event::Overdrawn);
            }
            self.send(number, around);
            count += 1;
        }
        count
    }

    fn send(&mut self, number: u32, around: &mut Around<'_>) {
        let producer = self.conduct.producer;
        let handle = self.handles.get_mut(&number).expect("picked");
        let roll = around.dice.below(100);
        let back = 1 + around.dice.below(3) as u64;
        let batch = match roll {
            // A resend, and a number that leaves others out.
            0..=5 if handle.next_number > back => handle.next_number - back,
            6 => handle.next_number + back,
            _ => {
                handle.next_number += 1;
                handle.next_number - 1
            }
        };
        let is_jump = batch > handle.fresh_number;
        let is_resend = batch < handle.fresh_number;
        let image = around.model.send(handle.id, (producer, batch));
        self.scratch.clear();
        self.scratch.extend_from_slice(image);
        set_handle(&mut self.scratch, number);
        handle.balance_bytes -= self.scratch.len() as i64;
        around.coverage.count(Event::Batch);
        if is_resend {
            handle.resent += 1;
            around.coverage.count(Event::Resend);
        } else if is_jump {
            around.coverage.count(Event::Jump);
        } else {
            handle.fresh_number += 1;
            handle.sent = batch;
        }
        let (place, bytes) = (self.place, self.scratch.len());
        around.tell(|| format!("client {place} sends batch {batch} of {bytes} B through {number}"));
        if let Some(wire) = &self.wire {
            wire.borrow_mut().say(&self.scratch);
        }
    }

    /// It has read all there is: of what it conflates it has the newest values.
    ///
    /// # Panics
    /// If one was left out, and there was room.
    pub fn assert_newest(&self, around: &mut Around<'_>) {
        for (number, handle) in &self.handles {
            if !handle.reads || handle.policy != Policy::Conflate {
                continue;
            }
            let newest = around.model.newest(handle.id, handle.begun_at, handle.next);
            around.coverage.add(Event::NewestJudged, newest.len() as u64);
            for (from, to) in &handle.left_out {
                let lost = newest.iter().find(|at| (*from..*to).contains(*at));
                around.coverage.count(match lost {
                    Some(_) => Event::ConflateLost,
                    None => Event::Conflated,
                });
                let who = format!("client {}, handle {number}", self.place);
                let may_lose = lost.is_none() || !around.setting.is_roomy();
                assert!(may_lose, "{who}: {lost:?} holds a newest value, and was left out");
            }
        }
    }

    /// Whether credit is to come back to it.
    pub fn is_owed_credit(&self, setting: &Setting) -> bool {
        let is_owed = |handle: &Handle| {
            let full = full_grant(setting, handle.name);
            handle.writes && !handle.is_closing && handle.balance_bytes < full
        };
        self.is_staying() && self.ended_by.is_none() && self.handles.values().any(is_owed)
    }

    /// What it is told when nothing is on its way any more, and it has taken everything.
    ///
    /// # Panics
    /// If something that must have been told was not.
    pub fn assert_answered(&self, setting: &Setting) {
        assert!(self.asked.is_empty(), "client {}: an open was not answered", self.place);
        assert_eq!(self.framing.pending_bytes(), 0, "the stream ends with a whole message");
        for (number, handle) in &self.handles {
            let who = format!("client {}, handle {number}", self.place);
            assert!(!handle.is_closing, "{who}: was not told that it is closed");
            assert!(!handle.is_over, "{who}: was not told that its policy has closed it");
            if !handle.writes {
                continue;
            }
            assert!(
                handle.answered >= handle.sent,
                "{who}: {} of {} answered",
                handle.answered,
                handle.sent
            );
            assert_eq!(handle.resends_told, handle.resent, "{who}: resends are told");
            let full = full_grant(setting, handle.name);
            assert_eq!(handle.balance_bytes, full, "{who}: all credit came back");
        }
    }
}

/// The credit that a handle is granted when nothing is short.
fn full_grant(setting: &Setting, name: usize) -> i64 {
    setting.full_credit(setting.names[name].check) as i64
}
