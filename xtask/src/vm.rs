//! `cargo xtask vm`: the tests that need a host of their own, in a virtual machine made for them.
//!
//! What legwork does below systemd and in cgroups cannot be seen in a container, which has neither as
//! PID 1 nor controllers of its own, nor can it be rebooted. So a small Debian is made once (`image`),
//! the binary and `tests/vm` are put on a second disk for each run (`carried`), the machine is started
//! (`boot`) with an accelerator if one works (`accelerator`), and its words are followed (`words`).
//!
//! Where the machine cannot be made, this is told and is no failure unless `--require` says so: not every
//! place where the workspace is tested allows it.

mod accelerator;
mod boot;
mod carried;
mod image;
mod words;

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::command::{Step, say, unreadable};
use crate::{Failure, Outcome, tools};

/// What the caller of `vm` asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// A machine that cannot be made is a failure.
    require: bool,
    /// Run this in the guest instead of tests.
    shell_command: Option<String>,
    /// Run the tests that have one of these in their names, or all if there is none.
    tests: Vec<String>,
}

impl Options {
    /// From what follows `vm` on the command line.
    pub(crate) fn parse(arguments: Vec<String>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--require" => options.require = true,
                "--shell-command" => {
                    let command = arguments.next().ok_or("--shell-command needs a command")?;
                    options.shell_command = Some(command);
                }
                other if other.starts_with('-') => return Err(format!("unknown option: {other}")),
                _ => options.tests.push(argument),
            }
        }
        if options.shell_command.is_some() && !options.tests.is_empty() {
            return Err("tests and --shell-command exclude each other".to_owned());
        }
        Ok(options)
    }
}

/// Where everything of the machine lies, and what it needs of the host.
#[derive(Debug)]
struct Yard {
    root: PathBuf,
    dir: PathBuf,
}

impl Yard {
    /// A program of the host: these lie where only root's PATH leads.
    fn step(&self, program: &str, arguments: &[&str]) -> Step {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = format!("{}:/usr/sbin:/sbin", path.to_string_lossy());
        Step::new(&self.root, program, arguments).env("PATH", &path)
    }

    /// Installs the packages of those programs that are not there; [`Failure::Missing`] if that cannot be.
    fn need(&self, programs: &[(&str, &str, &'static str)]) -> Outcome {
        let missing: Vec<_> = programs
            .iter()
            .filter(|(program, probe, _)| !self.step(program, &[probe]).succeeds())
            .map(|(_, _, package)| *package)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        tools::install_debian(&self.root, &missing)
            .map_err(|failure| Failure::Missing(failure.to_string()))
    }
}

/// Makes the machine as far as it is not there, starts it, and judges what it says.
pub(crate) fn run(root: &Path, options: &Options) -> Outcome {
    let dir = root.join("target/vm");
    std::fs::create_dir_all(&dir).map_err(|error| unreadable(&dir, &error))?;
    let yard = Yard {
        root: root.to_path_buf(),
        dir,
    };
    let _alone = alone(&yard)?;
    let image = match image::made(&yard) {
        Ok(image) => image,
        Err(Failure::Missing(why)) if !options.require => {
            say(&format!("SKIPPED: {why}"));
            return Ok(());
        }
        Err(failure) => return Err(failure),
    };
    let carried = carried::make(&yard, options)?;
    boot::run(&yard, &image, &carried, options)
}

/// A lock for as long as what is returned lives: two runs would write the same disks.
fn alone(yard: &Yard) -> Result<File, Failure> {
    let path = yard.dir.join("lock");
    let lock = File::create(&path).map_err(|error| unreadable(&path, &error))?;
    if lock.try_lock().is_err() {
        say("xtask: waiting for another run of the virtual machine");
        lock.lock().map_err(|error| unreadable(&path, &error))?;
    }
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::Options;

    fn parsed(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn options_and_names_of_tests_are_told_apart() {
        let options = parsed("--require reboot scope").unwrap();
        assert!(options.require);
        assert_eq!(options.tests, ["reboot", "scope"]);
        let options = parsed("--shell-command -true").unwrap();
        assert_eq!(options.shell_command.as_deref(), Some("-true"));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for line in ["--shell-command", "--other", "--shell-command ls reboot"] {
            parsed(line).unwrap_err();
        }
    }
}
