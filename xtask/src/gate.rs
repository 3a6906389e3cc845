//! The gates: what must hold before a change goes in.

use std::path::Path;

use crate::command::{Step, say};
use crate::{Failure, Outcome, root, tidy, tools, walls};

/// Everything that can be judged without running the product.
pub(crate) fn lint() -> Outcome {
    let root = root();
    tidy::check(&root)?;
    walls::check(&root)?;
    cargo(&root, &["fmt", "--all", "--check"]).run()?;
    cargo(
        &root,
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    )
    .run()?;
    cargo(&root, &["doc", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
}

/// Installs what the tests need and runs all of them, the shipped binary's included.
pub(crate) fn test() -> Outcome {
    let root = root();
    tools::programs(&root)?;
    let python = tools::python(&root)?;
    tools::nextest(&root)?;
    ruff(&root, &python, &["check"]).run()?;
    ruff(&root, &python, &["format", "--check"]).run()?;
    cargo(&root, &["build", "--release"]).run()?;
    cargo(&root, &["nextest", "run", "--workspace"]).run()?;
    cargo(&root, &["test", "--doc", "--workspace"]).run()?;
    pytest(&root, &python, "not soak").run()?;
    say("xtask: all tests passed");
    Ok(())
}

/// Everything: the two gates, the audit of dependencies, and the tests that take long.
pub(crate) fn full() -> Outcome {
    let root = root();
    lint()?;
    test()?;
    audit(&root)?;
    let soak = ["--profile", "soak", "--cargo-profile", "soak"];
    cargo(
        &root,
        &[&["nextest", "run", "--workspace"], &soak[..]].concat(),
    )
    .env("PROPTEST_CASES", "20000")
    .run()?;
    let python = tools::python(&root)?;
    pytest(&root, &python, "soak").run()
}

/// Licences, sources and duplicate versions, by `deny.toml`.
fn audit(root: &Path) -> Outcome {
    if let Err(failure) = tools::deny(root) {
        return Err(Failure::Missing(format!(
            "cargo-deny is not there and could not be installed: {failure}"
        )));
    }
    cargo(root, &["deny", "check", "bans", "licenses", "sources"]).run()
}

fn cargo(root: &Path, arguments: &[&str]) -> Step {
    Step::new(root, "cargo", arguments)
}

fn ruff(root: &Path, python: &Path, what: &[&str]) -> Step {
    let python = python.display().to_string();
    let arguments = [&["-m", "ruff"], what, &["--quiet", "tests/python", "bench"]].concat();
    Step::new(root, &python, &arguments)
}

fn pytest(root: &Path, python: &Path, marks: &str) -> Step {
    Step::new(
        root,
        &python.display().to_string(),
        &["-m", "pytest", "tests/python", "-m", marks],
    )
}
