//! Where a value came from, and what is wrong with one.

use std::fmt;

/// Where the value of a key came from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Origin {
    /// Nobody gave one.
    #[default]
    Default,
    /// A line of the file.
    File {
        /// The file, as it was named.
        path: String,
        /// The line, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A flag.
    Flag {
        /// Its name, with dashes.
        flag: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::File { path, line } => write!(f, "file {path}:{line}"),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::Flag { flag } => write!(f, "flag {flag}"),
        }
    }
}

/// One mistake: where, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it stands: `FILE:LINE`, a variable or a flag.
    pub place: String,
    /// The key; empty where there is none.
    pub key: String,
    /// What is wrong, as a sentence.
    pub message: String,
}

impl Mistake {
    /// A mistake in the value that came from `origin`.
    pub fn at(origin: &Origin, key: &str, message: impl Into<String>) -> Self {
        let (place, key) = match origin {
            Origin::Default => ("default".to_owned(), key),
            Origin::File { path, line } => (format!("{path}:{line}"), key),
            Origin::Environment { variable } => (variable.clone(), ""),
            Origin::Flag { flag } => (flag.clone(), ""),
        };
        Self { place, key: key.to_owned(), message: message.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.place, self.message),
            key => write!(f, "{}: {key}: {}", self.place, self.message),
        }
    }
}

/// Everything that is wrong; never empty where it is an error.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
