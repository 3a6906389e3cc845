//! Rules for documents: links that lead somewhere, and a changelog of one shape.

use std::path::Path;

use super::Source;

/// Relative links whose file, or whose heading in it, is not there.
pub(super) fn links(root: &Path, source: &Source) -> Vec<String> {
    targets(&source.text)
        .into_iter()
        .filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        .filter(|target| !resolves(root, source, target))
        .map(|target| format!("{}: link leads nowhere: {target}", source.path))
        .collect()
}

/// The targets of inline links, outside code.
fn targets(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        // Odd pieces between backquotes are code.
        for prose in line.split('`').step_by(2) {
            let after = prose.split("](").skip(1);
            found.extend(after.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())));
        }
    }
    found
}

fn resolves(root: &Path, source: &Source, target: &str) -> bool {
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let here = root.join(&source.path);
    let there = if file.is_empty() {
        here
    } else {
        here.parent().unwrap_or(root).join(file)
    };
    if heading.is_empty() {
        return there.exists();
    }
    std::fs::read_to_string(there).is_ok_and(|text| {
        text.lines()
            .filter(|line| line.starts_with('#'))
            .any(|line| anchor(line.trim_start_matches('#').trim()) == heading)
    })
}

/// The anchor that common renderers give a heading.
fn anchor(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

const KINDS: &[&str] = &[
    "Added",
    "Changed",
    "Deprecated",
    "Removed",
    "Fixed",
    "Security",
];

/// Departures from the shape of Keep a Changelog.
pub(super) fn changelog(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    if !source.text.starts_with("# Changelog\n") {
        found.push("CHANGELOG.md: the first line is not '# Changelog'".to_owned());
    }
    let mut versions = source.text.lines().filter_map(|l| l.strip_prefix("## "));
    if !versions
        .next()
        .is_some_and(|v| v.starts_with("[Unreleased]"))
    {
        found.push("CHANGELOG.md: the first section is not '## [Unreleased]'".to_owned());
    }
    for version in versions.filter(|version| !is_release(version)) {
        found.push(format!("CHANGELOG.md: not '[x.y.z] - date': {version}"));
    }
    let kinds = source.text.lines().filter_map(|l| l.strip_prefix("### "));
    for kind in kinds.filter(|kind| !KINDS.contains(kind)) {
        found.push(format!("CHANGELOG.md: '{kind}' is none of {KINDS:?}"));
    }
    found
}

fn is_release(heading: &str) -> bool {
    let Some((version, date)) = heading.split_once(" - ") else {
        return false;
    };
    let numbers = |text: &str, separator: char| {
        text.split(separator).count() == 3
            && text
                .split(separator)
                .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    };
    version
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|version| numbers(version, '.'))
        && numbers(date, '-')
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::{anchor, changelog, links, targets};

    fn source(text: &str) -> Source {
        Source {
            path: "CHANGELOG.md".to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn links_are_followed_to_their_heading() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("other.md"), "# One `two`\n").unwrap();
        let text = "[a](other.md#one-two) [b](gone.md) [c](other.md#three) [d](https://x.y)\n";
        let found = links(dir.path(), &source(text));
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn code_is_no_link() {
        assert!(targets("`[a](b)`\n```\n[a](b)\n```\n").is_empty());
        assert_eq!(targets("[`code`](file.md)"), ["file.md"]);
        assert_eq!(anchor("Exit codes, all"), "exit-codes-all");
    }

    #[test]
    fn a_changelog_has_one_shape() {
        let good = "# Changelog\n\n## [Unreleased]\n### Added\n- x\n## [0.1.0] - 2026-01-31\n";
        assert!(changelog(&source(good)).is_empty());
        let bad = "# Changes\n## [Unreleased]\n### News\n## 0.1.0\n";
        assert_eq!(changelog(&source(bad)).len(), 3);
    }
}
