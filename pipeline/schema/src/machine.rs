//! The machine: walks one delta under a schema, in steps, and can stop inside it.
//!
//! A worker owns it and uses it for one delta after another. Its size is fixed (about 10 KiB: a
//! frame for each level of depth, 64 key places each, and eight stencils); it never allocates, never calls itself,
//! and never looks at a byte twice but for the keys that it compares and for a map whose
//! discriminator does not come first. Out of steps, it says so and goes on where it stands.
//!
//! ```text
//! Fresh ─▶ Value(form) ─▶ Text / Chunks ─▶ Next ─▶ Value … ─▶ Done
//!             └── array, map, tag: push a frame ──▲  └─ end: pop
//! ```

mod explain;
mod item;
mod value;

use crate::compile::Schema;
use crate::fault::{Code, ValidationError};
use crate::frame::{Frame, Inside};
use crate::head::{self, BREAK, Head, INDEFINITE};
use crate::kind::Kind;
use crate::program::{ANY, Program};
use crate::stencil::{self, Stencils};
use crate::text::{self, BYTES_PER_STEP};
use crate::{DELTA_BYTES_MAX, DEPTH_MAX, OTHER_KEYS_UNORDERED_MAX, flat, straight};

/// How far a check has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// The delta is well-formed and the schema accepts it.
    Valid,
    /// It is not; [`Machine::error`] says why.
    Invalid,
    /// The steps are used up; [`Machine::run`] goes on.
    OutOfSteps,
}

/// The state of one check, which may be interrupted.
///
/// **Call [`Machine::start`], then [`Machine::run`] with the same schema and bytes until it says
/// `Valid` or `Invalid`; then, if `Invalid`, [`Machine::error`].** [`Machine::check`] is the first
/// two. Other bytes in between give a wrong answer; another schema, that or a panic.
#[derive(Debug)]
pub struct Machine {
    phase: Phase,
    position: usize,
    depth: usize,
    /// Steps that were done and not yet paid for.
    debt: u32,
    /// Bytes that were gone back over because a discriminator's property did not come first.
    reread_bytes: usize,
    fault: Option<Fault>,
    frames: [Frame; DEPTH_MAX],
    /// For each frame, where its first keys outside of the schema begin, the smallest key first.
    others: [[u16; OTHER_KEYS_UNORDERED_MAX]; DEPTH_MAX],
    hints: flat::Hints,
    stencils: Stencils,
}

/// Deltas of one length that are looked at one after the other: see [`Machine::overlay`].
#[derive(Debug)]
pub struct Overlay<'a> {
    inner: stencil::Overlay<'a>,
    phase: &'a mut Phase,
}

