//! The deltaworks daemon: configuration, plan, server, signals, an orderly end.
//!
//! The program is [`run::run`]; the configuration is a library, so that other programs can read and
//! try it. It must not know how bytes get from socket to document: that is the server's.
//!
//! ```text
//! options ─▶ config ─▶ arrangement (plan, sizing, collections) ─▶ server ─▶ announcement ─▶ watch
//! ```
#![deny(unsafe_code)]

pub mod options;

pub mod config;

mod reading;

mod self_description;

mod quantity;

pub mod logging;

pub mod placement;

pub mod collections;

pub mod activation;

pub mod arrangement;

pub mod budget_table;

pub mod check;

mod planted;

pub mod housekeeping;

mod descriptors;

pub mod announcement;

pub mod reload;

pub mod service_manager;

pub mod watchdog;

pub mod watch;

pub mod exit;

pub mod run;
