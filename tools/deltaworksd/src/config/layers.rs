//! Layers of a configuration, laid over each other: default, file, environment, flags.
//!
//! A pure function of texts: it opens nothing. It goes through all layers even after a mistake, so
//! that all mistakes are told together.

use std::path::{Path, PathBuf};

use super::Effective;
use super::collection::{
    self, COLLECTION_KEYS, CollectionConfig, CollectionOrigins, FlagCollection,
};
use super::file::{self, CollectionEntries, Entry};
use super::key::{Key, VARIABLE_PREFIX};
use super::keys::{Config, KEYS};
use super::source::{Mistake, Mistakes, Origin};
use super::value::{OrOff, Raw, Shape};

/// Variables that begin like ours and are others': the command line's, and in a build for tests that
/// of planted faults.
const FOREIGN_VARIABLES: &[&str] = &[
    "DELTAWORKS_ADMIN",
    #[cfg(feature = "planted_faults")]
    "DELTAWORKS_PLANT",
];

/// How unlike an unknown name may be to the known one that is proposed.
const LIKENESS_MIN: f64 = 0.7;
/// The longest unknown name for which a known one is looked for.
const MISTYPED_BYTES_MAX: usize = 64;

/// What the command line says of keys.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Flags {
    /// The words of each key that was given, by its place in [`KEYS`].
    pub words: Vec<(usize, Vec<String>)>,
    /// Each `--collection`.
    pub collections: Vec<String>,
}

/// A configuration file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLayer {
    /// Its path, as it was named.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

/// What is laid over the defaults, from below to above.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Layers {
    /// The file.
    pub file: Option<FileLayer>,
    /// The variables of the environment that begin with [`VARIABLE_PREFIX`].
    pub environment: Vec<(String, String)>,
    /// The flags.
    pub flags: Flags,
}

impl Layers {
    /// The configuration that these layers make.
    ///
    /// # Errors
    /// Every mistake of all layers.
    pub fn combine(&self) -> Result<Effective, Mistakes> {
        let mut stack = Stack::new();
        if let Some(file) = &self.file {
            stack.lay_file(file);
        }
        stack.lay_environment(&self.environment);
        stack.lay_flags(&self.flags);
        stack.finish()
    }
}

struct Stack {
    effective: Effective,
    mistakes: Vec<Mistake>,
}

impl Stack {
    fn new() -> Self {
        let effective = Effective {
            config: Config::default(),
            origins: vec![Origin::Default; KEYS.len()],
            collection_origins: CollectionOrigins::new(),
            notes: Vec::new(),
        };
        Self { effective, mistakes: Vec::new() }
    }

    fn lay_file(&mut self, file: &FileLayer) {
        let path = file.path.display().to_string();
        let contents = file::read(&file.text);
        let origin = |line: usize| Origin::File { path: path.clone(), line };
        for fault in contents.faults {
            self.mistakes.push(Mistake::at(&origin(fault.line), "", fault.message));
        }
        for entry in &contents.keys {
            self.lay_entry(entry, origin(entry.line));
        }
        let folder = file.path.parent().unwrap_or(Path::new(""));
        for entries in &contents.collections {
            self.lay_collection(entries, folder, &origin);
        }
    }

    fn lay_entry(&mut self, entry: &Entry, origin: Origin) {
        match KEYS.iter().position(|key| key.name == entry.name) {
            Some(place) => self.set(place, &entry.raw, origin),
            None => {
                let message = unknown_key(&entry.name, KEYS, &entry.raw);
                self.mistakes.push(Mistake::at(&origin, "", message));
            }
        }
    }

    fn lay_collection(
        &mut self,
        entries: &CollectionEntries,
        folder: &Path,
        origin: &dyn Fn(usize) -> Origin,
    ) {
        if let Some(fault) = collection::name_fault(&entries.name) {
            self.mistakes.push(Mistake::at(&origin(entries.line), "", fault));
            return;
        }
        let (mut config, mut origins) = fresh_collection();
        for entry in &entries.entries {
            let from = origin(entry.line);
            let label = format!("collections.{}.{}", entries.name, entry.name);
            let Some(place) = COLLECTION_KEYS.iter().position(|key| key.name == entry.name) else {
                let message = unknown_key(&entry.name, COLLECTION_KEYS, &entry.raw);
                self.mistakes.push(Mistake::at(&from, "", message));
                continue;
            };
            let key = &COLLECTION_KEYS[place];
            match (key.set)(&mut config, &entry.raw, key.range) {
                Ok(()) => origins[place] = from,
                Err(message) => self.mistakes.push(Mistake::at(&from, &label, message)),
            }
        }
        config.schema = absolute(config.schema, folder);
        self.effective.config.collections.insert(entries.name.clone(), config);
        self.effective.collection_origins.insert(entries.name.clone(), origins);
    }

    fn lay_environment(&mut self, environment: &[(String, String)]) {
        for (variable, text) in environment {
            let Some(place) = KEYS.iter().position(|key| key.variable() == *variable) else {
                if !FOREIGN_VARIABLES.contains(&variable.as_str()) {
                    let name = variable.trim_start_matches(VARIABLE_PREFIX).to_lowercase();
                    let nearest = nearest(&name, KEYS);
                    let proposal = nearest.map_or(String::new(), |key| {
                        format!("; the nearest that is one is {}", key.variable())
                    });
                    let note = format!("the environment's {variable} is no key{proposal}");
                    self.effective.notes.push(note);
                }
                continue;
            };
            let words = match KEYS[place].shape {
                Shape::Many if text.is_empty() => Vec::new(),
                Shape::Many => text.split(',').map(|word| word.trim().to_owned()).collect(),
                Shape::One | Shape::Switch => vec![text.clone()],
            };
            let origin = Origin::Environment { variable: variable.clone() };
            self.set(place, &Raw::Words(words), origin);
        }
    }

