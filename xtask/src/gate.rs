//! The gates: what must hold before a change goes in.

use std::path::Path;

use crate::command::{Step, say};
use crate::{Failure, Outcome, root, tidy, tools, walls};

/// Features that nothing in the workspace asks for, and that are looked at all the same.
const FEATURES: [&str; 2] = ["--features", "legwork-records/schema"];

/// Everything that can be judged without running the product.
pub(crate) fn lint() -> Outcome {
    let root = root();
    tidy::check(&root)?;
    walls::check(&root)?;
    cargo(&root, &["fmt", "--all", "--check"]).run()?;
    let all = ["clippy", "--workspace", "--all-targets"];
    let warnings = ["--", "-D", "warnings"];
    cargo(&root, &[&all[..], &FEATURES, &warnings].concat()).run()?;
    if cfg!(target_arch = "x86_64") {
        bare_shim(&root).run()?;
    }
    let doc = ["doc", "--workspace", "--no-deps"];
    cargo(&root, &[&doc[..], &FEATURES].concat())
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
}

/// Clippy for the shim as it is where it starts by itself: the workspace's own build has it with a C library.
fn bare_shim(root: &Path) -> Step {
    let shim = ["--package", "legwork-shim", "--bin", "legwork-shim"];
    // A program without the standard library must not unwind, which its own profile says.
    let bare = ["--no-default-features", "--profile", "shim"];
    let arguments = [&["clippy"], &shim[..], &bare, &["--", "-D", "warnings"]].concat();
    cargo(root, &arguments)
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
    let all = ["nextest", "run", "--workspace"];
    cargo(&root, &[&all[..], &FEATURES].concat()).run()?;
    embedded_shim(&root)?.run()?;
    cargo(&root, &["test", "--doc", "--workspace"]).run()?;
    pytest(&root, &python, "not soak").run()?;
    say("xtask: all tests passed");
    Ok(())
}

/// The shim's tests again, with the program that is embedded and shipped in the place of the one built for them.
fn embedded_shim(root: &Path) -> Result<Step, Failure> {
    let built = root.join("target/shim-build");
    let targets = std::fs::read_dir(&built).map_err(|error| Failure::Read {
        place: built.display().to_string(),
        error: error.to_string(),
    })?;
    let shim = targets
        .flatten()
        .map(|target| target.path().join("shim/legwork-shim"))
        .find(|shim| shim.exists())
        .ok_or_else(|| Failure::Missing(format!("there is no shim in {}", built.display())))?;
    let tests = ["--package", "legwork-shim", "--test", "it"];
    let step = cargo(root, &[&["nextest", "run"], &tests[..]].concat());
    Ok(step.env("LEGWORK_SHIM_BIN", &shim.display().to_string()))
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
    let places = [
        "--quiet",
        "tests/python",
        "tests/vm",
        "tests/compat",
        "bench",
    ];
    let arguments = [&["-m", "ruff"], what, &places[..]].concat();
    Step::new(root, &python, &arguments)
}

fn pytest(root: &Path, python: &Path, marks: &str) -> Step {
    Step::new(
        root,
        &python.display().to_string(),
        &["-m", "pytest", "tests/python", "-m", marks],
    )
}
