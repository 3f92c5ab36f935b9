//! A reload: file and environment are read again, and what can change does.
//!
//! Shared by the main thread (SIGHUP) and whoever serves the admin socket; one reload at a time. A
//! configuration with a mistake changes nothing. What needs a restart keeps the value that the daemon
//! runs with, so the next reload tells it again.

use std::sync::{Mutex, PoisonError};

use deltaworks_server::{Settings, SettingsHandle, Tuning};
use serde_json::{Value as Json, json};
use tracing::{error, info, warn};

use crate::collections;
use crate::config::collection::CollectionConfig;
use crate::config::key::Change;
use crate::config::{Config, Effective, KEYS};
use crate::logging::LogLevels;
use crate::options::Options;

/// A key that took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Its name.
    pub key: String,
    /// The value before.
    pub from: Json,
    /// The value now.
    pub to: Json,
}

/// A key that has another value now, which the daemon does not go by before it starts again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Its name.
    pub key: String,
    /// Why.
    pub why: String,
}

/// What a reload came to.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Report {
    /// Keys that took effect.
    pub reloaded: Vec<Reloaded>,
    /// Keys that need a restart.
    pub needs_restart: Vec<Pending>,
}

impl Report {
    /// `{reloaded:[{key, from, to}], needs_restart:[{key, why}]}`.
    pub fn as_json(&self) -> Json {
        let reloaded = self.reloaded.iter();
        let reloaded: Vec<Json> =
            reloaded.map(|it| json!({ "key": it.key, "from": it.from, "to": it.to })).collect();
        let pending = self.needs_restart.iter();
        let pending: Vec<Json> =
            pending.map(|it| json!({ "key": it.key, "why": it.why })).collect();
        json!({ "reloaded": reloaded, "needs_restart": pending })
    }

    fn log(&self) {
        for Reloaded { key, from, to } in &self.reloaded {
            info!("reload: {key} is {to} now, was {from}");
        }
        for Pending { key, why } in &self.needs_restart {
            warn!("reload: {key} needs a restart: {why}");
        }
        if *self == Self::default() {
            info!("reload: nothing has changed");
        }
    }
}

/// Reloads a running daemon.
#[derive(Debug)]
pub struct Reloader {
    options: Options,
    levels: LogLevels,
    settings: SettingsHandle,
    /// What the daemon goes by.
    running: Mutex<Config>,
}

impl Reloader {
    /// A reloader of the daemon that was started by `options` and runs by `effective`.
    pub fn new(
        options: &Options,
        effective: &Effective,
        levels: LogLevels,
        settings: SettingsHandle,
    ) -> Self {
        let running = Mutex::new(effective.config.clone());
        Self { options: options.clone(), levels, settings, running }
    }

    /// What the daemon goes by now.
    pub fn running(&self) -> Config {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads file and environment, changes what can change, logs and tells what became of each
    /// changed key. Reads files; to be called off the data path.
    ///
    /// # Errors
    /// What is wrong, a line each; nothing has changed then.
    pub fn reload(&self) -> Result<Report, String> {
        let told = self.perform();
        match &told {
            Ok(report) => report.log(),
            Err(message) => {
                for line in message.lines() {
                    error!("reload: {line}");
                }
                error!("reload: nothing was changed");
            }
        }
        told
    }

    fn perform(&self) -> Result<Report, String> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let layers = self.options.layers().map_err(|error| error.to_string())?;
        let wanted = layers.combine().map_err(|error| error.to_string())?.config;
        // Schemas are not taken over, but a mistake in one would keep the next start from working.
        collections::load(&wanted.collections, 1).map_err(|faults| faults.join("\n"))?;
        let mut next = running.clone();
        let mut report = Report::default();
        for key in KEYS {
            let (from, to) = ((key.get)(&running), (key.get)(&wanted));
            if from == to {
                continue;
            }
            let name = key.name.to_owned();
            match key.change {
                Change::Reload => {
                    key.copy(&wanted, &mut next);
                    report.reloaded.push(Reloaded { key: name, from, to });
                }
                Change::Restart(why) => {
                    report.needs_restart.push(Pending { key: name, why: why.to_owned() });
                }
            }
        }
        report.needs_restart.extend(changed_collections(&running, &wanted));
        self.levels.set(&next.log)?;
        let settings = settings(&next);
        if self.settings.settings() != settings {
            self.settings.publish(settings);
        }
        *running = next;
        Ok(report)
    }
}

/// What of the configuration the server takes while it runs.
fn settings(config: &Config) -> Settings {
    Settings {
        hello_deadline_ms: config.hello_deadline_seconds * 1000,
        ping_interval_ms: config.ping_interval_seconds * 1000,
        ping_timeout_ms: config.ping_timeout_seconds * 1000,
        sessions_per_address_max: config.sessions_per_address as usize,
        tuning: Tuning {
            credit_bytes: config.credit_bytes,
            message_deadline_ns: config.message_deadline_seconds * 1_000_000_000,
            idle_unload_ns: config.idle_unload_seconds * 1_000_000_000,
            quotas: config.quotas(),
            placement: config.placement(),
        },
    }
}

fn changed_collections(running: &Config, wanted: &Config) -> Vec<Pending> {
    let names = running.collections.keys().chain(wanted.collections.keys());
    let names: std::collections::BTreeSet<&String> = names.collect();
    let changed = names.into_iter().filter_map(|name| {
        let pair: [Option<&CollectionConfig>; 2] =
            [running.collections.get(name), wanted.collections.get(name)];
        let what = match pair {
            [Some(before), Some(after)] if before == after => return None,
            [Some(_), Some(_)] => "changed",
            [Some(_), None] => "removed",
            [None, _] => "added",
        };
        let why = format!("it was {what}, and collections are fixed when the daemon starts");
        Some(Pending { key: format!("collections.{name}"), why })
    });
    changed.collect()
}
