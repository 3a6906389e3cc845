//! Finding and executing the program: execvpe(3) with the job's own `PATH`.

use alloc::borrow::ToOwned;
use alloc::ffi::CString;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::ffi::CStr;

use rustix::io::Errno;

use legwork_shim::layout::JOB_ENV;
use legwork_shim::spec::Spec;

use super::sys::{self, StringArray};

/// Where programs are looked for when the job has no `PATH`.
const DEFAULT_PATH: &[u8] = b"/bin:/usr/bin";
/// Runs a file that is executable but in no format that the kernel knows.
const SHELL: &CStr = c"/bin/sh";

/// A program ready to be executed.
#[derive(Debug)]
pub(super) struct Program {
    candidates: Vec<CString>,
    argv: Vec<CString>,
    env: StringArray,
}

fn c_string(bytes: Vec<u8>) -> Result<CString, Errno> {
    CString::new(bytes).map_err(|_| Errno::INVAL)
}

fn path_of(spec: &Spec) -> &[u8] {
    spec.env
        .iter()
        .rev()
        .find(|(name, _)| name.as_bytes() == b"PATH")
        .map_or(DEFAULT_PATH, |(_, value)| value.as_bytes())
}

fn candidates(name: &[u8], path: &[u8]) -> Result<Vec<CString>, Errno> {
    if name.contains(&b'/') {
        return Ok(vec![c_string(name.to_vec())?]);
    }
    if name.is_empty() {
        return Ok(Vec::new());
    }
    path.split(|byte| *byte == b':')
        .map(|directory| match directory {
            b"" => c_string(name.to_vec()),
            directory => c_string([directory, b"/", name].concat()),
        })
        .collect()
}

fn environment(spec: &Spec) -> Result<StringArray, Errno> {
    let job = format!("{JOB_ENV}={}", spec.id.as_hyphenated()).into_bytes();
    spec.env
        .iter()
        .filter(|(name, _)| name.as_bytes() != JOB_ENV.as_bytes())
        .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat())
        .chain([job])
        .map(c_string)
        .collect::<Result<_, Errno>>()
        .map(StringArray::new)
}

impl Program {
    /// Makes the strings.
    ///
    /// # Errors
    /// `EINVAL` when one of them holds a zero byte or there is no program at all.
    pub(super) fn new(spec: &Spec) -> Result<Self, Errno> {
        let Some(name) = spec.argv.first() else {
            return Err(Errno::INVAL);
        };
        let argv = spec
            .argv
            .iter()
            .map(|argument| c_string(argument.0.clone()));
        Ok(Self {
            candidates: candidates(name.as_bytes(), path_of(spec))?,
            argv: argv.collect::<Result<_, Errno>>()?,
            env: environment(spec)?,
        })
    }

    /// Becomes the program; returns only to say why not.
    ///
    /// As execvpe(3) does it: a candidate that is not there or cannot be reached is passed over, one that
    /// may not be executed is remembered and becomes the answer unless a later one is better, and a
    /// file without a known format is a script for the shell.
    pub(super) fn exec(self) -> Errno {
        let argv = StringArray::new(self.argv.clone());
        let mut answer = Errno::NOENT;
        for path in &self.candidates {
            let error = sys::exec(path, &argv, &self.env);
            match error {
                Errno::ACCESS => answer = Errno::ACCESS,
                Errno::NOEXEC => return self.exec_by_shell(path),
                Errno::NOENT | Errno::NOTDIR | Errno::STALE | Errno::NODEV | Errno::TIMEDOUT => {}
                _ => return error,
            }
        }
        answer
    }

    fn exec_by_shell(&self, script: &CStr) -> Errno {
        let arguments = self.argv.iter().skip(1).cloned();
        let argv = [SHELL.to_owned(), script.to_owned()];
        let argv = StringArray::new(argv.into_iter().chain(arguments).collect());
        sys::exec(SHELL, &argv, &self.env)
    }
}

#[cfg(test)]
mod tests {
    use super::candidates;

    fn found(name: &str, path: &str) -> Vec<String> {
        let all = candidates(name.as_bytes(), path.as_bytes()).unwrap();
        all.into_iter()
            .map(|path| path.into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_name_with_a_slash_is_a_path() {
        assert_eq!(found("./x", "/bin:/usr/bin"), ["./x"]);
    }

    #[test]
    fn a_bare_name_is_tried_in_each_directory_and_an_empty_one_is_here() {
        assert_eq!(found("x", "/a::/b"), ["/a/x", "x", "/b/x"]);
        assert_eq!(found("", "/a"), Vec::<String>::new());
    }

    #[test]
    fn a_zero_byte_cannot_be_passed() {
        assert!(candidates(b"a\0b", b"/bin").is_err());
    }
}
