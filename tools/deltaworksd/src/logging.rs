//! Logging: tracing to standard error, by levels that can be changed while the daemon runs.
//!
//! Belongs to the process. Nothing on the data path logs; what is logged waits for standard error,
//! as everything that writes there does.

use std::io::IsTerminal as _;

use serde_json::Value as Json;
use tracing_subscriber::filter::{ParseError, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};

use crate::config::value::{Range, Raw, Shape, Value};

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Levels by module, as text that was found to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    fn filter(&self) -> Targets {
        parsed(&self.0).unwrap_or_default()
    }
}

/// The filter of a text: levels by module and no more. The larger language, of spans and fields,
/// panics at some texts and compiles others for seconds.
fn parsed(text: &str) -> Result<Targets, ParseError> {
    text.parse()
}

/// Whether a part of the text is `LEVEL` or `MODULE=LEVEL`.
fn is_directive(part: &str) -> bool {
    let (module, level) = part.trim().rsplit_once('=').unwrap_or(("all", part));
    let is_module = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    !module.is_empty()
        && module.bytes().all(is_module)
        && LEVELS.contains(&level.trim().to_ascii_lowercase().as_str())
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl Value for LogFilter {
    const SHAPE: Shape = Shape::One;

    fn read(raw: &Raw, range: Range) -> Result<Self, String> {
        const EXPECTED: &str = "levels such as \"info\" or \"info,deltaworks_server=debug\"";
        let text = String::read(raw, range).map_err(|_| raw.mismatch(EXPECTED))?;
        // The parser takes a bare word that is no level for a module, and a module without a level for
        // all of it: a misspelt level would log everything.
        if !text.split(',').all(is_directive) || parsed(&text).is_err() {
            return Err(raw.mismatch(EXPECTED));
        }
        Ok(Self(text))
    }

    fn json(&self) -> Json {
        Json::String(self.0.clone())
    }
}

/// The levels of a running process, to be changed.
#[derive(Clone, Debug)]
pub struct LogLevels(reload::Handle<Targets, Registry>);

impl LogLevels {
    /// Logs by `filter` from now on.
    ///
    /// # Errors
    /// If logging has ended.
    pub fn set(&self, filter: &LogFilter) -> Result<(), String> {
        self.0.reload(filter.filter()).map_err(|error| error.to_string())
    }
}

/// Begins to log to standard error. Under journald, which has both, without time and colours.
pub fn begin(filter: &LogFilter) -> LogLevels {
    let (layer, levels) = reload::Layer::new(filter.filter());
    let is_journal = is_journal();
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(!is_journal && std::io::stderr().is_terminal());
    let registry = tracing_subscriber::registry().with(layer);
    // Fails only where somebody logs already, as in a test of this process; then that goes on.
    let _ = if is_journal {
        registry.with(lines.without_time()).try_init()
    } else {
        registry.with(lines).try_init()
    };
    LogLevels(levels)
}

/// Whether standard error is journald's socket, whose device and inode the variable tells.
fn is_journal() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stderr) = std::fs::metadata("/proc/self/fd/2") else { return false };
    stream == format!("{}:{}", stderr.dev(), stderr.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<LogFilter, String> {
        LogFilter::read(&Raw::Text(text.to_owned()), Range::Any)
    }

    #[test]
    fn levels_are_read_and_misspelt_ones_refused() {
        for good in ["info", "off", "WARN", "info,deltaworks_server=debug", "deltaworksd=trace"] {
            assert_eq!(read(good), Ok(LogFilter(good.to_owned())));
        }
        let odd =
            ["\t\tlog\u{78a}.a]", "oun\u{feff}\u{feff}n_odee =", "a[b{c=d*}]=info", "[\u{78a}"];
        let bad = ["", "inof", "info,debgu", "deltaworksd=loud", "a=b=c", "debug,"];
        for bad in bad.into_iter().chain(odd) {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        assert!(LogFilter::read(&Raw::Whole(3), Range::Any).is_err());
    }
}
