//! Values: what a form says of the item that begins here.

use super::{Machine, Phase, Step};
use crate::fault::Code;
use crate::frame::{Frame, Inside, NO_LENGTH};
use crate::head::{self, Head, INDEFINITE};
use crate::program::{Program, Shape};
use crate::{
    BIGNUM_BYTES_MAX, DEPTH_MAX, KEY_BYTES_MAX, TIMESTAMP_BYTES_MAX, number, text, timestamp,
};

impl Machine {
    /// One item, up to its content.
    pub(super) fn value(&mut self, program: &Program, bytes: &[u8], number: u16) -> Step {
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

    pub(super) fn enter(
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
}
