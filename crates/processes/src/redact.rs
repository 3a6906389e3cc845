//! Command lines without what looks like a secret.
//!
//! A command line is seen by every user of a host, but a log keeps it, and shows it to others. What is replaced by `***`:
//!
//! - what is assigned to a name of a secret: `--password=x`, `--api-key x`, `TOKEN=x`, `-Dkey.password=x`, `?token=x`, `"secret": "x"`,
//!   `Authorization: Bearer x`, also in a command for a shell;
//! - what well-known programs are given by short options: `mysql -px`, `curl -u me:x`, and others in `table`;
//! - passwords in URLs: `scheme://me:x@host`;
//! - what looks like a token by itself: JSON web tokens, keys of AWS, tokens of well-known makers, private keys; and what is behind `Bearer`.
//!
//! **Limits.** It is a net, not a wall. It does not see a secret that is called otherwise, that stands alone (`login me x`), that a shell puts together from
//! variables or that is encoded; and it replaces some things that are no secrets. Who has such command lines leaves them out as a whole
//! ([`crate::Settings::cmdline`]).

mod table;

/// What stands in place of a secret.
pub const MARK: &str = "***";

/// The words with spaces between them, as they are.
pub fn plain(raw: &[u8]) -> String {
    let raw = raw.strip_suffix(b"\0").unwrap_or(raw);
    let text = String::from_utf8_lossy(raw);
    text.trim_end_matches('\0').replace('\0', " ")
}

/// The words of a command line, each ended by a zero, with spaces between them and without secrets.
pub fn cmdline(raw: &[u8]) -> String {
    let text = String::from_utf8_lossy(raw);
    let text = text.trim_end_matches('\0');
    let words: Vec<&str> = text.split('\0').collect();
    let options = options_of(&words);
    let mut out = String::with_capacity(text.len());
    // What the word before it promised: that this one is a secret.
    let mut is_secret = false;
    for (place, word) in words.iter().enumerate() {
        if place > 0 {
            out.push(' ');
        }
        let is_value = std::mem::take(&mut is_secret) && !word.starts_with("--");
        if is_value && !word.is_empty() {
            out.push_str(MARK);
        } else if let Some((shown, promises)) = short_option(word, options, place) {
            out.push_str(shown);
            if promises {
                is_secret = true;
            } else {
                out.push_str(MARK);
            }
        } else {
            is_secret = place > 0 && is_secret_flag(word);
            let is_command = words.len() == 1
                || place
                    .checked_sub(1)
                    .is_some_and(|before| takes_command(words[before]));
            inside(word, is_command, &mut out);
        }
    }
    out
}

/// The short options of the program. One that is started by another (`sudo`, `env`, `timeout`) is found too.
fn options_of(words: &[&str]) -> &'static [&'static str] {
    for word in words.iter().take(6) {
        // A title that was rewritten is one word.
        let name = word.split(' ').next().unwrap_or_default();
        let name = name.rsplit('/').next().unwrap_or_default();
        if let Some(options) = options_of_program(name) {
            return options;
        }
    }
    &[]
}

fn options_of_program(name: &str) -> Option<&'static [&'static str]> {
    let found = table::PROGRAMS
        .iter()
        .find(|(programs, _)| programs.contains(&name));
    found.map(|(_, options)| *options)
}

/// The option that a word begins with, if a secret is behind it; and whether that is the next word.
fn short_option<'a>(word: &'a str, options: &[&str], place: usize) -> Option<(&'a str, bool)> {
    if place == 0 {
        return None;
    }
    for option in options {
        let Some(rest) = word.strip_prefix(option) else {
            continue;
        };
        if rest.is_empty() {
            return Some((word, true));
        }
        let is_long = option.len() > 2 && option.starts_with('-');
        let behind = rest.strip_prefix('=').unwrap_or(rest);
        if !is_long || behind.len() < rest.len() {
            return Some((&word[..word.len() - behind.len()], false));
        }
    }
    None
}

/// Whether the next word is a command for a shell: `-c`, `-lc`.
fn takes_command(word: &str) -> bool {
    let letters = word.strip_prefix('-').unwrap_or_default();
    letters.ends_with('c')
        && letters.len() <= 4
        && letters.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// Whether the next word is a secret: `--password`, `-passwd`.
fn is_secret_flag(word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|rest| {
        let name = rest.trim_start_matches('-');
        name.len() > 2 && is_name(name) && is_secret_name(name)
    })
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_name_byte)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

fn is_secret_name(name: &str) -> bool {
    let name: String = name
        .trim_matches(|c| matches!(c, '-' | '.' | '_'))
        .chars()
        .map(|c| match c {
            '-' | '.' => '_',
            c => c.to_ascii_lowercase(),
        })
        .collect();
    let ends = |word: &str| {
        name.strip_suffix(word)
            .is_some_and(|before| before.is_empty() || before.ends_with('_'))
    };
    if table::HARMLESS.contains(&name.as_str()) || table::ABOUT.iter().any(|word| ends(word)) {
        return false;
    }
    table::NAMES.iter().any(|part| name.contains(part))
        || table::WORDS.iter().any(|word| ends(word))
}

