//! Every command of the command line, walked: its help, its manual page and what shells complete.

mod folder;

use clap::{Command, CommandFactory};
use deltaworks::arguments::Arguments;
use folder::{Folder, deltaworks};
use serde_json::Value;

/// Commands whose output is for another program in a format of its own.
const NO_RESULTS: [&str; 1] = ["deltaworks completions"];

/// Every command with what is typed to get there, those with commands below them, too.
fn commands() -> Vec<(String, Command)> {
    let mut all = Vec::new();
    let mut waiting = vec![("deltaworks".to_owned(), Arguments::command())];
    while let Some((path, command)) = waiting.pop() {
        for below in command.get_subcommands() {
            waiting.push((format!("{path} {}", below.get_name()), below.clone()));
        }
        all.push((path, command));
    }
    assert!(all.len() > 12, "{all:?}");
    all
}

/// What is missing in a command's help.
fn faults(path: &str, command: &Command) -> Vec<String> {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut faults = Vec::new();
    let mut must = |is_so: bool, what: &str| {
        if !is_so {
            faults.push(format!("{path}: {what}"));
        }
    };
    let has_commands = command.has_subcommands();
    must(command.get_about().is_some(), "does not say what it does");
    let example = if path == "deltaworks" { "deltaworks " } else { path };
    must(help.starts_with("Examples:\n  "), "no examples");
    must(help.contains(example), "its examples do not show it");
    must(help.contains("\nExit codes:\n  0  "), "no exit codes");
    must(help.contains("  2  the command line is wrong"), "no exit code for a wrong command line");
    must(help.lines().all(|line| line.chars().count() <= 102), "a line is too long");
    let has_json = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
    let has_results = !has_commands && !NO_RESULTS.contains(&path);
    must(has_json == has_results, "--json where it prints results, and only there");
    let asks = command.get_arguments().any(|argument| argument.get_long() == Some("admin"));
    let is_told = help.contains("\n  6  ") || path == "deltaworks doctor";
    must(has_commands || asks == is_told, "exit code 6 where a daemon must answer, and only there");
    for argument in command.get_arguments() {
        let name = argument.get_id();
        must(argument.get_help().is_some(), &format!("{name} is not explained"));
    }
    faults
}

#[test]
fn every_command_shows_examples_exit_codes_and_json() {
    let faults: Vec<String> =
        commands().iter().flat_map(|(path, command)| faults(path, command)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn each_planted_fault_of_a_help_is_seen() {
    let good =
        "Examples:\n  deltaworks x\n\nExit codes:\n  0  fine\n  2  the command line is wrong";
    let json = || clap::Arg::new("json").long("json").help("Prints JSON");
    let command = || Command::new("x").about("Does x").arg(json());
    let seen = |command: Command| faults("deltaworks x", &command).len();
    assert_eq!(seen(command().after_help(good)), 0);
    assert_eq!(seen(command().after_help(good.replace("Examples", "Uses"))), 1);
    assert_eq!(seen(command().after_help(good.replace("deltaworks x", "deltaworks y"))), 1);
    assert_eq!(seen(command().after_help(good.replace("Exit", "End"))), 1);
    assert_eq!(seen(command().after_help(good.replace("  2  ", "  9  "))), 1);
    assert_eq!(seen(command().after_help(format!("{good}{}", "x".repeat(99)))), 1);
    assert_eq!(seen(Command::new("x").about("Does x").after_help(good)), 1, "no --json");
    assert_eq!(seen(Command::new("x").arg(json()).after_help(good)), 1, "no word on what it does");
    let silent = clap::Arg::new("n").long("n");
    assert_eq!(seen(command().arg(silent).after_help(good)), 1, "an option without a word");
    let admin = clap::Arg::new("admin").long("admin").help("Socket");
    assert_eq!(seen(command().arg(admin).after_help(good)), 1, "a daemon may be missing");
}

#[test]
fn every_command_has_a_manual_page() {
    let folder = Folder::new();
    let pages = folder.join("man");
    let pages = pages.to_str().expect("UTF-8");
    let written = deltaworks(&["man", "--out", pages, "--json"]);
    assert_eq!(written.status.code(), Some(0));
    let told: Value = serde_json::from_slice(&written.stdout).expect("one line of JSON");
    assert_eq!(told["files"].as_array().map(Vec::len), Some(commands().len()), "{told}");
    for (path, command) in commands() {
        let name = path.replace(' ', "-");
        let file = format!("{pages}/{name}.1");
        let page = std::fs::read_to_string(&file).unwrap_or_else(|why| panic!("{file}: {why}"));
        assert!(page.contains(&format!(".TH {name} 1 ")), "{page}");
        for part in [".SH NAME", ".SH SYNOPSIS", ".SH EXAMPLES\n.nf\n", ".SH EXIT STATUS\n.nf\n"] {
            assert!(page.contains(part), "{name}: {part}");
        }
        assert!(!page.contains("EXTRA"), "{name}");
        for option in command.get_arguments().filter(|option| !option.is_hide_set()) {
            let Some(long) = option.get_long() else { continue };
            let long = format!("\\-\\-{}", long.replace('-', "\\-"));
            assert!(page.contains(&long), "{name}: {long}");
        }
        for hidden in command.get_arguments().filter(|option| option.is_hide_set()) {
            let long =
                format!("\\-\\-{}\\", hidden.get_long().unwrap_or_default().replace('-', "\\-"));
            assert!(!page.contains(&long), "{name} shows {long}");
        }
    }
    let printed = deltaworks(&["man"]);
    assert!(printed.stdout.starts_with(b".ie"), "a page for man(1)");
}

#[test]
fn shells_complete_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let output = deltaworks(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let script = String::from_utf8(output.stdout).expect("UTF-8");
        for (path, command) in commands() {
            assert!(script.contains(command.get_name()), "{shell}: {path}");
        }
        assert!(script.contains("sample-ms"), "{shell} completes options");
    }
    assert_eq!(deltaworks(&["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn bash_reads_its_script() {
    let script = deltaworks(&["completions", "bash"]).stdout;
    let mut bash = std::process::Command::new("bash");
    bash.args(["--norc", "-c", "eval \"$1\" && complete -p deltaworks", "bash"]);
    let read = bash.arg(String::from_utf8(script).expect("UTF-8")).output();
    let Ok(read) = read else {
        eprintln!("SKIPPED: no bash here to read its script");
        return;
    };
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
}
