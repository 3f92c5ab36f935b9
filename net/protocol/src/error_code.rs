//! The registry of numbered errors: one table, from which PROTOCOL.md's rows are tested.
//!
//! A number never changes its meaning and is never used again. Clients meet numbers that they do not
//! know: the hundreds tell what ends, see [`Effect::of_number`].

use core::fmt;

use deltaworks_image::ImageError;

/// What an error ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// 100–299: the session; `closed` follows and the connection is shut.
    EndsSession,
    /// 300–399: one `open`; the session goes on.
    RefusesOpen,
    /// 400–499: one batch or info, whole; the handle and the session go on.
    RefusesBatch,
    /// 500–599: one handle; the session goes on.
    EndsHandle,
}

impl Effect {
    /// What an error with this number ends, be it known or not; unknown hundreds end the session.
    pub const fn of_number(number: u16) -> Effect {
        match number / 100 {
            3 => Effect::RefusesOpen,
            4 => Effect::RefusesBatch,
            5 => Effect::EndsHandle,
            _ => Effect::EndsSession,
        }
    }

    /// In words, as PROTOCOL.md has it.
    pub const fn words(self) -> &'static str {
        match self {
            Effect::EndsSession => "ends the session",
            Effect::RefusesOpen => "refuses the open",
            Effect::RefusesBatch => "refuses the batch",
            Effect::EndsHandle => "ends the handle",
        }
    }
}

macro_rules! registry {
    ($($number:literal $variant:ident $name:literal $meaning:literal $advice:literal;)*) => {
        /// A numbered error.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum ErrorCode {
            $(#[doc = $meaning] $variant = $number,)*
        }

        impl ErrorCode {
            /// Every error, in the order of the numbers.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The error with this number, if this version knows it.
            pub const fn from_number(number: u16) -> Option<ErrorCode> {
                match number {
                    $($number => Some(ErrorCode::$variant),)*
                    _ => None,
                }
            }

            /// The name, as PROTOCOL.md and metrics have it.
            pub const fn name(self) -> &'static str {
                match self { $(ErrorCode::$variant => $name,)* }
            }

            /// What it means, one sentence.
            pub const fn meaning(self) -> &'static str {
                match self { $(ErrorCode::$variant => $meaning,)* }
            }

            /// What to do about it, one sentence.
            pub const fn advice(self) -> &'static str {
                match self { $(ErrorCode::$variant => $advice,)* }
            }
        }
    };
}

