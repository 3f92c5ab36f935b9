//! What the program tells packagers of itself: completions and the manual page.
//!
//! Both come out of the command that `--help` prints. Nothing of this machine, its environment or a
//! configuration is in them, so that a package may carry them.

use clap_complete::{Shell, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::options::{EXAMPLES, EXIT_CODES, SIGNALS, command};

/// What the installed service uses.
const FILES: &str = "\
  /etc/deltaworks/deltaworksd.toml  the configuration
  /run/deltaworks/deltaworks.sock   connections of members of the group deltaworks
  /run/deltaworks/admin.sock        what deltaworks(1) asks for documents, sessions and recordings";

/// The script that makes `shell` complete the command line.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    generate(shell, &mut command(), "deltaworksd", &mut script);
    script
}

/// deltaworksd(8), for man(1).
pub fn manual() -> Vec<u8> {
    // What stands below the options in the help gets headings of its own here.
    let command = command().after_help(None::<&str>);
    let mut page = Vec::new();
    let man = Man::new(command).section("8");
    let parts = [
        Man::render_title,
        Man::render_name_section,
        Man::render_synopsis_section,
        Man::render_description_section,
        Man::render_options_section,
    ];
    for part in parts {
        // A buffer in memory takes everything.
        let _ = part(&man, &mut page);
    }
    let mut rest = Roff::new();
    for (heading, lines) in [
        ("EXAMPLES", EXAMPLES),
        ("SIGNALS", SIGNALS),
        ("EXIT STATUS", EXIT_CODES),
        ("FILES", FILES),
    ] {
        rest.control("SH", [heading]).control("nf", []).text([roman(lines)]).control("fi", []);
    }
    rest.control("SH", ["SEE ALSO"]).text([roman("deltaworks(1), systemctl(1), journalctl(1)")]);
    let _ = rest.to_writer(&mut page);
    page
}
