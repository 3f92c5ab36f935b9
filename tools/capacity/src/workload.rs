//! What is asked of a machine: documents, batches, who writes, who reads, how fast.
//!
//! Read from TOML; a key that is not known is refused with its place, and every key has a default, so
//! that a file says only what matters.

use serde::{Deserialize, Serialize};

/// Documents at most.
pub const DOCUMENTS_MAX: u32 = 4_000_000;
/// Subscribers of a document, and connections, at most.
pub const SESSIONS_MAX: u32 = 100_000;

/// How documents are drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Law {
    /// Each as likely as any other.
    #[default]
    Uniform,
    /// The one of rank r with weight 1/r.
    Zipf,
}

/// What stands at both ends of the data path.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ends {
    /// Loopback TCP, as far as the kernel's part was measured.
    #[default]
    Tcp,
    /// The measuring harness, which writes and reads on the cores themselves.
    Harness,
    /// Nothing: what the stages could do if reading and sending were free.
    Free,
}

/// What is in a delta.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Collection {
    /// CBOR, checked by the schema that costs were measured with.
    #[default]
    Cbor,
    /// Bytes that nobody looks into: validation costs no delta and no byte.
    Opaque,
}

/// A workload file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// Documents.
    pub documents: u32,
    /// How they are drawn.
    pub law: Law,
    /// Deltas of a batch.
    pub batch: u32,
    /// Bytes of a delta.
    pub delta_bytes: u32,
    /// What is in a delta.
    pub collection: Collection,
    /// What stands at both ends.
    pub ends: Ends,
    /// Connections that publish; each document has one of them.
    pub publishers: u32,
    /// Subscribers of each document.
    pub subscribers: u32,
    /// Documents that one connection reads at most.
    pub documents_per_reader: u32,
    /// Subscribers of a document are on the core of its publisher, as in the harness; else anywhere.
    pub near: bool,
    /// The share of documents whose owner is on another core than their publisher; by default what the
    /// hash of names gives: all but one in as many as there are workers, or all where no core is both.
    pub crossing_share: Option<f64>,
    /// Deltas a second that publishers offer; without it, shares of what the machine can.
    pub rate: Option<f64>,
    /// How long the load has run since its documents were opened, in seconds: the first batch of each
    /// costs more. Without it, first batches are over.
    pub seconds: Option<f64>,
    /// Chunks of each session core; by default as many as the daemon's budget gives.
    pub chunks_per_core: Option<u32>,
    /// What the dice are thrown with.
    pub seed: u64,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            documents: 10_000,
            law: Law::Uniform,
            batch: 32,
            delta_bytes: 46,
            collection: Collection::Cbor,
            ends: Ends::Tcp,
            publishers: 64,
            subscribers: 8,
            documents_per_reader: 1024,
            near: false,
            crossing_share: None,
            rate: None,
            seconds: None,
            chunks_per_core: None,
            seed: 1,
        }
    }
}

impl Workload {
    /// The workload of a file's text.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let workload: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        workload.check()?;
        Ok(workload)
    }

    /// Whether it makes sense.
    ///
    /// # Errors
    /// The first value that does not.
    pub fn check(&self) -> Result<(), String> {
        let ranges = [
            ("documents", self.documents, DOCUMENTS_MAX),
            ("batch", self.batch, 4096),
            ("delta_bytes", self.delta_bytes, 65_536),
            ("publishers", self.publishers, SESSIONS_MAX),
            ("subscribers", self.subscribers, SESSIONS_MAX),
            ("documents_per_reader", self.documents_per_reader, DOCUMENTS_MAX),
            ("chunks_per_core", self.chunks_per_core.unwrap_or(1), 1 << 20),
        ];
        for (key, value, most) in ranges {
            if value == 0 || value > most {
                return Err(format!("{key}: {value} is not within 1 to {most}"));
            }
        }
        if self.rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
            return Err("rate: must be above 0".to_owned());
        }
        if self.seconds.is_some_and(|seconds| !seconds.is_finite() || seconds <= 0.0) {
            return Err("seconds: must be above 0".to_owned());
        }
        if self.crossing_share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err("crossing_share: must be within 0 to 1".to_owned());
        }
        Ok(())
    }

    /// Bytes of a batch's image: a header of one line, two bytes of table and the payload a delta, to a
    /// multiple of eight.
    pub fn image_bytes(&self) -> f64 {
        let deltas = u64::from(self.batch) * (2 + u64::from(self.delta_bytes));
        (IMAGE_HEADER_BYTES + deltas).next_multiple_of(8) as f64
    }
}

/// Bytes of an image's prelude and header.
pub const IMAGE_HEADER_BYTES: u64 = 56;
