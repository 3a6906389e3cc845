//! What the machine says about its tests, line by line, and what follows from all of it.
//!
//! `ok NAME`, `FAILED NAME` and `SKIPPED NAME why` are of tests, `| text` is output of the one before or of
//! the command, `exit CODE` is the command's end. `end` says that nothing is to come: a machine that went down without
//! that word has not passed, whatever it said before.

/// What was heard so far.
#[derive(Debug, Default)]
pub(super) struct Words {
    passed: u32,
    failed: Vec<String>,
    skipped: u32,
    exit: Option<String>,
    complete: bool,
}

impl Words {
    /// Takes one line, and gives what is to be shown of it.
    pub(super) fn hear(&mut self, line: &str) -> Option<String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "|" => return Some(format!("    {rest}")),
            "ok" => self.passed += 1,
            "FAILED" => self.failed.push(rest.to_owned()),
            "SKIPPED" => self.skipped += 1,
            "exit" => self.exit = Some(rest.to_owned()),
            "end" => {
                self.complete = true;
                return None;
            }
            _ => {}
        }
        Some(line.to_owned())
    }

    /// Whether the machine said everything that it had to say.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// What was wrong, if anything was.
    pub(super) fn problem(&self) -> Option<String> {
        if !self.complete {
            return Some("the machine went down before its tests had ended".to_owned());
        }
        if let Some(code) = &self.exit {
            return (code != "0").then(|| format!("the command ended with {code}"));
        }
        if !self.failed.is_empty() {
            return Some(format!("failed: {}", self.failed.join(", ")));
        }
        let none = self.passed == 0 && self.skipped == 0;
        none.then(|| "no test has such a name".to_owned())
    }

    /// How many there were of each.
    pub(super) fn summary(&self) -> String {
        let (passed, failed) = (self.passed, self.failed.len());
        format!("{passed} passed, {failed} failed, {} skipped", self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::Words;

    fn problem(lines: &[&str]) -> Option<String> {
        let mut words = Words::default();
        for line in lines {
            words.hear(line);
        }
        words.problem()
    }

    #[test]
    fn only_a_machine_that_came_to_its_end_has_passed() {
        assert_eq!(problem(&["ok a", "SKIPPED b no disk", "end"]), None);
        assert!(problem(&["ok a"]).unwrap().contains("went down"));
        assert!(problem(&["ok a", "FAILED b", "end"]).unwrap().contains('b'));
        assert!(problem(&["end"]).unwrap().contains("no test"));
    }

    #[test]
    fn a_command_passes_with_its_exit_code() {
        assert_eq!(problem(&["| FAILED x", "exit 0", "end"]), None);
        assert!(problem(&["exit 3", "end"]).unwrap().contains('3'));
    }

    #[test]
    fn output_is_shown_below_its_test() {
        let mut words = Words::default();
        assert_eq!(words.hear("| x y").unwrap(), "    x y");
        assert_eq!(words.hear("|").unwrap(), "    ");
        assert_eq!(words.hear("ok a").unwrap(), "ok a");
        assert_eq!(words.hear("end"), None);
    }
}
