//! The disk that one run carries into the machine: the binary, the tests, and which of them to run.

use std::path::{Path, PathBuf};

use super::image::{disk, remove};
use super::{Options, Yard};
use crate::command::{Step, unreadable};
use crate::{Failure, Outcome};

/// Room on the disk: for a binary with debugging information too.
const SIZE: &str = "1G";

/// Makes the disk anew, from what is there now.
pub(super) fn make(yard: &Yard, options: &Options) -> Result<PathBuf, Failure> {
    let binary = binary(yard)?;
    let tree = yard.dir.join("carried");
    remove(&tree)?;
    copy(&yard.root.join("tests/vm"), &tree.join("vm"))?;
    copy_file(&binary, &tree.join("legwork"))?;
    write(&tree.join("tests"), &options.tests.join("\n"))?;
    if let Some(command) = &options.shell_command {
        write(&tree.join("command"), command)?;
    }
    let path = yard.dir.join("carried.ext4");
    disk(yard, "carried", &tree, &path, SIZE)?;
    Ok(path)
}

/// The binary that `LEGWORK_BIN` names, as for the other Python tests, or the shipped one, built if it is old.
fn binary(yard: &Yard) -> Result<PathBuf, Failure> {
    if let Some(named) = std::env::var_os("LEGWORK_BIN") {
        return Ok(PathBuf::from(named));
    }
    Step::new(&yard.root, "cargo", &["build", "--release"]).run()?;
    Ok(yard.root.join("target/release/legwork"))
}

/// Copies a directory of sources, without what Python leaves in it.
fn copy(from: &Path, to: &Path) -> Outcome {
    std::fs::create_dir_all(to).map_err(|error| unreadable(to, &error))?;
    let entries = std::fs::read_dir(from).map_err(|error| unreadable(from, &error))?;
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && name != "__pycache__" {
            copy(&path, &to.join(name))?;
        } else if path.extension().is_some_and(|e| e == "py") {
            copy_file(&path, &to.join(name))?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> Outcome {
    std::fs::copy(from, to)
        .map(|_| ())
        .map_err(|error| unreadable(from, &error))
}

fn write(path: &Path, text: &str) -> Outcome {
    std::fs::write(path, text).map_err(|error| unreadable(path, &error))
}
