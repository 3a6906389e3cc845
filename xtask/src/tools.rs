//! Making sure that what a test run needs is installed.
//!
//! Nothing is installed that is there already. Debian packages only as root and only where apt-get
//! exists; elsewhere the message names what to install.

use std::path::{Path, PathBuf};

use crate::command::{Step, say};
use crate::{Failure, Outcome};

/// A program that tests need, how to see that it works, and the Debian package that brings it.
struct Program {
    probe: (&'static str, &'static [&'static str]),
    package: &'static str,
}

const PROGRAMS: &[Program] = &[
    Program {
        probe: ("cc", &["--version"]),
        package: "build-essential",
    },
    Program {
        probe: ("python3", &["-c", "import ensurepip, venv"]),
        package: "python3-venv",
    },
    Program {
        probe: ("git", &["--version"]),
        package: "git",
    },
    Program {
        probe: ("setpriv", &["--version"]),
        package: "util-linux",
    },
    Program {
        probe: ("strace", &["--version"]),
        package: "strace",
    },
    Program {
        probe: ("stress-ng", &["--version"]),
        package: "stress-ng",
    },
];

const PYTHON_AT_LEAST: &str = "import sys; sys.exit(sys.version_info < (3, 11))";

/// Installs the programs the tests call, or says which are missing.
pub(crate) fn programs(root: &Path) -> Outcome {
    let missing: Vec<_> = PROGRAMS
        .iter()
        .filter(|p| !Step::new(root, p.probe.0, p.probe.1).succeeds())
        .map(|p| p.package)
        .collect();
    if !missing.is_empty() {
        install_debian(root, &missing)?;
    }
    if Step::new(root, "python3", &["-c", PYTHON_AT_LEAST]).succeeds() {
        Ok(())
    } else {
        Err(Failure::Missing(
            "the Python tests need Python 3.11 or newer as python3".to_owned(),
        ))
    }
}

/// Installs Debian packages, or says why that is not possible here.
pub(crate) fn install_debian(root: &Path, packages: &[&str]) -> Outcome {
    let list = packages.join(" ");
    if !is_root() || !Step::new(root, "apt-get", &["--version"]).succeeds() {
        return Err(Failure::Missing(format!(
            "missing for the tests: {list} (names of Debian packages); install them and try again"
        )));
    }
    say(&format!("xtask: installing {list}"));
    let quiet = |step: Step| step.env("DEBIAN_FRONTEND", "noninteractive");
    quiet(Step::new(root, "apt-get", &["update", "-q"])).run()?;
    let mut arguments = vec!["install", "-y", "-q", "--no-install-recommends"];
    arguments.extend(packages);
    quiet(Step::new(root, "apt-get", &arguments)).run()
}

/// Whether this process's effective user is root, by the owner of its own /proc entry.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

/// Installs cargo-nextest unless it is there.
pub(crate) fn nextest(root: &Path) -> Outcome {
    cargo_tool(root, "nextest", "cargo-nextest")
}

/// Installs cargo-deny unless it is there.
pub(crate) fn deny(root: &Path) -> Outcome {
    cargo_tool(root, "deny", "cargo-deny")
}

fn cargo_tool(root: &Path, subcommand: &str, package: &str) -> Outcome {
    if Step::new(root, "cargo", &[subcommand, "--version"]).succeeds() {
        return Ok(());
    }
    Step::new(root, "cargo", &["install", package, "--locked"]).run()
}

/// Makes the virtual environment that `tests/python/requirements.txt` describes; its interpreter.
///
/// The stamp holds the requirements it was filled from, so an unchanged list costs nothing.
pub(crate) fn python(root: &Path) -> Result<PathBuf, Failure> {
    let venv = root.join(".venv");
    let interpreter = venv.join("bin/python");
    let requirements = root.join("tests/python/requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).map_err(|error| Failure::Read {
        place: requirements.display().to_string(),
        error: error.to_string(),
    })?;
    let stamp = venv.join("requirements.installed");
    let works = Step::new(root, &interpreter.display().to_string(), &["--version"]).succeeds();
    if works && std::fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(interpreter);
    }
    let venv_text = venv.display().to_string();
    Step::new(root, "python3", &["-m", "venv", "--clear", &venv_text]).run()?;
    Step::new(
        root,
        &interpreter.display().to_string(),
        &[
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
            &requirements.display().to_string(),
        ],
    )
    .run()?;
    std::fs::write(&stamp, wanted).map_err(|error| Failure::Read {
        place: stamp.display().to_string(),
        error: error.to_string(),
    })?;
    Ok(interpreter)
}
