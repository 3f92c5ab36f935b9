//! The command line: one flag for each key of the configuration, and what to do.
//!
//! Flags are made from the table of keys, so they have its names, meanings and units. Values are not
//! judged here: a flag is the uppermost layer, and its mistakes are told with all others.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PathBufValueParser, PossibleValuesParser, Str, TypedValueParser as _};
use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};
use clap_complete::Shell;

use crate::config::file::FILE_BYTES_MAX;
use crate::config::key::{Key, VARIABLE_PREFIX};
use crate::config::value::Shape;
use crate::config::{Config, FileLayer, Flags, KEYS, Layers, Mistake, Mistakes, Origin};
use crate::reading::read_text;

/// What the daemon is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Serve.
    Serve,
    /// Print the configuration, and end.
    PrintConfig,
    /// Read everything, say what is wrong, and end.
    Check,
    /// Print the worst case of the memory budget, and end.
    PrintBudget,
    /// Print what makes a shell complete this command line, and end.
    Completions(Shell),
    /// Print the manual page, and end.
    Manual,
}

/// What the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What to do.
    pub task: Task,
    /// Whether to print JSON.
    pub json: bool,
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// The keys that were given.
    pub flags: Flags,
}

impl Options {
    /// What the command line of this process says. Ends the process for `--help`, `--version`, and a
    /// command line that has another form.
    pub fn of_this_process() -> Self {
        Self::from_matches(&command().get_matches())
    }

    /// What these words say, the program's name first.
    ///
    /// # Errors
    /// If they have another form; `--help` and `--version` are such, too.
    pub fn parse<W: Into<OsString> + Clone>(
        words: impl IntoIterator<Item = W>,
    ) -> Result<Self, clap::Error> {
        command().try_get_matches_from(words).map(|matches| Self::from_matches(&matches))
    }

    fn from_matches(matches: &ArgMatches) -> Self {
        let task = match () {
            () if matches.get_flag("print-config") => Task::PrintConfig,
            () if matches.get_flag("check") => Task::Check,
            () if matches.get_flag("print-budget") => Task::PrintBudget,
            () if matches.get_flag("man") => Task::Manual,
            () => match matches.get_one::<Shell>("completions") {
                Some(shell) => Task::Completions(*shell),
                None => Task::Serve,
            },
        };
        let words = |id: &str| -> Option<Vec<String>> {
            Some(matches.get_many::<String>(id)?.cloned().collect())
        };
        let given = |(place, key): (usize, &Key<Config>)| Some((place, words(key.name)?));
        let flags = Flags {
            words: KEYS.iter().enumerate().filter_map(given).collect(),
            collections: words("collection").unwrap_or_default(),
        };
        let file = matches.get_one::<PathBuf>("config").cloned();
        Self { task, json: matches.get_flag("json"), file, flags }
    }

    /// All layers, read now: the file and the environment may have changed since the last time.
    ///
    /// # Errors
    /// If the file cannot be read, or a variable of ours is no text.
    pub fn layers(&self) -> Result<Layers, Mistakes> {
        let mut mistakes = Vec::new();
        let file = self.file.as_ref().and_then(|path| match read_text(path, FILE_BYTES_MAX) {
            Ok(text) => Some(FileLayer { path: path.clone(), text }),
            Err(error) => {
                let place = path.display().to_string();
                mistakes.push(Mistake { place, key: String::new(), message: error.to_string() });
                None
            }
        });
        let mut environment = Vec::new();
        for (name, text) in std::env::vars_os() {
            let Some(variable) = name.to_str().filter(|name| name.starts_with(VARIABLE_PREFIX))
            else {
                continue;
            };
            let variable = variable.to_owned();
            match text.into_string() {
                Ok(text) => environment.push((variable, text)),
                Err(_) => {
                    let origin = Origin::Environment { variable };
                    mistakes.push(Mistake::at(&origin, "", "expected a text in UTF-8"));
                }
            }
        }
        environment.sort();
        if mistakes.is_empty() {
            Ok(Layers { file, environment, flags: self.flags.clone() })
        } else {
            Err(Mistakes(mistakes))
        }
    }
}

