//! The daemon from its first line to its last: what is read, what starts, what ends, in order.

use std::cell::RefCell;
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use deltaworks_server::Stopped;
use tracing::{error, info, warn};

use crate::arrangement::{self, Arrangement};
use crate::config::{Effective, print};
use crate::exit::{CUT, Failure};
use crate::housekeeping::{Housekeeping, HousekeepingConfig};
use crate::options::{Options, Task};
use crate::quantity::counted;
use crate::reload::Reloader;
use crate::service_manager::ServiceManager;
use crate::watch::{self, Ended, is_asked_again, take_signals};
use crate::{
    activation, announcement, budget_table, check, descriptors, logging, planted, self_description,
    watchdog,
};

/// Does what the command line asks.
pub fn run(options: &Options) -> ExitCode {
    match perform(options) {
        Ok(code) => code,
        Err(failure) => failure.tell(),
    }
}

fn perform(options: &Options) -> Result<ExitCode, Failure> {
    let effective = || {
        let layers = options.layers().map_err(Failure::usage)?;
        layers.combine().map_err(Failure::usage)
    };
    let text = match options.task {
        Task::Completions(shell) => return write_out(&self_description::completions(shell)),
        Task::Manual => return write_out(&self_description::manual()),
        Task::Serve => return serve(options, &effective()?),
        Task::Check => check::check(&effective()?, options.json)?,
        Task::PrintConfig if options.json => format!("{:#}\n", print::as_json(&effective()?)),
        Task::PrintConfig => print::as_toml(&effective()?),
        Task::PrintBudget => {
            let (_, sizing) = arrangement::sizes(&effective()?.config)?;
            match options.json {
                true => format!("{:#}\n", budget_table::as_json(&sizing)),
                false => budget_table::as_text(&sizing),
            }
        }
    };
    write_out(text.as_bytes())
}

/// Writes to standard output, all of it or as much as is wanted.
fn write_out(text: &[u8]) -> Result<ExitCode, Failure> {
    let mut stdout = std::io::stdout();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        // A reader that went away has read what it wanted.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::not_started(format!("standard output: {error}")))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn serve(options: &Options, effective: &Effective) -> Result<ExitCode, Failure> {
    let config = &effective.config;
    // Before there is a second thread.
    deltaworks_runtime::core::prepare_process();
    let arrangement = Arrangement::new(config)?;
    let levels = logging::begin(&config.log);
    // Signals are taken from here on, so that one that comes early is not lost.
    let mut signals =
        take_signals().map_err(|error| Failure::not_started(format!("signals: {error}")))?;
    effective.notes.iter().for_each(|note| warn!("note: {note}"));
    // Not worth a warning: the defaults are for machines that few have.
    arrangement.placement.notes.iter().for_each(|note| info!("note: {note}"));
    let inherited = activation::inherited(config.insecure).map_err(Failure::usage)?;
    let budget_bytes = arrangement.sizing.budget_bytes;
    let housekeeping = Housekeeping::start(HousekeepingConfig::new(effective, &arrangement))
        .map_err(Failure::not_started)?;
    let cores = arrangement.placement.cores.len() as u64;
    let server_config = arrangement.into_server_config(config, inherited);
    if let Some(note) = descriptors::provide(server_config.sessions_max() as u64, cores) {
        warn!("note: {note}");
    }
    let server = planted::start(server_config)?;
    housekeeping.serve(server.observer());
    announcement::log(&server, budget_bytes);
    housekeeping.log();
    if let Some(path) = &config.ready_file.0 {
        announcement::write_ready_file(path, &server, &housekeeping)
            .map_err(|error| Failure::not_started(format!("{}: {error}", path.display())))?;
    }
    if let Some(interval) = watchdog::interval() {
        watchdog::begin(server.observer(), interval)
            .map_err(|error| Failure::not_started(format!("watchdog: {error}")))?;
    }
    let manager = RefCell::new(ServiceManager::default());
    manager.borrow_mut().ready(&server);
    let reloader = Arc::new(Reloader::new(options, effective, levels, server.settings()));
    housekeeping.may_reload(Arc::clone(&reloader));
    let reload = || {
        manager.borrow_mut().reloading();
        // A failed reload has been told, and changes nothing.
        drop(reloader.reload());
        manager.borrow_mut().ready(&server);
    };
    let tick = || manager.borrow_mut().tick(&server);
    let ended = watch::watch(&server, &mut signals, reload, tick);
    let sessions = server.session_count();
    match ended {
        Ended::Asked => info!("ending in order, {}", counted(sessions, "session")),
        Ended::CoreFailed => error!("a core failed; telling {}", counted(sessions, "session")),
    }
    announcement::log_connections(&server);
    let drain = Duration::from_secs(reloader.running().drain_seconds);
    manager.borrow_mut().stopping(drain, sessions);
    match server.stop(drain, || is_asked_again(&mut signals)) {
        Stopped::Complete => {
            info!("ended, everything was delivered");
            Ok(ExitCode::SUCCESS)
        }
        Stopped::Cut { sessions } => {
            let were = if sessions == 1 { "was" } else { "were" };
            warn!("ended, {} {were} cut", counted(sessions, "session"));
            Ok(ExitCode::from(CUT))
        }
        Stopped::Failed => Err(Failure::core_failed("a core failed; what was in memory is gone")),
    }
}