registry! {
    101 VersionUnknown "version_unknown"
        "A prelude's version is none that was agreed."
        "Send version 1; if you do, the stream has lost its framing: reconnect.";
    102 KindUnknown "kind_unknown"
        "A prelude's kind has no meaning."
        "Send kinds of this document only.";
    103 KindOutOfPlace "kind_out_of_place"
        "A message of this kind does not go in this direction, or not now."
        "Compare the order of your messages with a session's course.";
    104 FlagsReserved "flags_reserved"
        "A reserved bit of the flags is set."
        "Set only the three bits that count padding.";
    105 LengthImpossible "length_impossible"
        "A length is no multiple of 8, or too short for its kind."
        "Pad messages to a multiple of 8 and count prelude and padding.";
    106 MessageTooLong "message_too_long"
        "A message is longer than the limit of its kind."
        "Keep to the limits that the server's hello told; split the batch.";
    107 TableImpossible "table_impossible"
        "A batch has no deltas, or its lengths do not add up to its body."
        "Write each length minus one, and nothing behind the last delta but padding.";
    108 TooManyDeltas "too_many_deltas"
        "A batch has more deltas than the limit."
        "Split it; the server's hello told the limit.";
    109 PaddingNotZero "padding_not_zero"
        "A padding byte is not zero."
        "Pad with zero bytes, at most seven.";
    110 OwnerFieldNotZero "owner_field_not_zero"
        "A field of the image that the server writes is not zero."
        "Leave bytes 12 to 39 zero.";
    111 ProducerSequenceZero "producer_sequence_zero"
        "A producer sequence is 0."
        "Number batches from 1, or from what opened told, plus one.";
    112 InfoTooLong "info_too_long"
        "An info has no map, or a longer one than the limit."
        "Make the map smaller.";
    113 CrcMismatch "crc_mismatch"
        "A CRC does not fit the bytes."
        "Look for a fault in memory or on the way; reconnect and send again.";
    114 ControlMalformed "control_malformed"
        "The body of a control message is not the CBOR map that its kind demands."
        "Compare it with this document's examples.";
    200 ShuttingDown "shutting_down"
        "The server ends in order; what was acknowledged has been appended."
        "Reconnect after a while and resume; send again what was not acknowledged.";
    201 VersionNotSupported "version_not_supported"
        "Client and server have no version in common."
        "Use a client that offers the version which the text tells.";
    202 HelloExpected "hello_expected"
        "The first message was not hello."
        "Send hello first.";
    203 HelloRepeated "hello_repeated"
        "A second hello came."
        "Send hello once.";
    204 HelloDeadline "hello_deadline"
        "No hello came in time."
        "Send hello as soon as you are connected.";
    205 PingTimeout "ping_timeout"
        "Nothing was heard for longer than the ping time-out."
        "Answer ping with pong; reconnect and resume.";
    206 MessageDeadline "message_deadline"
        "A message was begun and not finished in time."
        "Send each message in one go; reconnect and resume.";
    207 SessionLimit "session_limit"
        "The server has as many sessions as it may."
        "Wait and reconnect, or raise the limit.";
    208 AddressLimit "address_limit"
        "Your address has as many sessions as it may."
        "Share a session between documents, or raise the limit.";
    209 HandleUnknown "handle_unknown"
        "A message names a handle that this session was not given."
        "Use the handles of opened, until you have closed them.";
    210 NotAWriter "not_a_writer"
        "A batch, an info or a drop came through a handle that was opened for reading."
        "Open the document for writing.";
    211 CreditExceeded "credit_exceeded"
        "A batch was sent while the handle's balance was zero or less."
        "Wait for credit; only explicit numbers raise the balance.";
    212 CarryLimit "carry_limit"
        "The server has no room for another unfinished message."
        "Reconnect and resume; send each message in one go.";
    213 SpillLimit "spill_limit"
        "The session read so slowly that what was half sent to it found no more room."
        "Reconnect and resume; read faster, or subscribe to less.";
    214 BacklogLimit "backlog_limit"
        "The session asked more than it read answers for."
        "Read while you write; reconnect and resume.";
    215 DescriptorLimit "descriptor_limit"
        "The server has no file descriptor left for another session."
        "Wait and reconnect; tell the operator to raise the limit of open files.";
    299 Internal "internal"
        "The server failed at something that was not your doing."
        "Reconnect and resume; tell the operator.";
    300 NameInvalid "name_invalid"
        "A document's name is empty, too long, or has control characters."
        "Choose a name within the limit of bytes.";
    301 CollectionUnknown "collection_unknown"
        "No collection has the name that stands before the slash."
        "Name a collection that the server has, or none.";
    302 OptionUnknown "option_unknown"
        "Access, from or policy has a number without a meaning."
        "Use the numbers of this document.";
    303 AccessInvalid "access_invalid"
        "Writing needs a producer that is not 0."
        "Choose a random identity once, keep it, and send it with open.";
    304 PolicyNotAllowed "policy_not_allowed"
        "The collection does not allow this policy."
        "Subscribe with policy gap, or with none named, or allow it: `wait_allowed` and its like.";
    305 SequenceAhead "sequence_ahead"
        "The sequence asked for has not been given yet."
        "Ask for at most the next sequence; if you resumed, read the document anew.";
    306 DocumentLimit "document_limit"
        "The server has as many documents as it may."
        "Drop documents or let them unload, or raise the limit.";
    307 HandleLimit "handle_limit"
        "The session has as many handles as it may."
        "Close some, or use another session.";
    308 ProducerLimit "producer_limit"
        "The document has as many connected producers as it may."
        "Close one, or let several writers share a producer.";
    309 OpenOverBudget "open_over_budget"
        "The memory budget has no room for another document or producer."
        "Wait, or raise the budget.";
    310 AlreadyOpen "already_open"
        "This session reads the document already."
        "Use the handle that you have; a session reads a document once.";
    311 PolicyReserved "policy_reserved"
        "The policy catch-up is reserved; this server keeps no log to catch up from."
        "Subscribe with another policy.";
    400 DeltaInvalid "delta_invalid"
        "A delta breaks the collection's schema."
        "Mend the delta that is told, at the place that is told.";
    401 DeltaMalformed "delta_malformed"
        "A delta is not well-formed, or nested deeper than the limit."
        "Mend the delta that is told, at the byte that is told.";
    402 SequenceJump "sequence_jump"
        "A producer sequence left numbers out; it is not consumed."
        "Send again from the number that the text tells; reconnect if you had sent it.";
    403 ProducerForgotten "producer_forgotten"
        "The number is so old that whether it was applied is no longer known."
        "Read the document to learn it; number new batches from the next opened.";
    404 ProducerFenced "producer_fenced"
        "Another session has opened the document as the same producer."
        "Stop, or take over by opening it again.";
    405 DocumentDropped "document_dropped"
        "The document was dropped before the batch came."
        "Close the handle, and open the document anew if you want to.";
    406 BatchOverBudget "batch_over_budget"
        "The memory budget has no room for another batch."
        "Wait and publish it again under a new number.";
    407 InfoInvalid "info_invalid"
        "An info is not one well-formed CBOR map."
        "Encode the info as one map, and nothing behind it.";
    408 NotAppended "not_appended"
        "The server is ending and has not appended the batch."
        "Publish it again after reconnecting.";
    409 BatchFailed "batch_failed"
        "The server failed at this batch; its document takes no more batches."
        "Tell the operator; other documents go on.";
    410 BatchBeyondCollection "batch_beyond_collection"
        "The batch is longer, or has more deltas, than its collection allows."
        "Split it; each collection may allow less than hello told.";
    500 Closed "closed"
        "The handle was closed because the client asked."
        "Nothing; the handle may be given again.";
    501 ClosedByDrop "closed_by_drop"
        "The document was dropped; all of it was sent before."
        "Send close for the handle; open the document anew if you want to.";
    502 ClosedByFence "closed_by_fence"
        "Another session has opened the document as the same producer."
        "Send close for the handle; take over by opening it again, or stop.";
    503 ClosedByLimit "closed_by_limit"
        "The server has as many subscriptions as it may."
        "Send close for the handle; open fewer documents for reading.";
    504 ClosedByPolicy "closed_by_policy"
        "The subscription's policy is close, and it was too far behind; gap told how far."
        "Send close for the handle; open it again from where you want to go on, and read faster.";
}