impl Overlay<'_> {
    /// Whether the delta, which has the length, is valid, as far as one look tells: [`Machine::check`] would accept
    /// it, with as many steps as [`Machine::STEPS_AT_ONCE`]. `false` says nothing.
    #[inline(always)]
    pub fn fits(&self, delta: &[u8]) -> bool {
        self.inner.fits(delta)
    }

    /// The steps that [`Machine::check`] would take off for each.
    #[inline(always)]
    pub fn steps(&self) -> u32 {
        self.inner.steps()
    }

    /// So many fitted, and were taken for valid.
    #[inline(always)]
    pub fn count(&mut self, deltas: u32) {
        if deltas > 0 {
            self.inner.count(deltas);
            *self.phase = Phase::Done(Progress::Valid);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Fresh,
    /// An item begins, under a form.
    Value(u16),
    /// An item has ended.
    Next,
    /// Inside a definite text, or a piece of a text.
    Text {
        end: usize,
        is_piece: bool,
    },
    /// Inside a string of indefinite length, before a piece or its break.
    Chunks {
        major: u8,
    },
    Done(Progress),
}

/// Where in a schema a fault is, seen from a form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Form,
    Keyword,
    Mapping,
    Property(u16),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Fault {
    code: Code,
    offset: usize,
    form: u16,
    place: Place,
    /// It is of the innermost frame's current item, and not of the frame itself.
    is_item: bool,
    /// How the collecting mode goes on; malformed deltas have no more errors.
    resume: Option<Phase>,
}

type Step = Result<Phase, Fault>;

/// Who hears of a fault, and says whether to go on.
trait Listener {
    fn hear(&mut self, machine: &Machine, program: &Program, bytes: &[u8], fault: &Fault) -> bool;
}

struct First;

impl Listener for First {
    #[inline]
    fn hear(&mut self, _: &Machine, _: &Program, _: &[u8], _: &Fault) -> bool {
        false
    }
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// A machine for any schema.
    pub fn new() -> Self {
        Self {
            phase: Phase::Fresh,
            position: 0,
            depth: 0,
            debt: 0,
            reread_bytes: 0,
            fault: None,
            frames: [Frame::EMPTY; DEPTH_MAX],
            others: [[0; OTHER_KEYS_UNORDERED_MAX]; DEPTH_MAX],
            hints: flat::Hints::default(),
            stencils: Stencils::default(),
        }
    }

    /// Forgets the check before, whether it was done or not.
    #[inline]
    pub fn start(&mut self) {
        self.phase = Phase::Fresh;
        self.position = 0;
        self.depth = 0;
        self.debt = 0;
        self.reread_bytes = 0;
        self.fault = None;
    }

    /// [`Machine::start`] and [`Machine::run`].
    #[inline]
    pub fn check(&mut self, schema: &Schema, bytes: &[u8], steps: &mut u32) -> Progress {
        if self.is_accepted(schema, bytes, steps) {
            return Progress::Valid;
        }
        self.start();
        self.walk(schema, bytes, steps, &mut First)
    }

    /// Whether deltas of `delta_bytes` each, which stand back to back in `bytes` and are checked one after
    /// another, are all valid, as far as one look at them tells; then it takes off what
    /// [`Machine::check`] would have for each. `false` says nothing, and takes nothing.
    #[inline]
    pub fn are_alike(
        &mut self,
        schema: &Schema,
        bytes: &[u8],
        delta_bytes: usize,
        count: u32,
        steps: &mut u32,
    ) -> bool {
        if bytes.len() != delta_bytes * count as usize {
            return false;
        }
        let taken = self.stencils.accept_all(schema, bytes, delta_bytes, count, *steps);
        if let Some(taken) = taken {
            *steps -= taken;
            self.phase = Phase::Done(Progress::Valid);
        }
        taken.is_some()
    }

    /// How many steps must be left for an [`Overlay`] to tell anything.
    pub const STEPS_AT_ONCE: u32 = flat::STEPS_MAX;

    /// A way to look at deltas of `delta_bytes` each, one after the other; none if none is known that calls nothing.
    #[inline(always)]
    pub fn overlay(&mut self, schema: &Schema, delta_bytes: usize) -> Option<Overlay<'_>> {
        let Self { stencils, phase, .. } = self;
        Some(Overlay { inner: stencils.overlay(schema, delta_bytes)?, phase })
    }

    /// Goes on with the check of one delta for at most `steps` steps, and takes off those that it
    /// used. A step is one item, one key or comparison of keys, or 64 bytes of text. What is begun
    /// is ended: up to some hundred steps too many (the comparisons of one long key) are done, and
    /// paid for by the next call. How many steps a delta takes depends on nothing but its bytes,
    /// the schema, and the numbers of steps given.
    #[inline]
    pub fn run(&mut self, schema: &Schema, bytes: &[u8], steps: &mut u32) -> Progress {
        if self.phase == Phase::Fresh && self.debt == 0 && self.is_accepted(schema, bytes, steps) {
            return Progress::Valid;
        }
        self.walk(schema, bytes, steps, &mut First)
    }

    /// The first error of the delta, when [`Machine::run`] has said `Invalid` of the same bytes.
    /// Cost: allocates its two paths.
    ///
    /// # Panics
    /// When it has not.
    pub fn error(&self, schema: &Schema, bytes: &[u8]) -> ValidationError {
        let fault = self.fault.as_ref().expect("`run` has said `Invalid`");
        self.explain(&schema.program, bytes, fault)
    }

    /// All errors of a delta, in its order: after an error of the schema the check goes on as if
    /// that value were accepted. A malformed delta has no further errors.
    #[cfg(feature = "testing")]
    pub fn collect(&mut self, schema: &Schema, bytes: &[u8]) -> Vec<ValidationError> {
        struct All(Vec<ValidationError>);
        impl Listener for All {
            fn hear(
                &mut self,
                machine: &Machine,
                program: &Program,
                bytes: &[u8],
                fault: &Fault,
            ) -> bool {
                self.0.push(machine.explain(program, bytes, fault));
                true
            }
        }
        self.start();
        let mut all = All(Vec::new());
        let mut steps = u32::MAX;
        while self.walk(schema, bytes, &mut steps, &mut all) == Progress::OutOfSteps {
            steps = u32::MAX;
        }
        all.0
    }

    /// The general way alone, without the quick one: for tests that compare the two.
    #[cfg(feature = "testing")]
    pub fn run_general(&mut self, schema: &Schema, bytes: &[u8], steps: &mut u32) -> Progress {
        self.walk(schema, bytes, steps, &mut First)
    }

    /// The quick way alone, without the shorter ones before it: whether it accepts the delta.
    #[cfg(feature = "testing")]
    pub fn run_quick(&mut self, schema: &Schema, bytes: &[u8], steps: &mut u32) -> bool {
        let way = flat::check(schema, bytes, &mut self.hints, *steps);
        *steps -= way.steps;
        way.is_valid
    }

    /// The steps of a delta that a stencil fits.
    #[cfg(feature = "testing")]
    pub fn fits(&mut self, schema: &Schema, bytes: &[u8]) -> Option<u32> {
        self.stencils.accept(schema, bytes)
    }

    /// Tries the ways that say nothing but yes.
    #[inline]
    fn is_accepted(&mut self, schema: &Schema, bytes: &[u8], steps: &mut u32) -> bool {
        if *steps >= flat::STEPS_MAX
            && let Some(taken) = self.stencils.accept(schema, bytes)
        {
            *steps -= taken;
            self.phase = Phase::Done(Progress::Valid);
            return true;
        }
        self.is_quickly_accepted(schema, bytes, steps)
    }

    #[inline(never)]
    fn is_quickly_accepted(&mut self, schema: &Schema, bytes: &[u8], steps: &mut u32) -> bool {
        if schema.kind() == Kind::Opaque {
            return false;
        }
        let way = match straight::check(schema, bytes, *steps) {
            Some(steps) => flat::Way { is_valid: true, steps },
            None => flat::check(schema, bytes, &mut self.hints, *steps),
        };
        *steps -= way.steps;
        if way.is_valid {
            self.stencils.learn(schema, bytes, way.steps);
            self.phase = Phase::Done(Progress::Valid);
        }
        way.is_valid
    }

    fn walk(
        &mut self,
        schema: &Schema,
        bytes: &[u8],
        steps: &mut u32,
        listener: &mut impl Listener,
    ) -> Progress {
        if let Phase::Done(progress) = self.phase {
            return progress;
        }
        let paid = self.debt.min(*steps);
        self.debt -= paid;
        *steps -= paid;
        loop {
            if *steps == 0 {
                return Progress::OutOfSteps;
            }
            let mut cost = 1;
            let next = match self.phase {
                Phase::Fresh => self.begin(schema, bytes),
                Phase::Value(form) => self.value(&schema.program, bytes, form),
                Phase::Next => self.next(&schema.program, bytes, &mut cost),
                Phase::Text { end, is_piece } => self.text(bytes, end, is_piece, &mut cost),
                Phase::Chunks { major } => self.chunk(bytes, major),
                Phase::Done(progress) => return progress,
            };
            self.debt = cost.saturating_sub(*steps);
            *steps = steps.saturating_sub(cost);
            self.phase = match next {
                Ok(phase) => phase,
                Err(fault) => {
                    let goes_on = listener.hear(self, &schema.program, bytes, &fault);
                    match fault.resume {
                        Some(phase) if goes_on => phase,
                        _ => {
                            self.fault = Some(fault);
                            Phase::Done(Progress::Invalid)
                        }
                    }
                }
            };
            if let Phase::Done(progress) = self.phase {
                return progress;
            }
        }
    }

    fn begin(&mut self, schema: &Schema, bytes: &[u8]) -> Step {
        let malformed = |code| Err(self.malformed(code, 0));
        match schema.kind() {
            _ if bytes.len() > DELTA_BYTES_MAX => malformed(Code::TooLong),
            Kind::Opaque => Ok(Phase::Done(Progress::Valid)),
            Kind::Cbor => Ok(Phase::Value(schema.program.root)),
            Kind::Rows => {
                let head = self.head(bytes, 0)?;
                let is_size = head.info == INDEFINITE || matches!(head.argument, 2 | 3);
                if head.major != head::ARRAY || !is_size {
                    return malformed(Code::RowShape);
                }
                self.position = head.end;
                self.enter(bytes, Inside::Row, schema.program.root, &head, 1)
            }
        }
    }

    /// A slice of a text.
    fn text(&mut self, bytes: &[u8], end: usize, is_piece: bool, cost: &mut u32) -> Step {
        let rest = bytes.get(self.position..end).unwrap_or_default();
        match text::utf8_slice(rest) {
            Ok(length) => {
                *cost += (length / BYTES_PER_STEP) as u32;
                self.position += length;
            }
            Err(place) => return Err(self.malformed(Code::BadUtf8, self.position + place)),
        }
        match (self.position < end, is_piece) {
            (true, _) => Ok(Phase::Text { end, is_piece }),
            (false, true) => Ok(Phase::Chunks { major: head::TEXT }),
            (false, false) => Ok(Phase::Next),
        }
    }

    /// A piece of a string, or its end.
    fn chunk(&mut self, bytes: &[u8], major: u8) -> Step {
        let at = self.position;
        if bytes.get(at) == Some(&BREAK) {
            self.position += 1;
            return Ok(Phase::Next);
        }
        let content =
            text::chunk_head(bytes, at, major).map_err(|code| self.malformed(code, at))?;
        if major == head::BYTES || content.is_empty() {
            self.position = content.end;
            return Ok(Phase::Chunks { major });
        }
        self.position = content.start;
        Ok(Phase::Text { end: content.end, is_piece: true })
    }

    fn head(&self, bytes: &[u8], at: usize) -> Result<Head, Fault> {
        head::read(bytes, at).map_err(|code| self.malformed(code, at))
    }

    #[cold]
    fn malformed(&self, code: Code, offset: usize) -> Fault {
        let is_item = self.depth > 0 && self.frames[self.depth - 1].begun > 0;
        Fault { code, offset, form: ANY, place: Place::Form, is_item, resume: None }
    }

    /// What should be a key is none, so the map is the place.
    #[cold]
    fn bad_key(&self, code: Code, offset: usize) -> Fault {
        Fault { is_item: false, ..self.malformed(code, offset) }
    }

    /// The value that begins here is none of the form's.
    fn breaks(&self, code: Code, form: u16) -> Fault {
        Fault {
            code,
            offset: self.position,
            form,
            place: Place::Keyword,
            is_item: true,
            resume: Some(Phase::Value(ANY)),
        }
    }
}
