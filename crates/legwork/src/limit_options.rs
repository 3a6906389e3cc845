//! The options of `run` and `start` that hold a job in.

use std::time::Duration;

use clap::{Args, ValueEnum};
use legwork_client::{IoLimit, Limits, LimitsMode, OnExit, Rlimit};

use crate::error::CommandError;
use crate::job_options::{millis, size};

/// What a job may consume, and what is done about what cannot be applied.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitOptions {
    /// Memory of the whole job, page cache included; over it the job is killed
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<u64>,
    /// Slow the job down above this much memory
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory_high: Option<u64>,
    /// Swap, none where --memory is given
    #[arg(long, value_name = "SIZE", value_parser = size)]
    swap: Option<u64>,
    /// Processors' worth of time, such as 1.5
    #[arg(long, value_name = "N", value_parser = thousandths)]
    cpus: Option<u32>,
    /// Share of processor time beside others, 1 to 10000; 100 is usual
    #[arg(long, value_name = "N")]
    cpu_weight: Option<u32>,
    /// The processors to run on, such as 0-3,8
    #[arg(long, value_name = "LIST", value_parser = cpus)]
    cpuset: Option<Cpus>,
    /// Processes and threads at once
    #[arg(long, value_name = "N")]
    pids: Option<u64>,
    /// Rates of a block device, such as /dev/sda:rbps=10M,wiops=100 (repeat for more)
    #[arg(long, value_name = "PATH:RATES", value_parser = io)]
    io_max: Vec<IoLimit>,
    /// Processor time of the whole job, such as 10m; then it is stopped
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    cpu_time: Option<Duration>,
    /// Disk space that the workspace may take, what is there already included; over it the job is stopped
    #[arg(long, value_name = "SIZE", value_parser = size)]
    disk: Option<u64>,
    /// Open files of each process
    #[arg(long, value_name = "N")]
    nofile: Option<u64>,
    /// Size of each file that is written
    #[arg(long, value_name = "SIZE", value_parser = size)]
    file_size: Option<u64>,
    /// Priority, -20 to 19: the higher, the more it gives way
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    nice: Option<i32>,
    /// How willingly the kernel kills it when the host is out of memory, -1000 to 1000
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    oom_score: Option<i32>,
    /// Limit of each process as in setrlimit(2), such as core=0 or stack=8M:unlimited (repeat for more)
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = rlimit)]
    rlimit: Vec<Rlimit>,
    /// Refuse to start when a limit cannot be applied on the host, or do without it and say so
    #[arg(long, value_enum, default_value = "strict", hide_default_value = true)]
    limits: Mode,
    /// What becomes of processes that the command leaves behind
    #[arg(long, value_enum, default_value = "kill", hide_default_value = true)]
    on_exit: Leftover,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Strict,
    BestEffort,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Leftover {
    Kill,
    Wait,
}

impl LimitOptions {
    /// The limits that were asked for.
    pub(crate) fn limits(&self) -> Result<Limits, CommandError> {
        let cpuset = self.cpuset.clone();
        Ok(Limits {
            memory: self.memory,
            memory_high: self.memory_high,
            swap: self.swap,
            cpu_millis: self.cpus,
            cpu_weight: self.cpu_weight,
            cpuset: cpuset.map_or_else(Vec::new, |cpus| cpus.0),
            pids: self.pids,
            io: self.io_max.clone(),
            cpu_time_ms: self.cpu_time.map(millis),
            disk: self.disk,
            nice: self.nice,
            oom_score_adj: self.oom_score,
            rlimits: self.rlimits()?,
        })
    }

    /// The common ones have options of their own.
    fn rlimits(&self) -> Result<Vec<Rlimit>, CommandError> {
        let mut all = self.rlimit.clone();
        for (resource, option, value) in [
            ("nofile", "--nofile", self.nofile),
            ("fsize", "--file-size", self.file_size),
        ] {
            let Some(value) = value else { continue };
            if all.iter().any(|limit| limit.resource == resource) {
                let message = format!("{option} and --rlimit {resource}=… say the same");
                return Err(CommandError::usage(message).hint("give one of them"));
            }
            all.push(Rlimit {
                resource: resource.to_owned(),
                soft: Some(value),
                hard: Some(value),
            });
        }
        Ok(all)
    }

    pub(crate) fn mode(&self) -> LimitsMode {
        match self.limits {
            Mode::Strict => LimitsMode::Strict,
            Mode::BestEffort => LimitsMode::BestEffort,
        }
    }

