//! What holds a job in: limits of each process, processor time, control groups.

use std::fs;

use legwork_shim::control::{Reply, Request, Stop};
use legwork_shim::exit::{Cause, Status, Step};
use legwork_shim::layout;
use legwork_shim::limits::{Cgroup, Confinement, Disk, Resource, Rlimit, Setting};
use legwork_shim::spec::{OnExit, Spec};

use crate::groups::Groups;
use crate::harness::{Job, lives, script, until};

fn confined(text: &str, confinement: Confinement) -> Spec {
    Spec {
        confinement,
        ..script(text)
    }
}

fn rlimit(resource: Resource, soft: u64, hard: u64) -> Rlimit {
    let (soft, hard) = (Some(soft), Some(hard));
    Rlimit {
        resource,
        soft,
        hard,
    }
}

fn in_group(groups: &Groups, settings: &[(&str, &str)]) -> Confinement {
    let setting = |(file, value): &(&str, &str)| Setting {
        file: (*file).to_owned(),
        value: (*value).to_owned(),
    };
    Confinement {
        cgroup: Some(Cgroup {
            path: groups.of_job().as_path().into(),
            settings: settings.iter().map(setting).collect(),
        }),
        ..Confinement::default()
    }
}

#[test]
fn every_process_carries_its_limits() {
    let confinement = Confinement {
        rlimits: vec![
            rlimit(Resource::Nofile, 50, 60),
            rlimit(Resource::Core, 0, 0),
            rlimit(Resource::Fsize, 1024, 1024),
        ],
        nice: Some(7),
        oom_score_adj: Some(300),
        cpus: vec![0],
        ..Confinement::default()
    };
    let text = "ulimit -n; ulimit -Hn; ulimit -c; ulimit -f; cut -d' ' -f19 /proc/self/stat
        cat /proc/self/oom_score_adj; grep Cpus_allowed_list /proc/self/status | tr -d '\\t'";
    let mut job = Job::start(&confined(text, confinement));
    let shown = job.lines(7);
    // A shell counts files in blocks of 512 bytes.
    let expected = ["50", "60", "0", "2", "7", "300", "Cpus_allowed_list:0"];
    assert_eq!(shown, expected);
    assert_eq!(job.exit().cause, Cause::Own);
}

#[test]
fn a_file_that_grows_too_large_ends_its_writer() {
    let confinement = Confinement {
        rlimits: vec![
            rlimit(Resource::Fsize, 4096, 4096),
            rlimit(Resource::Core, 0, 0),
        ],
        ..Confinement::default()
    };
    let here = tempfile::tempdir().unwrap();
    let mut spec = confined("exec head -c 10000 /dev/zero > file", confinement);
    spec.dir = here.path().into();
    let exit = Job::start(&spec).exit();
    assert_eq!(exit.cause, Cause::Own);
    assert_eq!(exit.status, Some(Status::Signal(libc::SIGXFSZ)));
    assert_eq!(fs::metadata(here.path().join("file")).unwrap().len(), 4096);
}

#[test]
fn a_limit_that_cannot_be_applied_is_named_and_nothing_runs() {
    let here = tempfile::tempdir().unwrap();
    // More files than the kernel lets even root have.
    let confinement = Confinement {
        rlimits: vec![
            rlimit(Resource::Core, 0, 0),
            rlimit(Resource::Nofile, 1 << 40, 1 << 40),
        ],
        ..Confinement::default()
    };
    let mut spec = confined("touch ran", confinement);
    spec.dir = here.path().into();
    let mut job = Job::start(&spec);
    let why = job.not_started();
    assert_eq!(why.step, Step::Limit);
    assert_eq!(why.subject.as_bytes(), b"rlimit nofile");
    assert_eq!(why.errno, libc::EPERM);
    assert!(!here.path().join("ran").exists());
    for (confinement, name) in [
        (
            Confinement {
                cpus: vec![1023],
                ..Confinement::default()
            },
            "cpuset",
        ),
        (
            Confinement {
                oom_score_adj: Some(5000),
                ..Confinement::default()
            },
            "oom-score",
        ),
    ] {
        let why = Job::start(&confined(":", confinement)).not_started();
        assert_eq!((why.step, why.errno), (Step::Limit, libc::EINVAL));
        assert_eq!(why.subject.as_bytes(), name.as_bytes());
    }
}