impl ErrorCode {
    /// The number on the wire.
    #[inline]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// What it ends.
    pub const fn effect(self) -> Effect {
        Effect::of_number(self.number())
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.number(), self.name(), self.meaning())
    }
}

impl From<ImageError> for ErrorCode {
    fn from(error: ImageError) -> ErrorCode {
        match error {
            ImageError::Version(_) => ErrorCode::VersionUnknown,
            ImageError::Kind(_) => ErrorCode::KindUnknown,
            ImageError::WrongKind(_) => ErrorCode::KindOutOfPlace,
            ImageError::Flags(_) => ErrorCode::FlagsReserved,
            ImageError::Length(_) | ImageError::Truncated { .. } => ErrorCode::LengthImpossible,
            ImageError::TooLong { .. } => ErrorCode::MessageTooLong,
            ImageError::Count(_) | ImageError::Table => ErrorCode::TableImpossible,
            ImageError::TooManyDeltas { .. } => ErrorCode::TooManyDeltas,
            ImageError::Padding => ErrorCode::PaddingNotZero,
            ImageError::OwnerField => ErrorCode::OwnerFieldNotZero,
            ImageError::ProducerSequence => ErrorCode::ProducerSequenceZero,
            ImageError::InfoLength { .. } => ErrorCode::InfoTooLong,
            ImageError::PayloadCrc | ImageError::HeaderCrc => ErrorCode::CrcMismatch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_rise_and_lead_back() {
        assert!(ErrorCode::ALL.windows(2).all(|pair| pair[0].number() < pair[1].number()));
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(code));
            assert!((100..600).contains(&code.number()));
            for sentence in [code.meaning(), code.advice()] {
                assert!(sentence.ends_with('.') && !sentence.contains('|'), "{code:?}");
            }
        }
        assert_eq!(ErrorCode::from_number(100), None);
    }

    #[test]
    fn names_are_unlike() {
        let mut names: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ErrorCode::ALL.len());
    }
}
