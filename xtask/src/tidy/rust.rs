//! Rules for Rust files: documented, small, and part of a crate.

use std::path::{Path, PathBuf};

use super::Source;

/// Lines that a file may have. Functions are capped by clippy.
const LINES_MAX: usize = 500;

/// Rules that one file can break.
pub(super) fn file(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    if !source.text.starts_with("//!") {
        found.push(format!(
            "{}: does not begin with a module doc (//!)",
            source.path
        ));
    }
    let lines = source.text.lines().count();
    if lines > LINES_MAX {
        found.push(format!(
            "{}: {lines} lines, the cap is {LINES_MAX}",
            source.path
        ));
    }
    found
}

/// Files under `src` or `tests` that no `mod` names: never compiled, so never tested.
pub(super) fn modules(sources: &[Source]) -> Vec<String> {
    sources
        .iter()
        .filter(|source| source.is("rs"))
        .filter_map(|source| {
            let path = module(&source.path)?;
            let parents = parents(&path)?;
            let name = path.file_stem()?.to_string_lossy();
            let registered = sources
                .iter()
                .filter(|other| parents.contains(&other.path))
                .any(|parent| declares(&parent.text, &name));
            (!registered).then(|| format!("{}: no module declares it", source.path))
        })
        .collect()
}

/// The path in its `name.rs` form: `a/mod.rs` and `a.rs` are the same module.
fn module(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    if path.file_name()? == "mod.rs" {
        return Some(path.parent()?.with_extension("rs"));
    }
    Some(path.to_path_buf())
}

/// Where the module of this path could be declared; `None` when it is the root of a target.
fn parents(path: &Path) -> Option<Vec<String>> {
    let stem = path.file_stem()?.to_str()?;
    let dir = path.parent()?;
    let inside = |part: &str| dir.components().any(|have| have.as_os_str() == part);
    if matches!(stem, "main" | "lib" | "build") || !(inside("src") || inside("tests")) {
        return None;
    }
    if ["bin", "tests"].iter().any(|part| dir.ends_with(part)) {
        return None;
    }
    let within = |name: &str| dir.join(name).display().to_string();
    Some(vec![
        within("main.rs"),
        within("lib.rs"),
        within("mod.rs"),
        dir.with_extension("rs").display().to_string(),
    ])
}

fn declares(text: &str, name: &str) -> bool {
    let wanted = format!("mod {name};");
    text.lines().map(str::trim).any(|line| {
        line.strip_suffix(&wanted)
            .is_some_and(|before| before.is_empty() || before.ends_with([' ', ']']))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::{file, modules};

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_file_that_no_module_names_is_found() {
        let sources = [
            source("crates/a/src/lib.rs", "//! A.\npub(crate) mod b;\n"),
            source("crates/a/src/b.rs", "//! B.\n"),
            source("crates/a/src/c.rs", "//! C.\n"),
            source("crates/a/tests/it/main.rs", "//! T.\nmod d;\n"),
            source("crates/a/tests/it/d.rs", "//! D.\n"),
            source("crates/a/tests/it/e.rs", "//! E.\n"),
            source("crates/a/tests/alone.rs", "//! Its own target.\n"),
        ];
        assert_eq!(
            modules(&sources),
            [
                "crates/a/src/c.rs: no module declares it",
                "crates/a/tests/it/e.rs: no module declares it"
            ]
        );
    }

    #[test]
    fn sizes_and_docs_are_held() {
        assert!(file(&source("a.rs", "//! Fine.\n")).is_empty());
        assert_eq!(file(&source("a.rs", "fn f() {}\n")).len(), 1);
        assert_eq!(file(&source("a.rs", &"//! x\n".repeat(501))).len(), 1);
    }
}
