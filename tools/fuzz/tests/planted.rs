//! Planted faults: each corpus turns them red, or it would prove nothing.
//!
//! Every fault is a broken variant of the thing under test, handed to the body that is fuzzed.

use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use deltaworks::editing::{Bounds, Trace};
use deltaworks_fuzz::{
    config, control, frames, image, pipeline, schema, sessions, trace, validator,
};
use deltaworks_image::{ImageError, Inbound, Kind, Limits};
use deltaworks_pipeline::inline::{Event, Inline};
use deltaworks_protocol::ErrorCode;
use deltaworks_protocol::message::{ClientMessage, ServerMessage};
use deltaworks_protocol::{client, server};
use deltaworks_schema::{Code, Machine, Schema, SchemaFlaw};
use deltaworksd::config::{Config, Effective, Layers, Mistakes};

/// Whether a file of the target's corpus makes `body` panic.
fn is_red(target: &str, body: impl Fn(&[u8])) -> bool {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("a corpus")
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    files.iter().any(|file| {
        let data = fs::read(file).expect("readable");
        catch_unwind(AssertUnwindSafe(|| body(&data))).is_err()
    })
}

#[test]
fn a_framer_that_loses_a_byte_at_a_cut() {
    let broken = |pieces: &[&[u8]], limits: &Limits| {
        let mut pieces = pieces.to_vec();
        if let [.., first, _] = &mut pieces[..] {
            *first = &first[..first.len().saturating_sub(1)];
        }
        frames::framing(&pieces, limits)
    };
    assert!(is_red("frames", |data| frames::body(broken, data)));
}

#[test]
fn a_framer_that_takes_a_fault_for_the_end() {
    let broken = |pieces: &[&[u8]], limits: &Limits| frames::Framed {
        fault: None,
        ..frames::framing(pieces, limits)
    };
    assert!(is_red("frames", |data| frames::body(broken, data)));
}

/// Accepts bytes behind a message.
struct Trailing;

impl control::Decoder for Trailing {
    fn client<'a>(&self, kind: Kind, body: &'a [u8]) -> Result<ClientMessage<'a>, ErrorCode> {
        let shorter = |len| ClientMessage::decode(kind, &body[..len]).ok();
        (0..=body.len()).rev().find_map(shorter).ok_or(ErrorCode::ControlMalformed)
    }

    fn server<'a>(&self, kind: Kind, body: &'a [u8]) -> Result<ServerMessage<'a>, ErrorCode> {
        ServerMessage::decode(kind, body)
    }
}

/// Counts one resend too many.
struct Miscounts;

impl control::Decoder for Miscounts {
    fn client<'a>(&self, kind: Kind, body: &'a [u8]) -> Result<ClientMessage<'a>, ErrorCode> {
        ClientMessage::decode(kind, body)
    }

    fn server<'a>(&self, kind: Kind, body: &'a [u8]) -> Result<ServerMessage<'a>, ErrorCode> {
        match ServerMessage::decode(kind, body) {
            Ok(ServerMessage::Ack(mut ack)) => {
                ack.duplicates = ack.duplicates.wrapping_add(1);
                Ok(ServerMessage::Ack(ack))
            }
            told => told,
        }
    }
}

#[test]
fn a_decoder_that_accepts_trailing_bytes() {
    assert!(is_red("control", |data| control::body(&Trailing, data)));
}

#[test]
fn a_decoder_that_counts_one_resend_too_many() {
    assert!(is_red("control", |data| control::body(&Miscounts, data)));
}

/// What the check tells, but for the fault that `passes` lets pass.
fn lenient(image: &[u8], limits: &Limits, passes: ImageError) -> Result<Inbound, ImageError> {
    match image::check(image, limits) {
        Err(fault) if fault == passes => Ok(Inbound { handle: 0, producer_sequence: 1, count: 1 }),
        told => told,
    }
}

