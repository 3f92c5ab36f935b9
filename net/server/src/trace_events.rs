//! Recordings as trace events in JSON, as viewers such as Perfetto's open them.
//!
//! One process, one thread for each core, named with its CPU; slices for turns and what they are made
//! of, reads and sleep; counters for ring depths and for what turns deal with. Written piece by piece
//! while it is read, so that no more than a piece is in memory besides the recordings. Source: "Trace
//! Event Format", the JSON object format.

use std::fmt::Write;

use crate::recording::{CoreRecording, Event};

/// Events of one piece.
const EVENTS_PER_PIECE: usize = 256;

/// The text of `recordings`, in pieces; `pid` is told as that of the process.
pub fn trace_events(recordings: Vec<CoreRecording>, pid: u32) -> impl Iterator<Item = String> {
    let origin_ns = recordings.iter().map(|recording| recording.start_ns).min().unwrap_or(0);
    let head = head(&recordings, pid);
    let tail = tail(&recordings);
    let bodies = recordings.into_iter().flat_map(move |recording| {
        let pieces = recording.events.len().div_ceil(EVENTS_PER_PIECE);
        (0..pieces).map(move |piece| {
            let from = piece * EVENTS_PER_PIECE;
            let end = (from + EVENTS_PER_PIECE).min(recording.events.len());
            let mut writer = Writer { text: String::new(), pid, core: recording.core, origin_ns };
            recording.events[from..end].iter().for_each(|event| writer.event(event));
            writer.text
        })
    });
    std::iter::once(head).chain(bodies).chain(std::iter::once(tail))
}

/// The names of process and threads; every later event begins with a comma.
fn head(recordings: &[CoreRecording], pid: u32) -> String {
    let mut text = String::from("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n");
    let _ = write!(
        text,
        "{{\"ph\":\"M\",\"pid\":{pid},\"tid\":0,\"name\":\"process_name\",\
         \"args\":{{\"name\":\"deltaworksd\"}}}}"
    );
    for CoreRecording { core, cpu, .. } in recordings {
        let tid = core + 1;
        let place = cpu.map_or_else(|| "not pinned".to_owned(), |cpu| format!("CPU {cpu}"));
        let _ = write!(
            text,
            ",\n{{\"ph\":\"M\",\"pid\":{pid},\"tid\":{tid},\"name\":\"thread_name\",\
             \"args\":{{\"name\":\"core {core} ({place})\"}}}}\
             ,\n{{\"ph\":\"M\",\"pid\":{pid},\"tid\":{tid},\"name\":\"thread_sort_index\",\
             \"args\":{{\"sort_index\":{core}}}}}"
        );
    }
    text
}

/// What was dropped, and the end.
fn tail(recordings: &[CoreRecording]) -> String {
    let mut text = String::from("\n],\"otherData\":{");
    for (place, recording) in recordings.iter().enumerate() {
        let CoreRecording { core, start_ns, end_ns, events, dropped_events, .. } = recording;
        let comma = if place == 0 { "" } else { "," };
        let _ = write!(
            text,
            "{comma}\"core {core}\":\"{} events in {:.3} ms, then {dropped_events} without room\"",
            events.len(),
            (end_ns - start_ns) as f64 / 1e6
        );
    }
    text.push_str("}}\n");
    text
}

struct Writer {
    text: String,
    pid: u32,
    core: usize,
    origin_ns: u64,
}

impl Writer {
    fn event(&mut self, event: &Event) {
        match *event {
            Event::Turn {
                start_ns,
                validated_ns,
                propagated_ns,
                end_ns,
                work,
                messages,
                batches,
                sends,
                images,
            } => {
                self.slice("turn", start_ns, end_ns, &[("work", work)]);
                let counts = [("messages", messages), ("batches", batches)];
                self.slice("validation", start_ns, validated_ns, &counts);
                let counts = [("sends", sends), ("images", images)];
                self.slice("propagation", validated_ns, propagated_ns, &counts);
                self.slice("reclamation", propagated_ns, end_ns, &[]);
                self.counter("ring depth", start_ns, &[("messages", messages)]);
                self.counter("done", end_ns, &[("batches", batches), ("images", images)]);
            }
            Event::Read { start_ns, end_ns, session, bytes } => {
                let counts = [("session", session), ("bytes", bytes)];
                self.slice("reception", start_ns, end_ns, &counts);
            }
            Event::Sleep { start_ns, end_ns } => self.slice("asleep", start_ns, end_ns, &[]),
        }
    }

    fn slice(&mut self, name: &str, start_ns: u64, end_ns: u64, values: &[(&str, u32)]) {
        let (pid, tid) = (self.pid, self.core + 1);
        let (ts, dur) = (us(start_ns - self.origin_ns), us(end_ns - start_ns));
        let _ = write!(
            self.text,
            ",\n{{\"ph\":\"X\",\"pid\":{pid},\"tid\":{tid},\"name\":\"{name}\",\"ts\":{ts},\"dur\":{dur}"
        );
        self.values(values);
    }

    fn counter(&mut self, name: &str, at_ns: u64, values: &[(&str, u32)]) {
        let (pid, core, ts) = (self.pid, self.core, us(at_ns - self.origin_ns));
        let _ = write!(
            self.text,
            ",\n{{\"ph\":\"C\",\"pid\":{pid},\"name\":\"core {core} {name}\",\"ts\":{ts}"
        );
        self.values(values);
    }

    fn values(&mut self, values: &[(&str, u32)]) {
        if values.is_empty() {
            self.text.push('}');
            return;
        }
        for (place, (name, value)) in values.iter().enumerate() {
            let before = if place == 0 { ",\"args\":{" } else { "," };
            let _ = write!(self.text, "{before}\"{name}\":{value}");
        }
        self.text.push_str("}}");
    }
}

/// Microseconds with the nanoseconds behind the point.
fn us(ns: u64) -> String {
    format!("{}.{:03}", ns / 1_000, ns % 1_000)
}