    fn lay_flags(&mut self, flags: &Flags) {
        for (place, words) in &flags.words {
            let origin = Origin::Flag { flag: format!("--{}", KEYS[*place].flag()) };
            self.set(*place, &Raw::Words(words.clone()), origin);
        }
        let origin = Origin::Flag { flag: "--collection".to_owned() };
        let mut given: Vec<String> = Vec::new();
        for text in &flags.collections {
            let parsed = FlagCollection::parse(text).and_then(|parsed| {
                let twice = given.contains(&parsed.name);
                let twice = twice.then(|| format!("collection {:?} is given twice", parsed.name));
                twice.or_else(|| collection::name_fault(&parsed.name)).map_or(Ok(parsed), Err)
            });
            match parsed {
                Ok(parsed) => {
                    given.push(parsed.name.clone());
                    self.lay_flag_collection(parsed, &origin);
                }
                Err(message) => self.mistakes.push(Mistake::at(&origin, "", message)),
            }
        }
    }

    fn lay_flag_collection(&mut self, parsed: FlagCollection, origin: &Origin) {
        let FlagCollection { name, kind, schema, keys } = parsed;
        let (fresh, fresh_origins) = fresh_collection();
        let config = self.effective.config.collections.entry(name.clone()).or_insert(fresh);
        (config.kind, config.schema) = (kind, absolute(schema, Path::new("")));
        let origins =
            self.effective.collection_origins.entry(name.clone()).or_insert(fresh_origins);
        for (key, known) in COLLECTION_KEYS.iter().zip(origins.iter_mut()) {
            if ["kind", "schema"].contains(&key.name) {
                *known = origin.clone();
            }
        }
        for (key, value) in keys {
            let raw = Raw::Words(vec![value]);
            let place = COLLECTION_KEYS.iter().position(|known| known.name == key);
            let Some(place) = place.filter(|_| !["kind", "schema"].contains(&key.as_str())) else {
                let message = unknown_key(&key, COLLECTION_KEYS, &raw);
                self.mistakes.push(Mistake::at(origin, "", message));
                continue;
            };
            let known = &COLLECTION_KEYS[place];
            match (known.set)(config, &raw, known.range) {
                Ok(()) => origins[place] = origin.clone(),
                Err(message) => {
                    let message = format!("collection {name:?}, {key}: {message}");
                    self.mistakes.push(Mistake::at(origin, "", message));
                }
            }
        }
    }

    fn set(&mut self, place: usize, raw: &Raw, origin: Origin) {
        let key = &KEYS[place];
        match (key.set)(&mut self.effective.config, raw, key.range) {
            Ok(()) => self.effective.origins[place] = origin,
            Err(message) => self.mistakes.push(Mistake::at(&origin, key.name, message)),
        }
    }

    fn finish(mut self) -> Result<Effective, Mistakes> {
        // What belongs together is judged only where each part could be read.
        if self.mistakes.is_empty() {
            self.mistakes = self.effective.contradictions();
        }
        if !self.mistakes.is_empty() {
            return Err(Mistakes(self.mistakes));
        }
        for (key, origin) in KEYS.iter().zip(&self.effective.origins) {
            if *origin != Origin::Default {
                self.effective.notes.extend(key.void_note());
            }
        }
        Ok(self.effective)
    }
}

fn fresh_collection() -> (CollectionConfig, Vec<Origin>) {
    (CollectionConfig::default(), vec![Origin::Default; COLLECTION_KEYS.len()])
}

/// The path from the root, so that it means the same wherever it is printed to.
fn absolute(path: OrOff<PathBuf>, folder: &Path) -> OrOff<PathBuf> {
    let from_root = |path: PathBuf| {
        let path = folder.join(path);
        // Fails only without a working folder; then the path is as good as it was.
        std::path::absolute(&path).unwrap_or(path)
    };
    OrOff(path.0.map(from_root))
}

/// None for a name that is longer than any that was mistyped: comparing costs its length for each key.
fn nearest<'k, C>(name: &str, keys: &'k [Key<C>]) -> Option<&'k Key<C>> {
    if name.len() > MISTYPED_BYTES_MAX {
        return None;
    }
    let likeness = |key: &'k Key<C>| (strsim::jaro_winkler(name, key.name), key);
    let best = keys.iter().map(likeness).max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.filter(|(likeness, _)| *likeness >= LIKENESS_MIN).map(|(_, key)| key)
}

fn unknown_key<C>(name: &str, keys: &[Key<C>], raw: &Raw) -> String {
    let proposal = nearest(name, keys)
        .map_or(String::new(), |key| format!("; the nearest known one is `{}`", key.name));
    let table = match raw {
        Raw::Odd("a table") => "; keys stand at the top, and only [collections.NAME] is a table",
        _ => "",
    };
    format!("unknown key `{name}`{proposal}{table}")
}
