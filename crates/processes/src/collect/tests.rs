//! The real process table of this host.

use super::{Collector, Settings};

fn own(collector: &mut Collector) -> super::Process {
    let snapshot = collector.collect().unwrap();
    let pid = std::process::id();
    let own = snapshot
        .processes
        .into_iter()
        .find(|found| found.pid == pid);
    own.expect("this process is there")
}

#[test]
fn this_process_is_as_it_knows_itself() {
    let mut collector = Collector::open(Settings::default()).unwrap();
    let own = own(&mut collector);
    let exe = std::env::current_exe().unwrap().canonicalize().unwrap();
    assert_eq!(own.exe, exe.to_str().unwrap());
    let first = std::env::args().next().unwrap();
    assert!(own.cmdline.starts_with(&first), "{}", own.cmdline);
    assert_eq!(own.uid, rustix::process::getuid().as_raw());
    assert_eq!(own.euid, rustix::process::geteuid().as_raw());
    let parent = rustix::process::getppid().unwrap();
    assert_eq!(
        i64::from(own.ppid),
        i64::from(parent.as_raw_nonzero().get())
    );
    // Not by getsid(2), whose answer is 0 where the session was begun outside this namespace of processes (a container's shell).
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    let session = after_name.split(' ').nth(3).unwrap();
    assert_eq!(own.session.to_string(), session);
    assert!(own.threads >= 1 && own.rss_kb > 0 && own.vsize_kb > own.rss_kb && own.start > 0);
}

#[test]
fn what_is_remembered_is_as_what_is_read_anew() {
    let mut kept = Collector::open(Settings::default()).unwrap();
    for _ in 0..6 {
        let remembered = own(&mut kept);
        let fresh = own(&mut Collector::open(Settings::default()).unwrap());
        assert_eq!(remembered.cmdline, fresh.cmdline);
        assert_eq!(
            (
                remembered.exe,
                remembered.cgroup,
                remembered.uid,
                remembered.user
            ),
            (fresh.exe, fresh.cgroup, fresh.uid, fresh.user)
        );
    }
}

#[test]
fn command_lines_are_left_out_where_that_is_asked_for() {
    let settings = Settings {
        cmdline: false,
        redact: true,
    };
    let mut collector = Collector::open(settings).unwrap();
    let snapshot = collector.collect().unwrap();
    assert!(
        snapshot
            .processes
            .iter()
            .all(|found| found.cmdline.is_empty())
    );
    assert!(
        snapshot
            .processes
            .iter()
            .any(|found| !found.comm.is_empty())
    );
}

#[test]
fn a_host_tells_its_boot() {
    let mut collector = Collector::open(Settings::default()).unwrap();
    let host = collector.collect().unwrap().host;
    assert_eq!(host.boot.len(), 36);
    assert!(host.uptime_ms > 0 && host.mem_total_kb > 0);
}
