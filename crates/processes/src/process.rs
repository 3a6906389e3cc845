//! One process, and what changed of it since the snapshot before.
//!
//! [`Process`] and [`Change`] have the same fields by construction, so that a field cannot be forgotten in one of the two. Text that there
//! is none of is empty: so a change can say that it is gone.

use serde::{Deserialize, Serialize};

/// What tells a process of a boot from all others of it: its number and when it began, in ticks after the boot.
pub type Identity = (u32, u64);

macro_rules! process {
    ($($(#[doc = $doc:literal])+ $(#[serde($attribute:meta)])? $name:ident: $type:ty,)+) => {
        /// A process as it was collected.
        #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Process {
            /// Its number, as the collector's own name space has it.
            pub pid: u32,
            /// When it began, in clock ticks after the boot.
            pub start: u64,
            $($(#[doc = $doc])+ $(#[serde($attribute)])? pub $name: $type,)+
        }

        /// What of a process is other than it was.
        #[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Change {
            /// Whose it is.
            pub pid: u32,
            /// Whose it is.
            pub start: u64,
            $($(#[doc = $doc])+ #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<$type>,)+
        }

        impl Process {
            /// What is other in `now`; `None` if nothing is.
            pub fn change_to(&self, now: &Self) -> Option<Change> {
                let change = Change {
                    pid: now.pid,
                    start: now.start,
                    $($name: (self.$name != now.$name).then(|| now.$name.clone()),)+
                };
                let changes = [$(change.$name.is_some()),+];
                changes.contains(&true).then_some(change)
            }

            /// Makes it what the change says.
            pub fn apply(&mut self, change: Change) {
                $(if let Some(value) = change.$name {
                    self.$name = value;
                })+
            }
        }
    };
}

process! {
    /// The process that is told of its end; 0 for none that can be seen.
    ppid: u32,
    /// Its process group.
    pgrp: i32,
    /// Its session.
    session: i32,
    /// Its terminal, as `ps` calls it.
    #[serde(skip_serializing_if = "String::is_empty")]
    tty: String,
    /// Its real user.
    uid: u32,
    /// Its effective user.
    euid: u32,
    /// The name of its effective user, or else the number.
    user: String,
    /// What it calls itself: 15 bytes at most.
    comm: String,
    /// Its words, with spaces between, as far as they were collected; none of a kernel thread and of one that has ended.
    #[serde(skip_serializing_if = "String::is_empty")]
    cmdline: String,
    /// Its program, where that may be seen.
    #[serde(skip_serializing_if = "String::is_empty")]
    exe: String,
    /// `R`, `S`, `D`, `T`, `t`, `Z`, `X`, `I`, as in proc(5).
    state: String,
    /// Its threads.
    threads: u32,
    /// How nice it is.
    nice: i32,
    /// The processor on which it ran last.
    processor: u32,
    /// Time on a processor in its own code, in milliseconds.
    utime_ms: u64,
    /// Time on a processor in the kernel, in milliseconds.
    stime_ms: u64,
    /// Page faults for which nothing was read.
    minflt: u64,
    /// Page faults for which something was read.
    majflt: u64,
    /// Memory that it has, in KiB.
    rss_kb: u64,
    /// Addresses that it has, in KiB.
    vsize_kb: u64,
    /// What of it is swapped out, in KiB.
    #[serde(skip_serializing_if = "is_zero")]
    swap_kb: u64,
    /// Its control group.
    #[serde(skip_serializing_if = "String::is_empty")]
    cgroup: String,
    /// The job of legwork that it belongs to.
    #[serde(skip_serializing_if = "String::is_empty")]
    job: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "this is how serde asks")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Process {
    /// What tells it from others of this boot.
    pub fn identity(&self) -> Identity {
        (self.pid, self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::Process;

    #[test]
    fn a_change_has_what_is_other_and_makes_it_so() {
        let before = Process {
            pid: 7,
            start: 9,
            exe: "/bin/x".into(),
            utime_ms: 10,
            ..Process::default()
        };
        assert_eq!(before.change_to(&before), None);
        let after = Process {
            exe: String::new(),
            utime_ms: 20,
            ..before.clone()
        };
        let change = before.change_to(&after).unwrap();
        let text = serde_json::to_string(&change).unwrap();
        assert_eq!(text, r#"{"pid":7,"start":9,"exe":"","utime_ms":20}"#);
        let mut made = before;
        made.apply(serde_json::from_str(&text).unwrap());
        assert_eq!(made, after);
    }
}