#[test]
fn processor_time_counts_for_the_whole_tree() {
    let confinement = Confinement {
        cpu_time_ms: Some(300),
        ..Confinement::default()
    };
    // One that works and never ends, children that have ended, and nobody who waits for less than all.
    let text = "(i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done) & wait
        (while :; do :; done) & (while :; do :; done) & wait";
    let exit = Job::start(&confined(text, confinement)).exit();
    assert_eq!(exit.cause, Cause::CpuTime);
    assert_eq!(exit.status, Some(Status::Signal(libc::SIGTERM)));
    let used_ms = (exit.usage.user_us + exit.usage.system_us) / 1000;
    assert!((250..5_000).contains(&used_ms), "{used_ms} ms");
}

/// May take so many bytes in its directory.
fn measured(dir: &std::path::Path, bytes: u64) -> Confinement {
    let path = dir.into();
    Confinement {
        disk: Some(Disk { path, bytes }),
        ..Confinement::default()
    }
}

#[test]
fn a_directory_that_takes_too_much_ends_its_job() {
    let here = tempfile::tempdir().unwrap();
    let dir = here.path().display();
    let text = format!(
        "mkdir -p {dir}/a/b; trap 'echo told; exit 0' TERM
        i=0; while :; do i=$((i+1)); head -c 65536 /dev/zero > {dir}/a/b/$i; done"
    );
    let exit = Job::start(&confined(&text, measured(here.path(), 4 << 20))).exit();
    assert_eq!(
        (exit.cause, exit.status),
        (Cause::Disk, Some(Status::Code(0)))
    );
    let taken = exit.usage.disk_bytes.unwrap();
    assert!(taken > 4 << 20, "{taken}");
}

#[test]
fn a_directory_that_takes_what_it_may_is_told() {
    let here = tempfile::tempdir().unwrap();
    let text = format!(
        "head -c 1048576 /dev/zero > {}/x; sleep 0.5",
        here.path().display()
    );
    let exit = Job::start(&confined(&text, measured(here.path(), 4 << 20))).exit();
    assert_eq!(
        (exit.cause, exit.status),
        (Cause::Own, Some(Status::Code(0)))
    );
    assert!(exit.usage.disk_bytes.unwrap() < 4 << 20);
}

#[test]
fn a_job_that_waits_uses_no_processor_time() {
    let confinement = Confinement {
        cpu_time_ms: Some(200),
        ..Confinement::default()
    };
    let exit = Job::start(&confined("sleep 0.5; exit 3", confinement)).exit();
    assert_eq!(exit.cause, Cause::Own);
    assert_eq!(exit.status, Some(Status::Code(3)));
}

