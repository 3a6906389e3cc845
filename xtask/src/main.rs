//! `cargo xtask …`: everything that is done to this workspace besides building it.
//!
//! One runner, so that a person and an automated gate do exactly the same. Each command is a list of
//! named steps; the first that fails ends the run with its own words.

mod command;
mod compat;
mod gate;
mod tidy;
mod tools;
mod vm;
mod walls;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  lint    formatting, clippy, rustdoc, walls and tidy; changes nothing
  test    install what the tests need, then every Rust, doc and Python test
  full    lint, test, dependency audit and the long soaks
  walls   who may depend on whom
  tidy    module docs, file sizes, leftovers, links, changelog
  compat  builds an old revision, and lets its binary and this one look at each other's jobs:
          compat REVISION
  vm      tests/vm in a virtual machine with systemd and cgroup v2, where they can be made here:
          vm [--require] [--shell-command CMD] [TESTNAME-SUBSTRING...]";

/// Why a command of this runner failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// A program could not be started at all.
    #[error("cannot run {program}: {error}")]
    Spawn {
        /// What was to run.
        program: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// A step ran and said no.
    #[error("{step} failed ({status})")]
    Step {
        /// The command line.
        step: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// Something a test run needs is not there and cannot be installed from here.
    #[error("{0}")]
    Missing(String),
    /// The virtual machine was started, and its tests did not pass.
    #[error("in the virtual machine: {0}")]
    Machine(String),
    /// Rules of the workspace that do not hold, one a line.
    #[error("{rule}: {} broken\n  {}", found.len(), found.join("\n  "))]
    Rules {
        /// Which set of rules.
        rule: &'static str,
        /// What was found, with places.
        found: Vec<String>,
    },
    /// The workspace could not be read.
    #[error("{place}: {error}")]
    Read {
        /// File or tool.
        place: String,
        /// What went wrong.
        error: String,
    },
}

type Outcome = Result<(), Failure>;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let outcome = match (name.as_str(), rest.first()) {
        ("vm", _) => match vm::Options::parse(rest) {
            Ok(options) => vm::run(&root(), &options),
            Err(problem) => return usage(&problem),
        },
        ("compat", Some(_)) => match rest.as_slice() {
            [revision] => compat::run(&root(), revision),
            _ => return usage("compat takes one revision"),
        },
        ("compat", None) => return usage("compat takes a revision"),
        (_, Some(extra)) => return usage(&format!("unexpected argument: {extra}")),
        ("lint", _) => gate::lint(),
        ("test", _) => gate::test(),
        ("full", _) => gate::full(),
        ("walls", _) => walls::check(&root()),
        ("tidy", _) => tidy::check(&root()),
        ("-h" | "--help" | "help", _) => {
            command::say(USAGE);
            return ExitCode::SUCCESS;
        }
        ("", _) => return usage("no command given"),
        (other, _) => return usage(&format!("unknown command: {other}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            command::say(&format!("xtask: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn usage(problem: &str) -> ExitCode {
    command::say(&format!("xtask: {problem}\n\n{USAGE}"));
    ExitCode::from(2)
}

/// The workspace's top directory.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
        .to_path_buf()
}
