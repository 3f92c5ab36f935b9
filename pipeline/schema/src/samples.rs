//! Samples: schemas of flat maps, and deltas that they accept, in every encoding that the quick ways know.
//!
//! For the tests that change each byte of them, and for benches.

use crate::compile::Schema;
use crate::kind::Kind;

/// A schema and what it accepts.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// What the deltas are.
    pub kind: Kind,
    /// The schema's text.
    pub text: &'static str,
    /// Deltas that it accepts.
    pub deltas: &'static [&'static [u8]],
}

impl Sample {
    /// The schema.
    ///
    /// # Panics
    /// If it has a flaw.
    pub fn schema(&self) -> Schema {
        match Schema::compile(self.kind, self.text) {
            Ok(schema) => schema,
            Err(error) => panic!("{error}: {}", self.text),
        }
    }
}

const EDIT: &str = r#"{"properties":{"op":{"enum":["ins","del","fmt"]},"pos":{"type":"uint32"},
    "user":{"type":"uint16"},"text":{"type":"string"},"done":{"type":"boolean"}}}"#;

/// All of them.
pub const ALL: &[Sample] = &[
    Sample {
        kind: Kind::Cbor,
        text: EDIT,
        deltas: &[
            b"\xa5\x62op\x63ins\x63pos\x1a\0\x12\x34\x56\x64user\x19\x02\x03\x64text\x69ninebytes\x64done\xf5",
            b"\xa5\x62op\x63del\x63pos\x07\x64user\x18\x55\x64text\x60\x64done\xf4",
            b"\xa5\x62op\x63fmt\x63pos\x17\x64user\0\x64text\x77exactly twenty-three of\x64done\xf4",
            b"\xa5\x62op\x63fmt\x63pos\x19\x30\x39\x64user\x10\x64text\x78\x19one more than twenty-four\x64done\xf4",
            // In another order, so that every worker guesses.
            b"\xa5\x64done\xf4\x62op\x63fmt\x63pos\x19\x30\x39\x64user\x10\x64text\x65later",
            b"\xa5\x62op\x63ins\x63pos\x0f\x64user\x18\x55\x64text\x68\xc3\xa9\xe6\xb0\xb4end\x64done\xf4",
        ],
    },
    Sample {
        kind: Kind::Cbor,
        text: r#"{"properties":{"a":{"type":"int8"},"b":{"type":"int16"},"c":{"type":"int32"},
            "d":{"type":"uint8"}},"optionalProperties":{"e":{"type":"int32","nullable":true}}}"#,
        deltas: &[
            b"\xa4\x61a\x18\x7f\x61b\x19\x7f\xff\x61c\x1a\x7f\xff\xff\xff\x61d\x18\xff",
            b"\xa4\x61a\x38\x7f\x61b\x39\x7f\xff\x61c\x3a\x7f\xff\xff\xff\x61d\x17",
            b"\xa5\x61a\x29\x61b\x38\xff\x61c\x39\xff\xff\x61d\x18\x09\x61e\xf6",
            b"\xa5\x61a\x05\x61b\x18\xff\x61c\x19\xff\xff\x61d\x18\x09\x61e\x1a\0\0\0\x01",
        ],
    },
    Sample {
        kind: Kind::Cbor,
        text: r#"{"properties":{"price":{"type":"float64"},"ten bytes!":{"type":"float32"},
            "eightlet":{"type":"float64"},"n":{"type":"float64","nullable":true}}}"#,
        deltas: &[
            b"\xa4\x65price\xfb\x3f\xf0\0\0\0\0\0\0\x6aten bytes!\xfa\x3f\x80\0\0\x68eightlet\xf9\x3c\0\x61n\xf6",
            b"\xa4\x65price\x1b\0\0\0\0\0\0\0\x01\x6aten bytes!\x3b\0\0\0\0\0\0\0\x01\x68eightlet\x0a\x61n\xf9\x3c\0",
            b"\xa4\x65price\x05\x6aten bytes!\xfb\x3f\xf0\0\0\0\0\0\0\x68eightlet\xfb\x3f\xf0\0\0\0\0\0\0\x61n\xf6",
            b"\xa4\x65price\xf9\x3c\0\x6aten bytes!\x34\x68eightlet\x39\x01\0\x61n\xfb\x3f\xf0\0\0\0\0\0\0",
        ],
    },
    Sample {
        kind: Kind::Cbor,
        text: r#"{"optionalProperties":{"side":{"enum":["buy","sell",""],"nullable":true},
            "at":{"type":"timestamp"},"any":{},"long":{"enum":["a rather long text","another one"]},
            "eightlet":{"type":"string"},"fifteen letters":{"type":"boolean","nullable":true}}}"#,
        deltas: &[
            b"\xa2\x64side\x63buy\x62at\x742026-11-21T10:00:00Z",
            b"\xa3\x64side\x60\x63any\xf5\x64long\x6banother one",
            b"\xa4\x64side\x64sell\x63any\x6bsome text..\x68eightlet\x64text\x6ffifteen letters\xf4",
            b"\xa3\x63any\xfb\x3f\xf0\0\0\0\0\0\0\x68eightlet\x60\x6ffifteen letters\xf6",
            b"\xa3\x64side\xf6\x68eightlet\x6csome text...\x64long\x72a rather long text",
            b"\xa1\x64side\x63buy",
            b"\xa0",
        ],
    },
    Sample {
        kind: Kind::Cbor,
        text: r#"{"properties":{"a key of 20 letters!":{"type":"boolean"}}}"#,
        deltas: &[b"\xa1\x74a key of 20 letters!\xf5"],
    },
    Sample {
        kind: Kind::Rows,
        text: EDIT,
        deltas: &[
            b"\x83\0\x1a\0\x12\x34\x56\xa5\x62op\x63ins\x63pos\x18\x20\x64user\x01\x64text\x62hi\x64done\xf5",
            b"\x83\x01\x69record id\xa2\x63pos\x18\x20\x64done\xf5",
            b"\x83\x01\x44\xff\0\xff\0\xa2\x62op\x63ins\x64text\x69ninebytes",
            b"\x83\x02\x07\xa5\x62op\x63ins\x63pos\x07\x64user\x01\x64text\x62hi\x64done\xf5",
        ],
    },
];

/// Every delta that a change of one byte of `delta` makes.
pub fn bent(delta: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    (0..delta.len()).flat_map(move |place| {
        (0..=255).map(move |byte| {
            let mut bent = delta.to_vec();
            bent[place] = byte;
            bent
        })
    })
}