/// A word that may hold a command for a shell, a header, JSON, a URL. `is_command`: its own words are apart by spaces, as
/// those of a command for a shell, and of a title that was rewritten.
fn inside(word: &str, is_command: bool, out: &mut String) {
    let bytes = word.as_bytes();
    // How far the word is copied.
    let (mut done, mut at) = (0, 0);
    while at < bytes.len() {
        let begins = bytes[at].is_ascii() && (at == 0 || !is_name_byte(bytes[at - 1]));
        let found = match bytes[at] {
            b'=' | b':' => assigned(word, done, at, is_command),
            b'@' => password_of_url(word, done, at),
            b' ' => argument(word, done, at),
            _ if begins => token(word, at),
            _ => None,
        };
        match found {
            Some((from, to)) => {
                out.push_str(&word[done..from]);
                out.push_str(MARK);
                (done, at) = (to, to);
            }
            None => at += 1,
        }
    }
    out.push_str(&word[done..]);
}

/// From where to where a secret is.
type Place = Option<(usize, usize)>;

/// What is behind `=` or `:`, if a secret's name is before that.
fn assigned(word: &str, done: usize, at: usize, is_command: bool) -> Place {
    let bytes = word.as_bytes();
    let mut name_end = at;
    while name_end > done && matches!(bytes[name_end - 1], b'"' | b'\'' | b'\\' | b' ') {
        name_end -= 1;
    }
    let before = word[done..name_end].bytes().rev();
    let name_start = name_end - before.take_while(|byte| is_name_byte(*byte)).count();
    let name = &word[name_start..name_end];
    // `a ? b : c` is no header; what is quoted is.
    let spaced = word[name_end..at].starts_with(' ');
    if !is_name(name) || spaced || !is_secret_name(name) {
        return None;
    }
    let mut from = at + 1;
    while from < bytes.len() && matches!(bytes[from], b' ' | b'\\') && bytes[at] == b':' {
        from += 1;
    }
    let is_own_word = name_start == 0 || word[..name_start].bytes().all(|byte| byte == b'-');
    let to = match bytes.get(from) {
        None => return None,
        Some(b'/') if bytes[at] == b':' => return None,
        Some(quote @ (b'"' | b'\'')) => {
            from += 1;
            end_at(bytes, from, |byte| byte == *quote)
        }
        Some(_) if bytes[at] == b':' => end_at(bytes, from, |byte| {
            matches!(byte, b'"' | b'\'' | b'\\' | b'\n' | b'}' | b',')
        }),
        Some(_) if is_own_word && !is_command => bytes.len(),
        Some(_) => end_at(bytes, from, |byte| {
            byte.is_ascii_whitespace()
                || matches!(byte, b'&' | b';' | b'"' | b'\'' | b'|' | b')' | b',' | b'#')
        }),
    };
    (to > from).then_some((from, to))
}

fn end_at(bytes: &[u8], from: usize, is_end: impl Fn(u8) -> bool) -> usize {
    let end = bytes[from..].iter().position(|byte| is_end(*byte));
    end.map_or(bytes.len(), |length| from + length)
}

/// The password before an `@`, if that is in a URL.
fn password_of_url(word: &str, done: usize, at: usize) -> Place {
    let before = &word[done..at];
    let scheme = before.rfind("://")?;
    let user = scheme + 3;
    let colon = user + before[user..].find(':')?;
    let is_broken = before[user..].bytes().any(|byte| {
        byte.is_ascii_whitespace() || matches!(byte, b'/' | b'?' | b'#' | b'"' | b'\'')
    });
    (!is_broken && colon + 1 < before.len()).then_some((done + colon + 1, at))
}

/// What is behind a space, if a flag before that says that it is a secret: in a command for a shell.
fn argument(word: &str, done: usize, at: usize) -> Place {
    let bytes = word.as_bytes();
    let flag_start = word[done..at]
        .rfind(|c: char| c.is_ascii_whitespace() || matches!(c, '\'' | '"' | ';' | '('))
        .map_or(done, |space| done + space + 1);
    let flag = &word[flag_start..at];
    let says_so = is_secret_flag(flag)
        || matches!(flag, "Bearer" | "bearer")
        || (matches!(flag, "-p" | "-u" | "-a" | "-w" | "-P" | "-U")
            && option_in_command(word, flag_start, flag));
    let from = match bytes.get(at + 1)? {
        b'"' | b'\'' => at + 2,
        b'-' | b' ' => return None,
        _ => at + 1,
    };
    if !says_so {
        return None;
    }
    let is_quoted = from == at + 2;
    let to = end_at(bytes, from, |byte| {
        if is_quoted {
            byte == bytes[at + 1]
        } else {
            byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b';' | b'|' | b'&' | b')')
        }
    });
    (to > from).then_some((from, to))
}

/// Whether a command in a word, up to this place, is one whose short option this is.
fn option_in_command(word: &str, place: usize, flag: &str) -> bool {
    let command = word[..place]
        .rsplit([';', '|', '&', '(', '\n'])
        .next()
        .unwrap_or_default();
    command.split_ascii_whitespace().any(|name| {
        let name = name.rsplit('/').next().unwrap_or_default();
        options_of_program(name).is_some_and(|options| options.contains(&flag))
    })
}

/// A token that is known by its looks.
fn token(word: &str, at: usize) -> Place {
    let rest = &word[at..];
    let run = |text: &str| text.bytes().take_while(|byte| is_name_byte(*byte)).count();
    for (head, least) in table::TOKENS {
        if let Some(behind) = rest.strip_prefix(head)
            && run(behind) >= *least
        {
            return Some((at, at + head.len() + run(behind)));
        }
    }
    if rest.starts_with("eyJ") && rest[..run(rest)].matches('.').count() == 2 && run(rest) > 30 {
        return Some((at, at + run(rest)));
    }
    if rest.starts_with("-----BEGIN") && rest.contains("PRIVATE KEY") {
        return Some((at, word.len()));
    }
    None
}

#[cfg(test)]
mod tests;
