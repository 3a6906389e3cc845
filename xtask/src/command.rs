//! Running programs and telling what is going on.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::{Failure, Outcome};

/// A program with arguments, to be run in one directory.
#[derive(Debug)]
pub(crate) struct Step {
    line: String,
    command: Command,
}

impl Step {
    /// `program` with `arguments`, in `dir`.
    pub(crate) fn new(dir: &Path, program: &str, arguments: &[&str]) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "a script runner's work is to start programs; none of them is a job"
        )]
        let mut command = Command::new(program);
        command.args(arguments).current_dir(dir);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(is_of_this_package) {
                command.env_remove(name);
            }
        }
        Self {
            line: format!("{program} {}", arguments.join(" ")),
            command,
        }
    }

    /// One more environment variable.
    pub(crate) fn env(mut self, key: &str, value: &str) -> Self {
        self.command.env(key, value);
        self
    }

    /// Runs it with this process's own output, and fails unless it ends with 0.
    pub(crate) fn run(mut self) -> Outcome {
        say(&format!("xtask: {}", self.line));
        let status = self.command.stdin(Stdio::null()).status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failure::Step {
                step: self.line,
                status,
            }),
            Err(error) => Err(Failure::Spawn {
                program: self.line,
                error,
            }),
        }
    }

    /// Runs it and gives what it prints; its errors are this process's own.
    pub(crate) fn output(mut self) -> Result<String, Failure> {
        let told = self
            .command
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output();
        match told {
            Ok(told) if told.status.success() => {
                Ok(String::from_utf8_lossy(&told.stdout).into_owned())
            }
            Ok(told) => Err(Failure::Step {
                step: self.line,
                status: told.status,
            }),
            Err(error) => Err(Failure::Spawn {
                program: self.line,
                error,
            }),
        }
    }

    /// The same, with everything that it says in a file, of which the end is told when it fails.
    pub(crate) fn run_into(mut self, log: &Path) -> Outcome {
        let file = create(log)?;
        let both = file.try_clone().map_err(|error| unreadable(log, &error))?;
        self.command.stdout(file).stderr(both);
        let outcome = self.run();
        if outcome.is_err() {
            say(&tail(log));
        }
        outcome
    }

    /// Starts it: its standard output is for the caller, its standard error goes to a file.
    pub(crate) fn start(mut self, errors: &Path) -> Result<Child, Failure> {
        let errors = create(errors)?;
        self.command.stdin(Stdio::null()).stdout(Stdio::piped());
        self.command
            .stderr(errors)
            .spawn()
            .map_err(|error| Failure::Spawn {
                program: self.line,
                error,
            })
    }

    /// Whether it can be run and ends with 0; its output is dropped.
    pub(crate) fn succeeds(mut self) -> bool {
        self.command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|error| unreadable(path, &error))
}

/// A file that could not be used.
pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Read {
        place: path.display().to_string(),
        error: error.to_string(),
    }
}

/// Lines of a log that are worth showing to somebody who has to find out why something failed.
const TAIL_LINES: usize = 40;

/// The end of a log, below its name.
pub(crate) fn tail(log: &Path) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    format!("--- the end of {}\n{}", log.display(), shown.join("\n"))
}

/// Whether cargo set a variable for us, the package that it runs. Build scripts that look at such ones, as ring's does, would run
/// again, and what depends on them be built again, each time that somebody builds with us and then without.
fn is_of_this_package(name: &str) -> bool {
    ["CARGO_PKG_", "CARGO_MANIFEST_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Says something on standard error, where cargo and every step speak too.
#[expect(clippy::print_stderr, reason = "the runner's one place of speech")]
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}
