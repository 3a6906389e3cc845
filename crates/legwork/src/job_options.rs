//! What `run` and `start` have in common: the options that describe a job.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use legwork_client::{JobSpec, Place, Stdin};

use crate::compress::Compression;
use crate::error::CommandError;
use crate::limit_options::LimitOptions;
use crate::local::Session;
use crate::signals;

/// Options that describe a job.
#[derive(Debug, Args)]
pub(crate) struct JobOptions {
    /// Set a variable, or with a bare name pass on the caller's
    #[arg(long, value_name = "NAME[=VALUE]")]
    env: Vec<OsString>,
    /// Run in this directory: relative inside the mirror, absolute on the host
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Give the job a name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Attach a label (repeat for more)
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// Stop the job after this long, such as 90s or 1h30m
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// First signal of a stop
    #[arg(long, value_name = "SIGNAL", value_parser = signals::parse)]
    stop_signal: Option<i32>,
    /// Time between that signal and the end of everything the job started
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    stop_grace: Option<Duration>,
    /// Bytes of output to keep, in steps of 64 KiB: the first half and the last half
    #[arg(long, value_name = "BYTES", value_parser = size)]
    output_limit: Option<u64>,
    /// Both output streams as one, in exact order
    #[arg(long)]
    merge: bool,
    /// Run on the host without mirroring anything
    #[arg(long, conflicts_with_all = ["in_place", "workspace"])]
    pub(crate) no_sync: bool,
    /// Run in this directory itself instead of a mirror of it
    #[arg(long, conflicts_with = "workspace")]
    pub(crate) in_place: bool,
    /// Use the mirror of this name
    #[arg(long, value_name = "NAME")]
    pub(crate) workspace: Option<String>,
    /// Let the mirror delete however much this directory no longer has
    #[arg(long)]
    pub(crate) force_delete: bool,
    /// Whether content is compressed on its way to the mirror, and back
    #[arg(long, value_enum, value_name = "HOW", conflicts_with_all = ["no_sync", "in_place"])]
    pub(crate) compress: Option<Compression>,
    /// Mirror this directory although it is `/` or a whole home directory
    #[arg(long, conflicts_with_all = ["no_sync", "in_place"])]
    pub(crate) whole: bool,
    /// Mirror this directory even if another one is watched for the same mirror, which ends that
    #[arg(long, conflicts_with_all = ["no_sync", "in_place"])]
    pub(crate) takeover: bool,
    #[command(flatten)]
    limits: LimitOptions,
}

impl JobOptions {
    /// How long a stop may take.
    pub(crate) fn stop_grace(&self) -> Option<Duration> {
        self.stop_grace
    }

    /// The job that these options describe.
    pub(crate) fn spec(
        &self,
        argv: Vec<OsString>,
        place: Place,
        stdin: Stdin,
        session: &Session,
    ) -> Result<JobSpec, CommandError> {
        // Where the caller is is not where the job is: the server says that.
        let own: BTreeMap<_, _> = std::env::vars_os()
            .filter(|(name, _)| name != "PWD" && name != "OLDPWD")
            .collect();
        let base = match session.remote {
            Some(_) => BTreeMap::new(),
            None => own.clone(),
        };
        Ok(JobSpec {
            env: environment(base, &own, &self.env)?,
            place,
            stdin,
            merge: self.merge,
            timeout_ms: self.timeout.map(millis),
            stop_signal: self.stop_signal,
            stop_grace_ms: self.stop_grace.map(millis),
            output_limit: self.output_limit,
            name: self.name.clone(),
            labels: self.label.iter().cloned().collect(),
            limits: self.limits.limits()?,
            limits_mode: self.limits.mode(),
            on_exit: self.limits.on_exit(),
            ..JobSpec::new(argv)
        })
    }
}

/// Whole milliseconds; more than the type holds is as good as for ever.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An environment with the changes asked for: on this machine the caller's, elsewhere the server's, which is not ours to name.
fn environment(
    mut env: BTreeMap<OsString, OsString>,
    own: &BTreeMap<OsString, OsString>,
    changes: &[OsString],
) -> Result<Vec<(OsString, OsString)>, CommandError> {
    for change in changes {
        let raw = change.as_bytes();
        let Some(at) = raw.iter().position(|&b| b == b'=') else {
            if let Some(value) = own.get(change) {
                env.insert(change.clone(), value.clone());
                continue;
            }
            let name = change.to_string_lossy();
            return Err(
                CommandError::usage(format!("--env {name}: there is no such variable"))
                    .hint(format!("set one with --env {name}=VALUE")),
            );
        };
        if at == 0 {
            return Err(CommandError::usage("--env needs a name before the `=`"));
        }
        let value = OsString::from_vec(raw[at + 1..].to_vec());
        env.insert(OsString::from_vec(raw[..at].to_vec()), value);
    }
    Ok(env.into_iter().collect())
}

/// `KEY=VALUE`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// A number of bytes with an optional binary unit: 4096, 512K, 10MiB, 4G.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = text[..digits]
        .parse()
        .map_err(|_| "expected a number of bytes".to_owned())?;
    let shift = match text[digits..]
        .to_ascii_lowercase()
        .trim_end_matches("ib")
        .trim_end_matches('b')
    {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return Err("units are K, M, G and T".to_owned()),
    };
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "too large".to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ffi::OsString;

    use super::{environment, size};

    #[test]
    fn sizes() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("512K"), Ok(512 << 10));
        assert_eq!(size("10MiB"), Ok(10 << 20));
        assert_eq!(size("1gb"), Ok(1 << 30));
        for bad in ["", "K", "1x", "-1", "99999999999T"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_change_replaces_and_a_bare_name_must_exist() {
        let own: BTreeMap<OsString, OsString> = [("A".into(), "1".into())].into();
        let changes = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
        let here = |list: &[&str]| environment(own.clone(), &own, &changes(list));
        assert_eq!(
            here(&["A=2", "B=x=y"]).unwrap(),
            [("A".into(), "2".into()), ("B".into(), "x=y".into())]
        );
        assert!(here(&["A"]).is_ok());
        assert!(here(&["C"]).is_err());
        assert!(here(&["=x"]).is_err());
        let elsewhere = |list: &[&str]| environment(BTreeMap::new(), &own, &changes(list));
        assert_eq!(elsewhere(&[]).unwrap(), []);
        assert_eq!(elsewhere(&["A"]).unwrap(), [("A".into(), "1".into())]);
    }
}
