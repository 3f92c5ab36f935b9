//! Everything that the command line takes, in one place: what runs, and what completions, manual pages
//! and the test of all help texts are made of.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::bench::command::BenchCommand;
use crate::completions::CompletionsCommand;
use crate::doctor::command::DoctorCommand;
use crate::documents::DocumentsCommand;
use crate::draining::DrainCommand;
use crate::editing::command::EditingCommand;
use crate::evening::RebalanceCommand;
use crate::manual::ManualCommand;
use crate::moving::MoveCommand;
use crate::plan::PlanCommand;
use crate::publish::PublishCommand;
use crate::recording::RecordingCommand;
use crate::replay::command::ReplayCommand;
use crate::schema_check::SchemaCommand;
use crate::sessions::SessionsCommand;
use crate::subscribe::SubscribeCommand;
use crate::top::command::TopCommand;
use crate::workers::WorkersCommand;

const EXAMPLES: &str = "\
Examples:
  deltaworksd --unix /run/deltaworks.sock --tcp 127.0.0.1:7710 &
  deltaworks sub notes --from start &
  deltaworks pub notes --text 'hello'
  deltaworks editing generate --out trace.json.gz && deltaworks replay trace.json.gz --documents 4

Every command has examples and its exit codes in its own help.

Exit codes:
  0  success
  1  it did not work; standard error says why
  2  the command line is wrong
  3 and above have one meaning in each command's help; 6 is always: no daemon answers on its admin
     socket";

/// Command line of deltaworks
#[derive(Debug, Parser)]
#[command(name = "deltaworks", version, propagate_version = true, after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Pub(PublishCommand),
    Sub(SubscribeCommand),
    Replay(ReplayCommand),
    Bench(BenchCommand),
    Docs(DocumentsCommand),
    Sessions(SessionsCommand),
    Workers(WorkersCommand),
    Move(MoveCommand),
    Drain(DrainCommand),
    Rebalance(RebalanceCommand),
    Top(TopCommand),
    Trace(RecordingCommand),
    Doctor(DoctorCommand),
    Plan(PlanCommand),
    /// Checks schemas and samples
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Makes and checks editing traces
    #[command(subcommand)]
    Editing(EditingCommand),
    Completions(CompletionsCommand),
    Man(ManualCommand),
}

impl Arguments {
    /// Does what they say.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Pub(command) => command.run(),
            Command::Sub(command) => command.run(),
            Command::Replay(command) => command.run(),
            Command::Bench(command) => command.run(),
            Command::Docs(command) => command.run(),
            Command::Sessions(command) => command.run(),
            Command::Workers(command) => command.run(),
            Command::Move(command) => command.run(),
            Command::Drain(command) => command.run(),
            Command::Rebalance(command) => command.run(),
            Command::Top(command) => command.run(),
            Command::Trace(command) => command.run(),
            Command::Doctor(command) => command.run(),
            Command::Plan(command) => command.run(),
            Command::Schema(command) => command.run(),
            Command::Editing(command) => command.run(),
            Command::Completions(command) => command.run(),
            Command::Man(command) => command.run(),
        }
    }
}
