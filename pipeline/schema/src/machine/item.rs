//! Items: what comes next in the array, map, tag or row that the machine is inside of, and the keys
//! of maps.

use super::{Fault, Machine, Phase, Place, Progress, Step};
use crate::fault::Code;
use crate::frame::{Inside, NO_LENGTH};
use crate::head::{self, BREAK, INDEFINITE};
use crate::program::{ANY, Program, Shape};
use crate::text::{self, BYTES_PER_STEP};
use crate::{KEY_BYTES_MAX, OTHER_KEYS_UNORDERED_MAX, RECORD_ID_BYTES_MAX, REREAD_FACTOR_MAX};

/// Bytes of a key in pieces that one step pays for: each piece may be two.
const BYTES_PER_PIECE_STEP: usize = 8;
/// What it costs to put a key together once more for a comparison.
const STEPS_PER_KEY_IN_PIECES: u32 = 16;

impl Machine {
    /// What follows an item: another of the same frame, or the frame's end.
    pub(super) fn next(&mut self, program: &Program, bytes: &[u8], cost: &mut u32) -> Step {
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
                *cost += ((end - at) / BYTES_PER_PIECE_STEP) as u32;
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
            if bytes.get(offset) == Some(&(head::TEXT << 5 | INDEFINITE)) {
                *cost += STEPS_PER_KEY_IN_PIECES;
            }
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

pub(super) fn known_key<'a>(
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
