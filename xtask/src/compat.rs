//! `cargo xtask compat REV`: an old revision's binary and this one's, each of which looks at what the other has begun.
//!
//! The revision is unpacked below `target/compat`, where its binary is built and kept, so that the next run of it builds
//! nothing. What is checked, and what the versions may refuse each other, is in `tests/compat`.

use std::path::{Path, PathBuf};

use crate::command::{Step, say, unreadable};
use crate::{Failure, Outcome};

/// Builds both and lets them meet.
pub(crate) fn run(root: &Path, revision: &str) -> Outcome {
    let commit = commit(root, revision)?;
    let old = old_binary(root, &commit)?;
    let new = new_binary(root)?;
    say(&format!("xtask: {revision} is {commit}"));
    let (old, new) = (old.display().to_string(), new.display().to_string());
    let meet = root.join("tests/compat/run.py").display().to_string();
    Step::new(root, "python3", &[&meet, &old, &new]).run()
}

/// The whole name of a revision.
fn commit(root: &Path, revision: &str) -> Result<String, Failure> {
    let named = format!("{revision}^{{commit}}");
    let asked = [
        "rev-parse",
        "--verify",
        "--short=12",
        "--end-of-options",
        &named,
    ];
    let told = Step::new(root, "git", &asked).output()?;
    Ok(told.trim().to_owned())
}

fn old_binary(root: &Path, commit: &str) -> Result<PathBuf, Failure> {
    let yard = root.join("target/compat");
    let kept = yard.join("bin").join(format!("legwork-{commit}"));
    if kept.exists() {
        return Ok(kept);
    }
    let source = yard.join(commit);
    unpack(root, &yard, &source, commit)?;
    // What they have in common is built once for all revisions.
    let target = yard.join("target");
    let target_word = target.display().to_string();
    let build = ["build", "--release", "--package", "legwork", "--target-dir"];
    Step::new(&source, "cargo", &[&build[..], &[&target_word]].concat()).run()?;
    let keep = || {
        std::fs::create_dir_all(yard.join("bin"))?;
        // Whoever is interrupted leaves no half of it.
        let fresh = kept.with_extension("new");
        std::fs::copy(target.join("release/legwork"), &fresh)?;
        std::fs::rename(fresh, &kept)?;
        std::fs::remove_dir_all(&source)
    };
    keep().map_err(|error| unreadable(&kept, &error))?;
    Ok(kept)
}

/// The files of a revision, and nothing that the repository would have to be told of.
fn unpack(root: &Path, yard: &Path, source: &Path, commit: &str) -> Outcome {
    std::fs::create_dir_all(source).map_err(|error| unreadable(source, &error))?;
    let packed = yard.join(format!("{commit}.tar"));
    let (packed_word, source_word) = (packed.display().to_string(), source.display().to_string());
    let pack = ["archive", "--format=tar", "--output", &packed_word, commit];
    Step::new(root, "git", &pack).run()?;
    Step::new(root, "tar", &["-xf", &packed_word, "-C", &source_word]).run()?;
    std::fs::remove_file(&packed).map_err(|error| unreadable(&packed, &error))
}

/// The binary that `LEGWORK_BIN` names, as for the Python tests, or the shipped one, built if it is old.
fn new_binary(root: &Path) -> Result<PathBuf, Failure> {
    if let Some(named) = std::env::var_os("LEGWORK_BIN") {
        return Ok(PathBuf::from(named));
    }
    Step::new(root, "cargo", &["build", "--release"]).run()?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("release/legwork"))
}
