//! Names of signals, as in signal(7) on Linux.

const NAMES: [(&str, i32); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// Reads `TERM`, `SIGTERM`, `term` or `15`.
pub(crate) fn parse(text: &str) -> Result<i32, String> {
    if let Ok(number) = text.parse() {
        // Up to SIGRTMAX.
        return if (1..=64).contains(&number) {
            Ok(number)
        } else {
            Err("signal numbers are 1 to 64".to_owned())
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    match NAMES.iter().find(|(known, _)| *known == name) {
        Some((_, number)) => Ok(*number),
        None => Err(suggest(name)),
    }
}

/// `SIGTERM` for 15; the bare number for one without a name.
pub(crate) fn name(number: i32) -> String {
    match NAMES.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => format!("SIG{name}"),
        None => format!("signal {number}"),
    }
}

fn suggest(name: &str) -> String {
    let near = NAMES
        .iter()
        .map(|(known, _)| (strsim::jaro_winkler(name, known), known))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((score, known)) if score > 0.8 => format!("no such signal; did you mean {known}?"),
        _ => "no such signal; examples are TERM, INT, HUP, USR1, 9".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{name, parse};

    #[test]
    fn names_and_numbers() {
        for text in ["TERM", "SIGTERM", "sigterm", "15"] {
            assert_eq!(parse(text), Ok(15), "{text}");
        }
        assert_eq!(name(9), "SIGKILL");
        assert_eq!(
            parse("TREM").unwrap_err(),
            "no such signal; did you mean TERM?"
        );
        assert!(parse("0").is_err());
        assert!(parse("65").is_err());
    }
}
