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

/// Command line of deltaworks
#[derive(Parser)]
#[command(version, propagate_version = true)]
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
