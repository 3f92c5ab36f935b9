//! Command line of deltaworks: pub, sub, replay, plan.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use deltaworks::plan::PlanCommand;
use deltaworks::publish::PublishCommand;
use deltaworks::replay::command::ReplayCommand;
use deltaworks::subscribe::SubscribeCommand;
use deltaworks::trace::command::TraceCommand;
use deltaworks::{exit, output};

const EXAMPLES: &str = "\
Examples:
  deltaworksd --unix /run/deltaworks.sock --tcp 127.0.0.1:7710 &
  deltaworks sub notes --from start &
  deltaworks pub notes --text 'hello'
  deltaworks trace generate --out trace.json.gz && deltaworks replay trace.json.gz --documents 4

Every command has examples and its exit codes in its own help: 0 is always success, 2 always a wrong
command line.";

/// Command line of deltaworks
#[derive(Parser)]
#[command(version, propagate_version = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Pub(PublishCommand),
    Sub(SubscribeCommand),
    Replay(ReplayCommand),
    Plan(PlanCommand),
    /// Makes and checks editing traces
    #[command(subcommand)]
    Trace(TraceCommand),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Pub(command) => command.run(),
        Command::Sub(command) => command.run(),
        Command::Replay(command) => command.run(),
        Command::Plan(command) => command.run(),
        Command::Trace(command) => match command.run() {
            Ok(told) => {
                output::print(told);
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("deltaworks: {error}");
                exit::failed()
            }
        },
    }
}
