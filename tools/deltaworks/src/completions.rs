//! `deltaworks completions`: what a shell completes, out of the same description as the help.

use std::process::ExitCode;

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::{Shell, generate};

use crate::arguments::Arguments;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  deltaworks completions bash > /etc/bash_completion.d/deltaworks
  deltaworks completions zsh > ~/.zfunc/_deltaworks
  deltaworks completions fish > ~/.config/fish/completions/deltaworks.fish

Exit codes:
  0  the script was printed
  2  the command line is wrong";

/// Prints a script that completes this program's command line
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsCommand {
    /// Shell that reads the script
    #[arg(value_enum)]
    shell: CompletedShell,
}

/// Shells that are supported.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum CompletedShell {
    Bash,
    Zsh,
    Fish,
}

impl CompletionsCommand {
    /// Does it.
    pub fn run(self) -> ExitCode {
        let shell = match self.shell {
            CompletedShell::Bash => Shell::Bash,
            CompletedShell::Zsh => Shell::Zsh,
            CompletedShell::Fish => Shell::Fish,
        };
        let mut script = Vec::new();
        generate(shell, &mut Arguments::command(), "deltaworks", &mut script);
        output::print(String::from_utf8_lossy(&script).trim_end());
        ExitCode::SUCCESS
    }
}
