//! The program as its user meets it: help, wrong flags, addresses in use.

use std::os::unix::net::UnixListener;
use std::process::Output;

use crate::daemon::{Daemon, Folder, program};
use crate::wire::Peer;
use crate::witness::Witness;

fn run(arguments: &[&str]) -> Output {
    program().args(arguments).output().expect("the program runs")
}

/// Exit code and what was said on standard error.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(arguments);
    assert!(output.stdout.is_empty(), "{arguments:?}: {output:?}");
    let text = String::from_utf8(output.stderr).expect("text");
    assert!(!text.contains("panicked"), "{text}");
    (output.status.code(), text)
}

#[test]
fn help_and_version_are_told_on_standard_output() {
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let text = String::from_utf8(help.stdout).expect("text");
    for word in ["--tcp", "--unix", "--collection", "--budget-mib", "Examples", "Exit codes"] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    let version = run(&["--version"]);
    let text = String::from_utf8(version.stdout).expect("text");
    assert_eq!(text, format!("deltaworksd {}\n", env!("CARGO_PKG_VERSION")));
    let budget = run(&["--print-budget"]);
    assert_eq!(budget.status.code(), Some(0));
    let text = String::from_utf8(budget.stdout).expect("text");
    assert!(text.contains("chunks") && text.contains("of 256 MiB"), "{text}");
}

#[test]
fn completions_and_the_manual_page_show_every_flag() {
    let help = String::from_utf8(run(&["--help"]).stdout).expect("text");
    let flags: Vec<&str> =
        help.split(['\n', ' ', '=', '[']).filter(|word| word.starts_with("--")).collect();
    assert!(flags.len() > 40, "{flags:?}");
    let man = run(&["--man"]);
    let page = String::from_utf8(man.stdout).expect("text");
    assert!(page.contains(".TH deltaworksd 8 "), "{page}");
    for part in [".SH OPTIONS", ".SH EXAMPLES", ".SH SIGNALS", ".SH \"EXIT STATUS\""] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let pages = flags.iter().filter(|flag| !page.contains(&flag.replace('-', "\\-")));
    assert_eq!(pages.collect::<Vec<_>>(), [&""; 0]);
    for shell in ["bash", "zsh", "fish"] {
        // Whatever the environment holds, a package may carry it.
        let told = program().args(["--completions", shell]).env("DELTAWORKS_TCP", "?").output();
        let told = told.expect("the program runs");
        assert_eq!(told.status.code(), Some(0), "{shell}: {told:?}");
        let script = String::from_utf8(told.stdout).expect("text");
        let word = |flag: &str| flag.trim_start_matches('-').to_owned();
        let lacks = flags.iter().filter(|flag| !script.contains(&word(flag)));
        assert_eq!(lacks.collect::<Vec<_>>(), [&""; 0], "{shell}");
    }
}

/// What is lost on a full disk is no success; what nobody reads any more is.
#[test]
fn output_that_is_lost_shows_in_the_exit_code() {
    let full = || std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let lost = program().arg("--print-config").stdout(full()).output().expect("it runs");
    assert_eq!(lost.status.code(), Some(1));
    let told = String::from_utf8(lost.stderr).expect("text");
    assert!(told.starts_with("deltaworksd: standard output: "), "{told}");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let unread = program().arg("--print-config").stdout(writer).status().expect("it runs");
    assert_eq!(unread.code(), Some(0));
    let silent = program().args(["--budget-mib", "1", "--check"]).stderr(full()).status();
    assert_eq!(silent.expect("it runs").code(), Some(2), "the code tells what nobody can read");
}

#[test]
fn a_wrong_command_line_ends_with_2_and_says_why() {
    let folder = Folder::new();
    let broken =
        format!("notes=cbor:{}", folder.write("broken", "{\"type\": \"uint33\"}").display());
    let missing = format!("notes=cbor:{}", folder.join("missing").display());
    for (arguments, word) in [
        (&["--no-such-flag"][..], "--no-such-flag"),
        (&["--json"], "--check"),
        (&["--man", "--check"], "--check"),
        (&["--completions", "tcsh"], "tcsh"),
        (&["--tcp", "localhost"], "localhost"),
        (&["--tcp", "127.0.0.1:70000"], "70000"),
        (&["--tcp", "0.0.0.0:0"], "--insecure"),
        (&["--tcp", "[::]:0"], "--insecure"),
        (&["--tcp", "192.0.2.1:0"], "--insecure"),
        (&["--budget-mib", "1"], "too small"),
        (&["--budget-mib", "-1"], "-1"),
        (&["--budget-mib", "256", "--chunk-bytes", "1073741824"], "too small"),
        (&["--documents", "many"], "many"),
        (&["--collection", "notes"], "NAME=KIND"),
        (&["--collection", "notes=arrow"], "arrow"),
        (&["--collection", "notes=json:file"], "opaque"),
        (&["--collection", "a/b=opaque"], "'/'"),
        (&["--collection", "notes=cbor"], "schema"),
        (&["--collection", &missing], "missing"),
        (&["--collection", &broken], "/type"),
        (&["surplus"], "surplus"),
    ] {
        let (code, text) = refused(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {text}");
        assert!(text.contains(word), "{arguments:?}: {word} is not in {text}");
    }
}

/// Values without a meaning are refused as a wrong command line, not by a panic.
#[test]
fn values_without_meaning_are_refused() {
    let huge = u64::MAX.to_string();
    for (flag, values) in [
        ("--chunk-bytes", &["0", "1000", "4096", "100000", "2147483648", &huge][..]),
        ("--ring-capacity", &["0", &huge]),
        ("--cores", &["0", "65536"]),
        ("--credit-bytes", &["0", "4095", "4294967295"]),
        ("--budget-mib", &["0", "17592186044416", &huge]),
        ("--documents", &["0", "4294967295"]),
        ("--message-deadline-seconds", &["0", &huge]),
        ("--idle-unload-seconds", &[&huge]),
        ("--drain-seconds", &[&huge]),
        ("--spin-us", &[&huge]),
    ] {
        for value in values {
            let (code, text) = refused(&[flag, value]);
            assert_eq!(code, Some(2), "{flag} {value}: {text}");
            assert!(!text.is_empty(), "{flag} {value}");
        }
    }
}

#[test]
fn an_address_in_use_ends_with_1_and_says_which() {
    let daemon = Daemon::start(&[]);
    let witness = Witness::start(&daemon);
    let (code, text) = refused(&["--tcp", daemon.tcp()]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(daemon.tcp()) && text.contains("in use"), "{text}");
    let socket = daemon.unix();
    let socket = socket.to_str().expect("a path in plain letters");
    let (code, text) = refused(&["--unix", socket]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(socket) && text.contains("in use"), "{text}");
    let (code, text) = refused(&["--unix", "/no/such/folder/socket"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("/no/such/folder/socket"), "{text}");
    let (code, text) = refused(&["--tcp", "127.0.0.1:0", "--ready-file", "/no/such/folder/ready"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("/no/such/folder/ready"), "{text}");
    witness.finish();
    daemon.stop();
}

/// A socket file that nobody listens to is in nobody's way.
#[test]
fn a_socket_file_of_a_dead_daemon_is_replaced() {
    let folder = Folder::new();
    drop(UnixListener::bind(folder.join("socket")).expect("a socket file"));
    assert!(folder.join("socket").exists());
    let daemon = Daemon::start_in(folder, &crate::daemon::SMALL);
    assert_eq!(Peer::unix(&daemon).is_alive(), []);
    daemon.stop();
}