#[test]
fn a_check_that_ignores_padding() {
    let broken = |image: &[u8], limits: &Limits| lenient(image, limits, ImageError::Padding);
    assert!(is_red("image", |data| image::body(broken, data)));
}

#[test]
fn a_check_that_ignores_the_owners_fields() {
    let broken = |image: &[u8], limits: &Limits| lenient(image, limits, ImageError::OwnerField);
    assert!(is_red("image", |data| image::body(broken, data)));
}

#[test]
fn a_compiler_that_passes_over_unknown_keywords() {
    let broken = |kind, text: &str| match Schema::compile(kind, text) {
        Err(error) if error.flaw == SchemaFlaw::UnknownKeyword => Schema::compile(kind, "{}"),
        told => told,
    };
    assert!(is_red("schema", |data| schema::body(broken, data)));
}

#[test]
fn a_compiler_that_refuses_every_other_time() {
    let is_odd = Cell::new(false);
    let broken = |kind, text: &str| {
        is_odd.set(!is_odd.get());
        Schema::compile(kind, if is_odd.get() { text } else { "" })
    };
    assert!(is_red("schema", |data| schema::body(broken, data)));
}

/// Ignores one kind of error, or tells its place wrong.
struct Ignores(Code);
struct Misplaces;
/// Takes a delta for one that it has met, if it only has its length.
#[derive(Default)]
struct Remembers(Cell<u128>);

impl validator::Validator for Ignores {
    fn at_once(&self, machine: &mut Machine, schema: &Schema, delta: &[u8]) -> validator::Verdict {
        validator::Real.at_once(machine, schema, delta).filter(|error| error.code != self.0)
    }

    fn in_steps(
        &self,
        machine: &mut Machine,
        schema: &Schema,
        delta: &[u8],
        steps: u32,
    ) -> validator::Verdict {
        validator::Real.in_steps(machine, schema, delta, steps)
    }
}

impl validator::Validator for Remembers {
    fn at_once(&self, machine: &mut Machine, schema: &Schema, delta: &[u8]) -> validator::Verdict {
        let verdict = validator::Real.at_once(machine, schema, delta);
        let bit = 1 << (delta.len() % 128);
        if verdict.is_none() {
            self.0.set(self.0.get() | bit);
        }
        verdict.filter(|_| self.0.get() & bit == 0)
    }

    fn in_steps(
        &self,
        machine: &mut Machine,
        schema: &Schema,
        delta: &[u8],
        steps: u32,
    ) -> validator::Verdict {
        validator::Real.in_steps(machine, schema, delta, steps)
    }
}

impl validator::Validator for Misplaces {
    fn at_once(&self, machine: &mut Machine, schema: &Schema, delta: &[u8]) -> validator::Verdict {
        validator::Real.at_once(machine, schema, delta)
    }

    fn in_steps(
        &self,
        machine: &mut Machine,
        schema: &Schema,
        delta: &[u8],
        steps: u32,
    ) -> validator::Verdict {
        let mut verdict = validator::Real.in_steps(machine, schema, delta, steps);
        if let Some(error) = &mut verdict
            && steps == 1
        {
            error.offset_bytes += 1;
        }
        verdict
    }
}

#[test]
fn a_validator_that_ignores_one_kind_of_error() {
    for code in [Code::AdditionalProperty, Code::DuplicateKey, Code::BadUtf8, Code::RowShape] {
        let broken = Ignores(code);
        assert!(is_red("validator", |data| validator::body(&broken, data)), "{code:?}");
    }
}

#[test]
fn a_validator_that_takes_one_delta_for_another() {
    assert!(is_red("validator", |data| validator::body(&Remembers::default(), data)));
}

#[test]
fn a_machine_that_forgets_its_place_when_it_is_stopped() {
    assert!(is_red("validator", |data| validator::body(&Misplaces, data)));
}

