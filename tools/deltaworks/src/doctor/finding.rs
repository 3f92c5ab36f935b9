//! One setting as it was found: its value, its verdict, and what to do.

use std::fmt;

use serde::Serialize;

use super::host::Unread;

/// The verdict on a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// It could not be read, so nothing is said about it.
    Unknown,
    /// The daemon runs without, slower or less steadily.
    Advice,
    /// The daemon does not start.
    Problem,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Status::Ok => "ok",
            Status::Unknown => "unknown",
            Status::Advice => "advice",
            Status::Problem => "PROBLEM",
        })
    }
}

/// What is known of a setting before it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// What it should be.
    pub wanted: &'static str,
    /// Why.
    pub why: &'static str,
    /// What the daemon does without.
    pub without: &'static str,
    /// A command that sets it until the next boot; empty if there is none.
    pub now: &'static str,
    /// How it is set to stay; empty if there is no way.
    pub lasting: &'static str,
}

/// A setting as it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The setting's name.
    pub name: &'static str,
    /// The verdict.
    pub status: Status,
    /// What it is.
    pub value: String,
    /// What it should be.
    pub wanted: &'static str,
    /// Why.
    pub why: &'static str,
    /// What the daemon does without.
    pub without: &'static str,
    /// A command that sets it until the next boot; empty if there is none.
    pub now: String,
    /// How it is set to stay; empty if there is no way.
    pub lasting: String,
}

impl Setting {
    /// The setting with this verdict and value.
    pub fn found(&self, status: Status, value: impl Into<String>) -> Finding {
        let Setting { name, wanted, why, without, now, lasting } = *self;
        let (now, lasting) = (now.to_owned(), lasting.to_owned());
        Finding { name, status, value: value.into(), wanted, why, without, now, lasting }
    }

    /// As it should be.
    pub fn ok(&self, value: impl Into<String>) -> Finding {
        self.found(Status::Ok, value)
    }

    /// Better otherwise.
    pub fn advice(&self, value: impl Into<String>) -> Finding {
        self.found(Status::Advice, value)
    }

    /// Nothing runs so.
    pub fn problem(&self, value: impl Into<String>) -> Finding {
        self.found(Status::Problem, value)
    }

    /// It could not be read.
    pub fn unknown(&self, why: impl fmt::Display) -> Finding {
        self.found(Status::Unknown, why.to_string())
    }

    /// What `judge` says of the text that was read, or that it is unknown.
    pub fn judge(
        &self,
        text: Result<String, Unread>,
        judge: impl FnOnce(&str) -> Finding,
    ) -> Finding {
        match text {
            Ok(text) => judge(text.trim()),
            Err(why) => self.unknown(why),
        }
    }
}

impl Finding {
    /// The same, to be set with this command.
    #[must_use]
    pub fn with_now(self, now: String) -> Finding {
        Finding { now, ..self }
    }

    /// The same, to be kept in this way.
    #[must_use]
    pub fn with_lasting(self, lasting: String) -> Finding {
        Finding { lasting, ..self }
    }
}
