//! The machine: walks one delta under a schema, in steps, and can stop inside it.
//!
//! A worker owns it and uses it for one delta after another. Its size is fixed (about 6 KiB: a
//! frame for each level of depth, and 64 key places each); it never allocates, never calls itself,
//! and never looks at a byte twice but for the keys that it compares and for a map whose
//! discriminator does not come first. Out of steps, it says so and goes on where it stands.
//!
//! ```text
//! Fresh ─▶ Value(form) ─▶ Text / Chunks ─▶ Next ─▶ Value … ─▶ Done
//!             └── array, map, tag: push a frame ──▲  └─ end: pop
//! ```

use crate::compile::Schema;
use crate::fault::{Code, Pointer, ValidationError};
use crate::frame::{Frame, Inside, NO_LENGTH};
use crate::head::{self, BREAK, Head, INDEFINITE};
use crate::kind::Kind;
use crate::program::{ANY, Program, Shape};
use crate::text::{self, BYTES_PER_STEP};
use crate::{
    BIGNUM_BYTES_MAX, DELTA_BYTES_MAX, DEPTH_MAX, KEY_BYTES_MAX, OTHER_KEYS_UNORDERED_MAX,
    RECORD_ID_BYTES_MAX, REREAD_FACTOR_MAX, TIMESTAMP_BYTES_MAX, flat, number, timestamp,
};

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
/// two. Other bytes or another schema in between give a wrong answer, but no panic.
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
        self.start();
        self.run(schema, bytes, steps)
    }

    /// Goes on with the check of one delta for at most `steps` steps, and takes off those that it
    /// used. A step is one item, one key or comparison of keys, or 64 bytes of text. What is begun
    /// is ended: up to some hundred steps too many (the comparisons of one long key) are done, and
    /// paid for by the next call. How many steps a delta takes depends on nothing but its bytes,
    /// the schema, and the numbers of steps given.
    #[inline]
    pub fn run(&mut self, schema: &Schema, bytes: &[u8], steps: &mut u32) -> Progress {
        if self.phase == Phase::Fresh && schema.kind() != Kind::Opaque && self.debt == 0 {
            let way = flat::check(schema, bytes, &mut self.hints, *steps);
            *steps -= way.steps;
            if way.is_valid {
                self.phase = Phase::Done(Progress::Valid);
                return Progress::Valid;
            }
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

    /// One item, up to its content.
    fn value(&mut self, program: &Program, bytes: &[u8], number: u16) -> Step {
        let at = self.position;
        let form = program.forms[usize::from(number)];
        let head = self.head(bytes, at)?;
        match head.major {
            head::UNSIGNED | head::NEGATIVE => {
                let is_negative = head.major == head::NEGATIVE;
                match form.shape {
                    Shape::Any | Shape::Number => {}
                    Shape::Integer { min, max }
                        if number::integer_within(is_negative, head.argument, min, max) => {}
                    Shape::Integer { .. } => return Err(self.breaks(Code::OutOfRange, number)),
                    _ => return Err(self.breaks(Code::WrongType, number)),
                }
                self.position = head.end;
                Ok(Phase::Next)
            }
            head::BYTES if form.shape != Shape::Any => Err(self.breaks(Code::WrongType, number)),
            head::BYTES if head.info == INDEFINITE => {
                self.position = head.end;
                Ok(Phase::Chunks { major: head::BYTES })
            }
            head::BYTES => {
                let content = text::content(bytes, head.end, head.argument);
                self.position = content.map_err(|code| self.malformed(code, at))?.end;
                Ok(Phase::Next)
            }
            head::TEXT => match form.shape {
                Shape::Any | Shape::Text if head.info == INDEFINITE => {
                    self.position = head.end;
                    Ok(Phase::Chunks { major: head::TEXT })
                }
                Shape::Any | Shape::Text => {
                    let content = text::content(bytes, head.end, head.argument)
                        .map_err(|code| self.malformed(code, at))?;
                    self.position = content.start;
                    if text::is_short_ascii(&bytes[content.clone()]) {
                        self.position = content.end;
                        return Ok(Phase::Next);
                    }
                    Ok(Phase::Text { end: content.end, is_piece: false })
                }
                Shape::Enum(_) | Shape::Timestamp => {
                    self.special(program, bytes, &head, number, form.shape)
                }
                _ => Err(self.breaks(Code::WrongType, number)),
            },
            head::ARRAY => match form.shape {
                Shape::Any => self.enter(bytes, Inside::Array, number, &head, 1),
                Shape::Elements(child) => self.enter(bytes, Inside::Array, child, &head, 1),
                _ => Err(self.breaks(Code::WrongType, number)),
            },
            head::MAP => match form.shape {
                Shape::Any | Shape::Properties(_) | Shape::Values(_) => {
                    self.enter(bytes, Inside::Map, number, &head, 2)
                }
                Shape::Union(_) => self.enter(bytes, Inside::Search, number, &head, 2),
                _ => Err(self.breaks(Code::WrongType, number)),
            },
            head::TAG => self.tag(bytes, &head, number, form.shape),
            _ => self.simple(&head, number, form.shape, form.nullable),
        }
    }

    /// A text that is compared as a whole.
    fn special(
        &mut self,
        program: &Program,
        bytes: &[u8],
        head: &Head,
        number: u16,
        shape: Shape,
    ) -> Step {
        let accepts = |text: &[u8]| match shape {
            Shape::Enum(names) => program.enums[usize::from(names)].find(text).is_some(),
            _ => text.len() <= TIMESTAMP_BYTES_MAX && timestamp::is_timestamp(text),
        };
        let (accepted, end) = if head.info == INDEFINITE {
            let mut buffer = [0; KEY_BYTES_MAX];
            let (length, end) = text::gather(bytes, head.end, &mut buffer)
                .map_err(|(code, at)| self.malformed(code, at))?;
            (length.is_some_and(|length| accepts(&buffer[..length])), end)
        } else {
            let content = text::content(bytes, head.end, head.argument)
                .map_err(|code| self.malformed(code, self.position))?;
            (accepts(&bytes[content.clone()]), content.end)
        };
        if !accepted {
            let is_enum = matches!(shape, Shape::Enum(_));
            let code = if is_enum { Code::NotInEnum } else { Code::NotATimestamp };
            return Err(self.breaks(code, number));
        }
        self.position = end;
        Ok(Phase::Next)
    }

    fn tag(&mut self, bytes: &[u8], head: &Head, number: u16, shape: Shape) -> Step {
        match (shape, head.argument) {
            (Shape::Any, _) => self.enter(bytes, Inside::Tag, number, head, 1),
            (Shape::Timestamp, 0) => {
                let inner = self.head(bytes, head.end)?;
                if inner.major != head::TEXT {
                    return Err(self.breaks(Code::WrongType, number));
                }
                // The tag goes without a frame: the text behind it is all that there may be.
                self.position = head.end;
                Ok(Phase::Value(number))
            }
            (Shape::Number | Shape::Integer { .. }, 2 | 3) => {
                let inner = self.head(bytes, head.end)?;
                if inner.major != head::BYTES {
                    return Err(self.breaks(Code::WrongType, number));
                }
                if inner.info == INDEFINITE || inner.argument > BIGNUM_BYTES_MAX as u64 {
                    return Err(self.breaks(Code::BignumRefused, number));
                }
                let content = text::content(bytes, inner.end, inner.argument)
                    .map_err(|code| self.malformed(code, head.end))?;
                if let Shape::Integer { min, max } = shape {
                    let magnitude = number::small_bignum(&bytes[content.clone()]);
                    let is_negative = head.argument == 3;
                    let fits = |size| number::integer_within(is_negative, size, min, max);
                    if !magnitude.is_some_and(fits) {
                        return Err(self.breaks(Code::OutOfRange, number));
                    }
                }
                self.position = content.end;
                Ok(Phase::Next)
            }
            _ => Err(self.breaks(Code::WrongType, number)),
        }
    }

    fn simple(&mut self, head: &Head, number: u16, shape: Shape, nullable: bool) -> Step {
        let malformed = |code| Err(self.malformed(code, self.position));
        let accepted = match head.info {
            20 | 21 => matches!(shape, Shape::Any | Shape::Boolean),
            22 => nullable || shape == Shape::Any,
            24 if head.argument < 32 => return malformed(Code::BadSimple),
            25..=27 => {
                let value = number::float(head.info, head.argument);
                match shape {
                    _ if !value.is_finite() => return malformed(Code::NotFinite),
                    Shape::Integer { min, max } if !number::float_within(value, min, max) => {
                        return Err(self.breaks(Code::OutOfRange, number));
                    }
                    _ => matches!(shape, Shape::Any | Shape::Number | Shape::Integer { .. }),
                }
            }
            INDEFINITE => return malformed(Code::UnexpectedBreak),
            _ => return malformed(Code::SimpleRefused),
        };
        if !accepted {
            return Err(self.breaks(Code::WrongType, number));
        }
        self.position = head.end;
        Ok(Phase::Next)
    }

    fn enter(
        &mut self,
        bytes: &[u8],
        inside: Inside,
        form: u16,
        head: &Head,
        item_bytes_min: u64,
    ) -> Step {
        if self.depth == DEPTH_MAX {
            return Err(self.malformed(Code::TooDeep, self.position));
        }
        let rest = (bytes.len() - head.end) as u64;
        let remaining = match inside {
            _ if head.info == INDEFINITE => NO_LENGTH,
            Inside::Tag => 1,
            _ if head.argument > rest / item_bytes_min => {
                return Err(self.malformed(Code::Truncated, self.position));
            }
            _ => head.argument as u32,
        };
        self.position = head.end;
        self.frames[self.depth] = Frame::new(inside, form, remaining, head.end as u32);
        self.depth += 1;
        Ok(Phase::Next)
    }

    /// What follows an item: another of the same frame, or the frame's end.
    fn next(&mut self, program: &Program, bytes: &[u8], cost: &mut u32) -> Step {
        let Some(level) = self.depth.checked_sub(1) else {
            if self.position < bytes.len() {
                return Err(self.malformed(Code::TrailingBytes, self.position));
            }
            return Ok(Phase::Done(Progress::Valid));
        };
        let frame = &mut self.frames[level];
        let at_end = match frame.remaining {
            NO_LENGTH => bytes.get(self.position) == Some(&BREAK),
            remaining => remaining == 0,
        };
        if at_end {
            return self.leave(program, level);
        }
        match frame.inside {
            Inside::Array | Inside::Tag => {
                frame.begin();
                Ok(Phase::Value(frame.form))
            }
            Inside::Map | Inside::Search => self.key(program, bytes, level, cost),
            Inside::Row => self.row(program, bytes, level),
        }
    }

    fn leave(&mut self, program: &Program, level: usize) -> Step {
        let frame = &mut self.frames[level];
        let form = frame.form;
        match (frame.inside, program.forms[usize::from(form)].shape) {
            (Inside::Search, _) => {
                frame.inside = Inside::Map;
                frame.form = ANY;
                return Err(Fault {
                    code: Code::MissingTag,
                    offset: self.position,
                    form,
                    place: Place::Keyword,
                    is_item: false,
                    resume: Some(Phase::Next),
                });
            }
            (Inside::Map, Shape::Properties(map)) => {
                let required = &program.maps[usize::from(map)].required;
                for (word, (required, seen)) in required.iter().zip(&mut frame.seen).enumerate() {
                    let missing = required & !*seen;
                    if missing != 0 {
                        let bit = missing.trailing_zeros();
                        *seen |= 1 << bit;
                        return Err(Fault {
                            code: Code::MissingProperty,
                            offset: self.position,
                            form,
                            place: Place::Property(word as u16 * 64 + bit as u16),
                            is_item: false,
                            resume: Some(Phase::Next),
                        });
                    }
                }
            }
            (Inside::Row, _) if frame.begun != if frame.operation == 3 { 2 } else { 3 } => {
                return Err(self.malformed(Code::RowShape, self.position));
            }
            _ => {}
        }
        if frame.remaining == NO_LENGTH {
            self.position += 1;
        }
        self.depth = level;
        Ok(Phase::Next)
    }

    /// The next element of a row.
    fn row(&mut self, program: &Program, bytes: &[u8], level: usize) -> Step {
        let (at, begun) = (self.position, self.frames[level].begun);
        let operation = self.frames[level].operation;
        if begun == 3 || (begun == 2 && operation == 3) {
            return Err(self.malformed(Code::RowShape, at));
        }
        self.frames[level].begin();
        if begun == 2 {
            let form = if operation == 1 { program.partial } else { program.root };
            return Ok(Phase::Value(form));
        }
        let head = self.head(bytes, at)?;
        if begun == 0 {
            if head.major != head::UNSIGNED || head.argument > 3 {
                return Err(self.malformed(Code::RowOperation, at));
            }
            self.frames[level].operation = head.argument as u8;
            self.position = head.end;
            return Ok(Phase::Next);
        }
        let is_string = matches!(head.major, head::BYTES | head::TEXT)
            && head.info != INDEFINITE
            && (1..=RECORD_ID_BYTES_MAX as u64).contains(&head.argument);
        match head.major {
            head::UNSIGNED => self.position = head.end,
            _ if is_string => {
                let content = text::content(bytes, head.end, head.argument)
                    .map_err(|code| self.malformed(code, at))?;
                if head.major == head::TEXT
                    && let Err(error) = std::str::from_utf8(&bytes[content.clone()])
                {
                    let place = content.start + error.valid_up_to();
                    return Err(self.malformed(Code::BadUtf8, place));
                }
                self.position = content.end;
            }
            _ => return Err(self.malformed(Code::RowId, at)),
        }
        Ok(Phase::Next)
    }

    /// A map's next key, wherever its text stands.
    fn key(&mut self, program: &Program, bytes: &[u8], level: usize, cost: &mut u32) -> Step {
        let at = self.position;
        self.frames[level].key = at as u32;
        self.frames[level].begin();
        let head = head::read(bytes, at).map_err(|code| self.bad_key(code, at))?;
        if head.major != head::TEXT {
            let is_break = bytes[at] == BREAK;
            let code = if is_break { Code::UnexpectedBreak } else { Code::KeyNotText };
            return Err(self.bad_key(code, at));
        }
        if head.info == INDEFINITE {
            return self.key_in_pieces(program, bytes, level, cost, head.end);
        }
        let content =
            text::content(bytes, head.end, head.argument).map_err(|code| self.bad_key(code, at))?;
        if content.len() > KEY_BYTES_MAX {
            return Err(self.bad_key(Code::KeyTooLong, at));
        }
        self.position = content.end;
        self.keyed(program, bytes, level, cost, &bytes[content])
    }

    #[cold]
    fn key_in_pieces(
        &mut self,
        program: &Program,
        bytes: &[u8],
        level: usize,
        cost: &mut u32,
        at: usize,
    ) -> Step {
        let mut buffer = [0; KEY_BYTES_MAX];
        match text::gather(bytes, at, &mut buffer) {
            Err((code, at)) => Err(self.bad_key(code, at)),
            Ok((None, _)) => Err(self.bad_key(Code::KeyTooLong, self.position)),
            Ok((Some(length), end)) => {
                *cost += ((end - at) / BYTES_PER_STEP) as u32;
                self.position = end;
                self.keyed(program, bytes, level, cost, &buffer[..length])
            }
        }
    }

    /// The value of a key, whose text is known.
    fn keyed(
        &mut self,
        program: &Program,
        bytes: &[u8],
        level: usize,
        cost: &mut u32,
        key: &[u8],
    ) -> Step {
        *cost += (key.len() / BYTES_PER_STEP) as u32;
        let frame = &mut self.frames[level];
        let form = frame.form;
        match (program.forms[usize::from(form)].shape, frame.inside) {
            (Shape::Union(union), Inside::Search) => {
                let union = &program.unions[usize::from(union)];
                if union.tag.as_bytes() == key {
                    return self.found_tag(program, bytes, level, form);
                }
                if let Err(error) = std::str::from_utf8(key) {
                    let place = frame.key as usize + error.valid_up_to();
                    return Err(self.malformed(Code::BadUtf8, place));
                }
                Ok(Phase::Value(ANY))
            }
            (Shape::Properties(map), _) => {
                let map = &program.maps[usize::from(map)];
                let Some(number) = map.keys.find(key) else {
                    self.other(bytes, level, key, cost)?;
                    if !map.additional {
                        return Err(Fault {
                            code: Code::AdditionalProperty,
                            offset: self.frames[level].key as usize,
                            form,
                            place: Place::Form,
                            is_item: true,
                            resume: Some(Phase::Value(ANY)),
                        });
                    }
                    return Ok(Phase::Value(ANY));
                };
                let (word, bit) = (number / 64, 1 << (number % 64));
                if frame.seen[word] & bit != 0 {
                    let place = frame.key as usize;
                    return Err(self.malformed(Code::DuplicateKey, place));
                }
                frame.seen[word] |= bit;
                Ok(Phase::Value(map.children[number]))
            }
            (Shape::Values(child), _) => {
                self.other(bytes, level, key, cost)?;
                Ok(Phase::Value(child))
            }
            _ => {
                self.other(bytes, level, key, cost)?;
                Ok(Phase::Value(ANY))
            }
        }
    }

    /// Reads the discriminator's property, and starts the map again under what it names.
    fn found_tag(&mut self, program: &Program, bytes: &[u8], level: usize, form: u16) -> Step {
        let Shape::Union(union) = program.forms[usize::from(form)].shape else {
            return Ok(Phase::Value(ANY));
        };
        let union = &program.unions[usize::from(union)];
        let at = self.position;
        let head = self.head(bytes, at)?;
        let mut buffer = [0; KEY_BYTES_MAX];
        let found = if head.major != head::TEXT {
            Err((Code::TagNotText, Place::Keyword))
        } else if head.info == INDEFINITE {
            let (length, _) = text::gather(bytes, head.end, &mut buffer)
                .map_err(|(code, at)| self.malformed(code, at))?;
            length
                .and_then(|length| union.names.find(&buffer[..length]))
                .ok_or((Code::UnknownTag, Place::Mapping))
        } else {
            let content = text::content(bytes, head.end, head.argument)
                .map_err(|code| self.malformed(code, at))?;
            union.names.find(&bytes[content]).ok_or((Code::UnknownTag, Place::Mapping))
        };
        let frame = &mut self.frames[level];
        frame.inside = Inside::Map;
        match found {
            Ok(_)
                if self.reread_bytes + at
                    > REREAD_FACTOR_MAX * bytes.len() + frame.body as usize =>
            {
                Err(self.malformed(Code::TagTooLate, at))
            }
            Ok(name) => {
                self.reread_bytes += at - frame.body as usize;
                frame.form = union.children[name];
                frame.rewind();
                self.position = frame.body as usize;
                Ok(Phase::Next)
            }
            // The search has ended; whoever collects goes on with the value, and what follows it.
            Err((code, place)) => {
                frame.form = ANY;
                Err(Fault {
                    code,
                    offset: at,
                    form,
                    place,
                    is_item: true,
                    resume: Some(Phase::Value(ANY)),
                })
            }
        }
    }

    /// A key outside of the schema: no such key may have come before.
    fn other(
        &mut self,
        bytes: &[u8],
        level: usize,
        key: &[u8],
        cost: &mut u32,
    ) -> Result<(), Fault> {
        let frame = &mut self.frames[level];
        let at = frame.key;
        if !text::is_short_ascii(key)
            && let Err(error) = std::str::from_utf8(key)
        {
            return Err(self.malformed(Code::BadUtf8, at as usize + error.valid_up_to()));
        }
        let known = &mut self.others[level];
        let count = usize::from(frame.others);
        if count == 0 {
            (known[0], frame.others, frame.last) = (at as u16, 1, at);
            return Ok(());
        }
        let mut compare = |offset: usize, lengths_first: bool| {
            *cost += 1 + (key.len() / BYTES_PER_STEP) as u32;
            compare_key_at(bytes, offset, key, lengths_first)
        };
        // In the order of RFC 8949, section 4.2.1, the last of the known keys is the greatest.
        let greatest = count.min(OTHER_KEYS_UNORDERED_MAX) - 1;
        let is_greatest = compare(usize::from(known[greatest]), true).is_lt();
        let ascends = frame.ascends && compare(frame.last as usize, false).is_lt();
        (frame.ascends, frame.last) = (ascends, at);
        if count >= OTHER_KEYS_UNORDERED_MAX {
            if !is_greatest && !ascends {
                let is_double =
                    known.iter().any(|&offset| compare(usize::from(offset), true).is_eq());
                let code = if is_double { Code::DuplicateKey } else { Code::KeysNotAscending };
                return Err(self.malformed(code, at as usize));
            }
            if is_greatest {
                known[greatest] = at as u16;
            }
            frame.others = OTHER_KEYS_UNORDERED_MAX as u16 + 1;
            return Ok(());
        }
        let place = if is_greatest {
            count
        } else {
            match known[..count].binary_search_by(|&offset| compare(usize::from(offset), true)) {
                Ok(_) => return Err(self.malformed(Code::DuplicateKey, at as usize)),
                Err(place) => place,
            }
        };
        known.copy_within(place..count, place + 1);
        known[place] = at as u16;
        frame.others += 1;
        Ok(())
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

    #[cold]
    fn explain(&self, program: &Program, bytes: &[u8], fault: &Fault) -> ValidationError {
        let mut instance = Pointer::default();
        for (level, frame) in self.frames[..self.depth].iter().enumerate() {
            if level + 1 == self.depth && !fault.is_item {
                break;
            }
            match frame.inside {
                Inside::Tag => {}
                Inside::Array | Inside::Row => {
                    instance.push(&frame.begun.saturating_sub(1).to_string());
                }
                Inside::Map | Inside::Search => instance.push(&key_text(bytes, frame.key as usize)),
            }
        }
        // Below what the schema does not describe, the nearest form that does is told.
        let form = match fault.form {
            ANY => self.frames[..self.depth]
                .iter()
                .rev()
                .map(|frame| frame.form)
                .find(|&form| form != ANY),
            form => Some(form),
        };
        let form =
            form.or(Some(program.root)).and_then(|form| program.forms.get(usize::from(form)));
        let mut schema = Pointer::default();
        if let Some(form) = form {
            schema = Pointer::from_whole(&program.paths[usize::from(form.path)]);
            match (fault.place, form.shape) {
                (Place::Keyword, shape) => {
                    if let Some(keyword) = program.keyword(shape) {
                        schema.push(keyword);
                    }
                }
                (Place::Mapping, _) => schema.push("mapping"),
                (Place::Property(number), Shape::Properties(map)) => {
                    schema.push("properties");
                    schema.push(program.maps[usize::from(map)].keys.name(usize::from(number)));
                }
                _ => {}
            }
        }
        ValidationError {
            offset_bytes: fault.offset as u32,
            code: fault.code,
            instance_path: instance.into_text(),
            schema_path: schema.into_text(),
        }
    }
}

/// How the key that begins at `offset`, which has been read before, stands to `key`.
fn compare_key_at(
    bytes: &[u8],
    offset: usize,
    key: &[u8],
    lengths_first: bool,
) -> std::cmp::Ordering {
    let mut buffer = None;
    let known = known_key(bytes, offset, &mut buffer);
    let by_length =
        if lengths_first { known.len().cmp(&key.len()) } else { std::cmp::Ordering::Equal };
    by_length.then_with(|| known.cmp(key))
}

fn known_key<'a>(
    bytes: &'a [u8],
    offset: usize,
    buffer: &'a mut Option<[u8; KEY_BYTES_MAX]>,
) -> &'a [u8] {
    let Ok(head) = head::read(bytes, offset) else { return &[] };
    if head.info != INDEFINITE {
        return text::content(bytes, head.end, head.argument)
            .map_or(&[], |content| &bytes[content]);
    }
    let buffer = buffer.insert([0; KEY_BYTES_MAX]);
    match text::gather(bytes, head.end, buffer) {
        Ok((Some(length), _)) => &buffer[..length],
        _ => &[],
    }
}

/// The key that begins at `offset`, as far as it is a text.
fn key_text(bytes: &[u8], offset: usize) -> String {
    let mut buffer = None;
    String::from_utf8_lossy(known_key(bytes, offset, &mut buffer)).into_owned()
}