/// Says hello whenever it says something.
struct Greets;
/// Loses the last message of a transmission, if it is an image.
struct Loses;

impl sessions::Writer for Greets {
    fn server(&self, session: &mut server::Session, config: &server::Config, out: &mut Vec<u8>) {
        session.poll_transmit(config, out);
        let first = out.first_chunk::<4>().map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize);
        out.extend_from_within(..first);
    }
}

impl sessions::Writer for Loses {
    fn client(&self, session: &mut client::Session, now_ns: u64, out: &mut Vec<u8>, max: usize) {
        let mut whole = Vec::new();
        session.poll_transmit(now_ns, &mut whole, max);
        let mut images = 0;
        while let Some(bytes) = whole.first_chunk::<4>() {
            let bytes = u32::from_le_bytes(*bytes) as usize;
            let is_image = whole[4] <= 2;
            images += usize::from(is_image);
            if !is_image || images != 2 {
                out.extend_from_slice(&whole[..bytes]);
            }
            whole.drain(..bytes);
        }
    }
}

#[test]
fn a_server_that_says_everything_twice() {
    assert!(is_red("sessions", |data| sessions::body(&Greets, data)));
}

#[test]
fn a_client_that_loses_a_batch() {
    assert!(is_red("sessions", |data| sessions::body(&Loses, data)));
}

/// Loses images, or acknowledgements; or forgets to count copies down.
struct LosesImages;
struct LosesAcks;
struct Leaks;

impl pipeline::Plant for LosesImages {
    fn told(&self, events: &mut Vec<Event>) {
        let mut images = 0;
        events.retain(|event| {
            let is_image = matches!(event, Event::Image(_));
            images += usize::from(is_image);
            !is_image || images != 2
        });
    }
}

impl pipeline::Plant for LosesAcks {
    fn told(&self, events: &mut Vec<Event>) {
        events.retain(|event| !matches!(event, Event::Ack(_)));
    }
}

impl pipeline::Plant for Leaks {
    fn begin(&self, world: &mut Inline) {
        world.plant_spill_leak(0, 1);
    }
}

#[test]
fn a_pipeline_that_loses_an_image() {
    assert!(is_red("pipeline", |data| pipeline::body(&LosesImages, data)));
}

#[test]
fn a_pipeline_that_loses_acknowledgements() {
    assert!(is_red("pipeline", |data| pipeline::body(&LosesAcks, data)));
}

#[test]
fn a_pipeline_that_leaks_copies_for_the_slow() {
    assert!(is_red("pipeline", |data| pipeline::body(&Leaks, data)));
}

#[test]
fn a_reader_of_traces_without_bounds() {
    let broken = |input: &[u8], _: &Bounds| Trace::read(input, &Bounds::default());
    assert!(is_red("trace", |data| trace::body(broken, data)));
}

#[test]
fn a_reader_of_traces_that_loses_a_patch() {
    let broken = |input: &[u8], bounds: &Bounds| {
        Trace::read(input, bounds).map(|mut trace| {
            trace.transactions.iter_mut().for_each(|patches| drop(patches.pop()));
            trace
        })
    };
    assert!(is_red("trace", |data| trace::body(broken, data)));
}

/// What the reader tells, with one value changed.
fn changed(layers: &Layers, change: impl Fn(&mut Config)) -> Result<Effective, Mistakes> {
    let mut effective = layers.combine()?;
    change(&mut effective.config);
    Ok(effective)
}

#[test]
fn a_reader_of_configurations_that_rounds_a_number() {
    let broken = |layers: &Layers| changed(layers, |config| config.idle_unload_seconds /= 2);
    assert!(is_red("config", |data| config::body(broken, data)));
}

#[test]
fn a_reader_of_configurations_that_refuses_without_a_word() {
    let broken = |layers: &Layers| layers.combine().map_err(|_| Mistakes::default());
    assert!(is_red("config", |data| config::body(broken, data)));
}