/// Every process of a job does something all the time; whether one of them does.
fn grows(job: &Job) -> bool {
    let before = job.output().len();
    let begun = std::time::Instant::now();
    while begun.elapsed().as_millis() < 300 {
        if job.output().len() > before {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

const TICKING: &str = "(setsid sh -c 'while :; do echo deep; sleep 0.01; done') &
    while :; do echo main; sleep 0.01; done";

fn is_paused_and_goes_on(confinement: Confinement) {
    let mut job = Job::start(&confined(TICKING, confinement));
    job.lines(4);
    let mut control = job.control();
    for _ in 0..2 {
        assert_eq!(control.ask(&Request::Pause), Reply::Done);
    }
    assert!(job.has(layout::PAUSED));
    // What was printed before it stopped is still on its way.
    until("silence", || (!grows(&job)).then_some(()));
    for _ in 0..2 {
        assert_eq!(control.ask(&Request::Resume), Reply::Done);
    }
    assert!(!job.has(layout::PAUSED));
    until("more", || grows(&job).then_some(()));
    assert_eq!(control.ask(&Request::Pause), Reply::Done);
    let stop = Stop {
        signal: None,
        grace_ms: None,
        by: "tester".into(),
    };
    assert_eq!(control.ask(&Request::Stop(stop)), Reply::Done);
    let exit = job.exit();
    assert_eq!(exit.status, Some(Status::Signal(libc::SIGTERM)));
    assert!(!job.has(layout::PAUSED));
}

#[test]
fn a_tree_is_held_still_and_goes_on_and_can_be_stopped() {
    is_paused_and_goes_on(Confinement::default());
}

#[test]
fn a_group_is_held_still_and_goes_on_and_can_be_stopped() {
    let Some(groups) = Groups::new() else { return };
    is_paused_and_goes_on(in_group(&groups, &[]));
    assert!(groups.is_empty());
}

#[test]
fn a_time_limit_ends_also_what_is_held_still() {
    let mut spec = script("trap '' TERM; echo up; while :; do sleep 1; done");
    // Time to begin and to be held still.
    spec.timeout_ms = Some(3000);
    spec.stop_grace_ms = 0;
    let mut job = Job::start(&spec);
    job.lines(1);
    assert_eq!(job.control().ask(&Request::Pause), Reply::Done);
    let exit = job.exit();
    assert_eq!(exit.cause, Cause::Timeout);
    assert_eq!(exit.status, Some(Status::Signal(libc::SIGKILL)));
}

#[test]
fn a_job_is_born_in_its_group_and_the_shim_is_not() {
    let Some(groups) = Groups::new() else { return };
    let text = "grep ^0:: /proc/self/cgroup; i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";
    let mut job = Job::start(&confined(
        text,
        in_group(&groups, &[("cgroup.max.depth", "3")]),
    ));
    assert!(job.lines(1)[0].ends_with("/job"));
    let shim = job.shim().as_raw_nonzero();
    if let Ok(own) = fs::read_to_string(format!("/proc/{shim}/cgroup")) {
        assert!(!own.contains("/job\n"), "{own}");
    }
    let exit = job.exit();
    assert!(exit.usage.exact && exit.usage.user_us > 0);
    assert!(groups.is_empty(), "the group is left behind");
}

#[test]
fn nobody_leaves_a_group_by_any_trick() {
    let Some(groups) = Groups::new() else { return };
    for on_exit in [OnExit::Kill, OnExit::Wait] {
        // Another session, another parent, no trace of the job in its environment, and a group of its own below.
        let text = "own=$(sed -n s/^0:://p /proc/self/cgroup); top=$1; mkdir $top/below
            setsid env -i sh -c 'echo $$ > '$top'/below/cgroup.procs; echo $$; exec sleep 1000' &
            until grep -q . $top/below/cgroup.procs; do sleep 0.01; done";
        let mut spec = confined(text, in_group(&groups, &[]));
        spec.argv.push("sh".into());
        spec.argv.push(groups.of_job().as_path().into());
        spec.on_exit = on_exit;
        let mut job = Job::start(&spec);
        let daemon: i32 = job.lines(1)[0].parse().unwrap();
        if on_exit == OnExit::Wait {
            let stop = Stop {
                signal: None,
                grace_ms: Some(0),
                by: "tester".into(),
            };
            assert_eq!(job.control().ask(&Request::Stop(stop)), Reply::Done);
        }
        job.exit();
        assert!(!lives(daemon));
        assert!(groups.is_empty(), "a group is left behind");
    }
}

#[test]
fn a_setting_that_the_kernel_refuses_leaves_nothing() {
    let Some(groups) = Groups::new() else { return };
    for (file, value, errno) in [
        ("no.such", "1", libc::ENOENT),
        ("cgroup.max.depth", "senseless", libc::EINVAL),
    ] {
        let settings = [("cgroup.max.descendants", "7"), (file, value)];
        let mut job = Job::start(&confined(":", in_group(&groups, &settings)));
        let why = job.not_started();
        assert_eq!((why.step, why.errno), (Step::Limit, errno));
        assert_eq!(why.subject.as_bytes(), file.as_bytes());
        assert!(groups.is_empty(), "the group is left behind");
    }
}

#[test]
fn what_a_dead_launch_has_left_is_no_hindrance_and_what_lives_there_is() {
    let Some(groups) = Groups::new() else { return };
    fs::create_dir(groups.of_job()).unwrap();
    assert_eq!(
        Job::start(&confined("exit 4", in_group(&groups, &[])))
            .exit()
            .status,
        Some(Status::Code(4))
    );
    let mut first = Job::start(&confined(
        "echo up; exec sleep 1000",
        in_group(&groups, &[]),
    ));
    first.lines(1);
    let why = Job::start(&confined(":", in_group(&groups, &[]))).not_started();
    assert_eq!((why.step, why.errno), (Step::Limit, libc::EBUSY));
    first.control().ask(&Request::Signal(libc::SIGKILL));
    first.exit();
}