/// The command line, as clap has it.
pub fn command() -> Command {
    let switch = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new("deltaworksd")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Delta server: orders, checks and fans out small changes to named documents")
        .long_about(ABOUT)
        .after_help(format!(
            "Examples:\n{EXAMPLES}\n\nSignals:\n{SIGNALS}\n\nExit codes:\n{EXIT_CODES}"
        ))
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .value_parser(PathBufValueParser::new())
                .help("Reads this configuration file"),
        )
        .arg(
            switch("print-config")
                .help("Prints the configuration in effect, and where each value came from"),
        )
        .arg(switch("check").help("Reads configuration, schemas, plan and sizing, and says what is wrong"))
        .arg(
            switch("print-budget")
                .help("Prints the worst case of the memory budget by kind, and ends"),
        )
        .arg(
            switch("json").requires("report").help("Prints JSON, with one of the three before"),
        )
        .arg(
            Arg::new("completions")
                .long("completions")
                .value_name("SHELL")
                .value_parser(
                    PossibleValuesParser::new(["bash", "zsh", "fish"])
                        .try_map(|shell| shell.parse::<Shell>()),
                )
                .help("Prints what makes this shell complete the command line, and ends"),
        )
        .arg(switch("man").help("Prints the manual page, and ends"))
        .group(ArgGroup::new("report").args(REPORTS))
        .group(ArgGroup::new("task").args(REPORTS).args(["completions", "man"]))
        .arg(
            Arg::new("collection")
                .long("collection")
                .value_name("NAME=KIND[:SCHEMA-FILE][,KEY=VALUE]")
                .action(ArgAction::Append)
                .help("Adds a collection: opaque, or a JSON Type Definition over CBOR, and keys of it. The default one has no name. May be given again"),
        )
        .args(KEYS.iter().map(flag))
}

fn flag(key: &Key<Config>) -> Arg {
    let name: Str = key.flag().into();
    let about: Vec<&str> = key.meaning.iter().map(|line| line.trim()).collect();
    let note = key.void_note().map_or(String::new(), |note| format!(" Note: {note}."));
    let default = (key.get)(&Config::default());
    let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
    let default = if default.is_empty() { "none".to_owned() } else { default };
    let help = format!("{}{note} [default: {default}]", about.join(" "));
    // The unit without what lists of a file add to it: MIB, DELTAS-A-SECOND.
    let word = key.unit.split(',').next().unwrap_or(key.unit);
    let word: Str = word.to_uppercase().replace(' ', "-").into();
    let arg = Arg::new(key.name).long(name).help(help).help_heading(key.group);
    match key.shape {
        Shape::One => arg.value_name(word).action(ArgAction::Set),
        Shape::Many => arg.value_name(word).action(ArgAction::Append),
        Shape::Switch => arg
            .value_name("BOOL")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .action(ArgAction::Set),
    }
}

/// What is printed for a person, or for a program as JSON.
const REPORTS: [&str; 3] = ["print-config", "check", "print-budget"];

const ABOUT: &str = "\
Delta server: orders, checks and fans out small changes to named documents.

Documents are kept in memory only: they are gone when the daemon ends. Binds what --tcp and
--unix say, and 127.0.0.1:7710 if they say nothing. Each key of the configuration is a flag here;
a variable DELTAWORKS_<KEY> and the file of --config stand below it, in this order.";

/// Command lines that work as they stand here.
pub const EXAMPLES: &str = "\
  deltaworksd
  deltaworksd --unix /run/deltaworks.sock --tcp 127.0.0.1:7710
  deltaworksd --collection notes=cbor:note.jtd.json --budget-mib 1024
  deltaworksd --collection =opaque,wait_allowed=true
  deltaworksd --print-config > deltaworksd.toml
  deltaworksd --config deltaworksd.toml --check
  deltaworksd --print-budget
  deltaworksd --man | man -l -";

/// What signals do.
pub const SIGNALS: &str = "\
  SIGTERM, SIGINT  end in order: no connection is accepted, what was accepted reaches the
                   subscribers that are connected, sessions are told; a second one ends at once
  SIGHUP           reads file and environment again: what can change without a restart does, the
                   rest is told";

/// How the process ends.
pub const EXIT_CODES: &str = "\
  0  ended in order, everything was delivered; or what was asked for is printed, and right
  1  did not start
  2  the command line or the configuration is wrong
  3  ended with sessions cut: the time was up, or a second signal came
  4  a core failed";