    pub(crate) fn on_exit(&self) -> OnExit {
        match self.on_exit {
            Leftover::Kill => OnExit::Kill,
            Leftover::Wait => OnExit::Wait,
        }
    }
}

/// Numbers of processors.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cpus(Vec<u32>);

/// More than Linux can name in one set.
const CPUS_MAX: u32 = 1024;

/// Numbers and ranges of numbers, as in cpuset(7).
fn cpus(text: &str) -> Result<Cpus, String> {
    let number = |text: &str| {
        text.trim()
            .parse::<u32>()
            .map_err(|_| format!("{text:?} is no number"))
    };
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if first > last || last >= CPUS_MAX {
            return Err(format!("{part} is no range of processors"));
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Ok(Cpus(cpus))
}

/// A number with up to three decimals, in thousandths.
pub(crate) fn thousandths(text: &str) -> Result<u32, String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 3 {
        return Err("expected a number such as 2 or 0.5, with at most three decimals".to_owned());
    }
    format!("{whole}{part:0<3}")
        .parse()
        .map_err(|_| "too many".to_owned())
}

/// `NAME=SOFT[:HARD]`; a hard limit that is not given is the soft one.
fn rlimit(text: &str) -> Result<Rlimit, String> {
    let (name, values) = text.split_once('=').ok_or("expected NAME=SOFT[:HARD]")?;
    let value = |text: &str| match text {
        "unlimited" => Ok(None),
        _ => size(text).map(Some),
    };
    let (soft, hard) = match values.split_once(':') {
        Some((soft, hard)) => (value(soft)?, value(hard)?),
        None => (value(values)?, value(values)?),
    };
    Ok(Rlimit {
        resource: name.to_ascii_lowercase(),
        soft,
        hard,
    })
}

/// `PATH:rbps=RATE,wbps=RATE,riops=N,wiops=N`, some of them.
fn io(text: &str) -> Result<IoLimit, String> {
    let (path, rates) = text
        .rsplit_once(':')
        .ok_or("expected PATH:rbps=SIZE,wbps=SIZE,riops=N,wiops=N")?;
    let mut limit = IoLimit {
        path: path.into(),
        ..IoLimit::default()
    };
    for rate in rates.split(',') {
        let (name, value) = rate
            .split_once('=')
            .ok_or_else(|| format!("{rate:?} is no rate"))?;
        let place = match name {
            "rbps" => &mut limit.read_bps,
            "wbps" => &mut limit.write_bps,
            "riops" => &mut limit.read_iops,
            "wiops" => &mut limit.write_iops,
            _ => return Err(format!("{name:?} is none of rbps, wbps, riops and wiops")),
        };
        *place = Some(size(value)?);
    }
    Ok(limit)
}

#[cfg(test)]
mod tests {
    use super::{Cpus, cpus, io, rlimit, thousandths};

    #[test]
    fn processors_are_numbers_and_ranges() {
        assert_eq!(cpus("0-2,8"), Ok(Cpus(vec![0, 1, 2, 8])));
        assert_eq!(cpus("3,3"), Ok(Cpus(vec![3])));
        for bad in ["", "a", "2-1", "0-", "1024", "0-4000000000"] {
            assert!(cpus(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn parts_of_processors_are_counted_in_thousandths() {
        for (text, millis) in [("2", 2000), ("0.5", 500), ("1.25", 1250), ("0.001", 1)] {
            assert_eq!(thousandths(text), Ok(millis));
        }
        for bad in ["", ".5", "-1", "1.2345", "x", "99999999"] {
            assert!(thousandths(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_hard_limit_is_the_soft_one_unless_it_is_given() {
        let of = |text| rlimit(text).map(|limit| (limit.resource, limit.soft, limit.hard));
        assert_eq!(of("core=0"), Ok(("core".into(), Some(0), Some(0))));
        let stack = Ok(("stack".into(), Some(8 << 20), None));
        assert_eq!(of("STACK=8M:unlimited"), stack);
        for bad in ["core", "core=", "core=x", "core=1:"] {
            assert!(rlimit(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_belong_to_a_device() {
        let limit = io("/dev/sda:rbps=10M,wiops=7").unwrap();
        assert_eq!(limit.path.as_os_str(), "/dev/sda");
        assert_eq!(
            (limit.read_bps, limit.write_iops),
            (Some(10 << 20), Some(7))
        );
        assert_eq!((limit.write_bps, limit.read_iops), (None, None));
        for bad in [
            "/dev/sda",
            "/dev/sda:",
            "/dev/sda:speed=1",
            "/dev/sda:rbps=x",
        ] {
            assert!(io(bad).is_err(), "{bad}");
        }
    }
}
