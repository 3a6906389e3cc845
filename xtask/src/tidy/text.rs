//! Rules for every text file: no leftovers, no paths of somebody's own machine.

use super::Source;

/// Words that mark unfinished work. Written in halves, since this file is checked too.
const LEFTOVERS: &[(&str, &str)] = &[("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("dbg", "!(")];
/// Beginnings of paths that exist on one workstation only.
const PRIVATE: &[(&str, &str)] = &[("/ho", "me/"), ("/Us", "ers/"), ("/ro", "ot/")];

/// What this file should not contain.
pub(super) fn file(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        let place = format!("{}:{}", source.path, index + 1);
        for (a, b) in LEFTOVERS {
            if has_word(line, &format!("{a}{b}")) {
                found.push(format!("{place}: leftover {a}{b}"));
            }
        }
        for (a, b) in PRIVATE {
            if line.contains(&format!("{a}{b}")) {
                found.push(format!("{place}: path of one machine ({a}{b}…)"));
            }
        }
        if line.ends_with([' ', '\t']) {
            found.push(format!("{place}: space at the end of the line"));
        }
    }
    found
}

fn has_word(line: &str, word: &str) -> bool {
    let letter = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !letter(before) && (word.ends_with('(') || !letter(after))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Source;
    use super::file;

    #[test]
    fn leftovers_are_found_and_words_around_them_are_not() {
        let text = concat!(
            "// TO",
            "DO: later\nMKTO",
            "DO\n",
            "x /ho",
            "me/me\ntrailing \n"
        );
        let source = Source {
            path: "a.rs".to_owned(),
            text: text.to_owned(),
        };
        let found = file(&source);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("a.rs:1:"));
        assert!(found[1].starts_with("a.rs:3:"));
        assert!(found[2].starts_with("a.rs:4:"));
    }
}
