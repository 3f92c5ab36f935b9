//! Explanations: a fault's place in the delta and in the schema, put into words when asked.

use super::item::known_key;
use super::{Fault, Machine, Place};
use crate::fault::{Pointer, ValidationError};
use crate::frame::Inside;
use crate::program::{ANY, Program, Shape};

impl Machine {
    #[cold]
    pub(super) fn explain(
        &self,
        program: &Program,
        bytes: &[u8],
        fault: &Fault,
    ) -> ValidationError {
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

/// The key that begins at `offset`, as far as it is a text.
fn key_text(bytes: &[u8], offset: usize) -> String {
    let mut buffer = None;
    String::from_utf8_lossy(known_key(bytes, offset, &mut buffer)).into_owned()
}
