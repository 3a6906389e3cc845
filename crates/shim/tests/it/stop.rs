//! Stops, time limits and signals.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use legwork_shim::control::{Reply, Request, Stop};
use legwork_shim::exit::{Cause, Status};
use legwork_shim::journal::Line;
use legwork_shim::spec::OnExit;

use crate::harness::{Job, kill, script, spec, until, until_held};

fn stop(grace_ms: Option<u64>) -> Request {
    Request::Stop(Stop {
        signal: None,
        grace_ms,
        by: "tester".into(),
    })
}

fn stopped() -> Cause {
    Cause::Stopped {
        by: "tester".into(),
    }
}

#[test]
fn a_time_limit_stops_the_job() {
    let mut spec = spec(&["sleep", "1000"]);
    spec.timeout_ms = Some(50);
    let exit = Job::start(&spec).exit();
    assert_eq!(exit.cause, Cause::Timeout);
    assert_eq!(exit.status, Some(Status::Signal(libc::SIGTERM)));
    assert!(
        (50..30_000).contains(&exit.elapsed_ms),
        "{}",
        exit.elapsed_ms
    );
}

#[test]
fn a_stop_signals_the_main_process_and_keeps_its_own_code() {
    let mut job = Job::start(&script(
        "trap 'exit 9' USR1; echo ready; while :; do sleep 0.01; done",
    ));
    job.lines(1);
    let request = Request::Stop(Stop {
        signal: Some(libc::SIGUSR1),
        grace_ms: None,
        by: "tester".into(),
    });
    assert_eq!(job.control().ask(&request), Reply::Done);
    let exit = job.exit();
    assert_eq!(
        (exit.cause, exit.status),
        (stopped(), Some(Status::Code(9)))
    );
}

#[test]
fn who_ignores_the_signal_is_killed_after_the_grace_with_all_daemons() {
    let daemon = "(setsid sh -c 'trap \"\" TERM; (sleep 1000 & echo daemon >&2; wait)' &)";
    let text = format!("trap '' TERM; {daemon}; {daemon}; echo main; while :; do sleep 1; done");
    let mut job = Job::start(&script(&text));
    job.lines(3);
    assert!(job.processes().len() >= 5);
    assert_eq!(job.control().ask(&stop(Some(100))), Reply::Done);
    let exit = job.exit();
    assert_eq!(
        (exit.cause, exit.status),
        (stopped(), Some(Status::Signal(9)))
    );
    assert!(exit.survivors.is_empty());
    assert!(
        (100..30_000).contains(&exit.elapsed_ms),
        "{}",
        exit.elapsed_ms
    );
}

#[test]
fn a_deep_and_wide_tree_dies() {
    let text = "f() { if [ $1 -gt 0 ]; then f $(($1-1)) & f $(($1-1)) & wait; else echo leaf; sleep 1000; fi; }; f 6";
    let mut job = Job::start(&script(text));
    job.lines(64);
    assert_eq!(job.control().ask(&stop(Some(0))), Reply::Done);
    let exit = job.exit();
    assert_eq!(exit.cause, stopped());
    assert!(exit.survivors.is_empty());
}

#[test]
fn processes_that_keep_forking_die() {
    let text = "f() { while :; do (sleep 0.01; echo x) & sleep 0.005; done; }; f & f & f & f";
    let mut job = Job::start(&script(text));
    job.lines(20);
    assert_eq!(job.control().ask(&stop(Some(0))), Reply::Done);
    assert!(job.exit().survivors.is_empty());
}

#[test]
fn a_repeated_stop_can_shorten_the_grace_and_not_lengthen_it() {
    let mut job = Job::start(&script(
        "trap '' TERM; echo ready; while :; do sleep 0.01; done",
    ));
    job.lines(1);
    let mut peer = job.control();
    let begun = Instant::now();
    assert_eq!(peer.ask(&stop(Some(3_600_000))), Reply::Done);
    assert_eq!(peer.ask(&stop(Some(50))), Reply::Done);
    assert_eq!(peer.ask(&stop(Some(3_600_000))), Reply::Done);
    assert_eq!(job.exit().status, Some(Status::Signal(9)));
    assert!(
        begun.elapsed() < Duration::from_secs(600),
        "less than the hour"
    );
}

#[test]
fn a_stopped_process_is_woken_to_be_stopped_for_good() {
    let mut job = Job::start(&script(
        "trap 'exit 3' TERM; echo ready; kill -STOP $$; echo woken",
    ));
    job.lines(1);
    until_held(job.main());
    assert_eq!(job.control().ask(&stop(None)), Reply::Done);
    assert_eq!(job.exit().status, Some(Status::Code(3)));
}

#[test]
fn sigterm_to_the_shim_is_a_stop() {
    let mut job = Job::start(&spec(&["sleep", "1000"]));
    kill(job.shim(), Signal::TERM);
    let exit = job.exit();
    assert!(
        matches!(exit.cause, Cause::Stopped { .. }),
        "{:?}",
        exit.cause
    );
    assert_eq!(exit.status, Some(Status::Signal(libc::SIGTERM)));
}

#[test]
fn a_signal_is_passed_on_and_is_not_a_stop() {
    let mut job = Job::start(&spec(&["sleep", "1000"]));
    let mut peer = job.control();
    assert_eq!(peer.ask(&Request::Signal(0)), Reply::Done);
    assert_eq!(
        peer.ask(&Request::Signal(4711)),
        Reply::Failed(libc::EINVAL)
    );
    let bad = Request::Stop(Stop {
        signal: Some(0),
        grace_ms: None,
        by: String::new(),
    });
    assert_eq!(peer.ask(&bad), Reply::Failed(libc::EINVAL));
    assert_eq!(peer.ask(&Request::Signal(libc::SIGHUP)), Reply::Done);
    let exit = job.exit();
    assert_eq!(
        (exit.cause, exit.status),
        (Cause::Own, Some(Status::Signal(1)))
    );
}

#[test]
fn a_time_limit_also_ends_the_wait_for_left_overs() {
    let mut spec = script("sleep 1000 & exit 4");
    spec.on_exit = OnExit::Wait;
    // The main process has long ended by then.
    spec.timeout_ms = Some(3000);
    spec.stop_grace_ms = 0;
    let exit = Job::start(&spec).exit();
    assert_eq!(
        (exit.cause, exit.status),
        (Cause::Timeout, Some(Status::Code(4)))
    );
}

#[test]
fn a_socket_that_cannot_be_made_is_tried_again() {
    let keep = tempfile::tempdir().unwrap();
    let in_the_way = keep.path().join("control");
    std::fs::create_dir(&in_the_way).unwrap();
    let spec = spec(&["sleep", "1000"]);
    let line = Line::Spec.encode(&spec).unwrap();
    let mut job = Job::start_in(keep.path(), spec.id, &line);
    let changed = || std::fs::metadata(keep.path()).unwrap().modified().unwrap();
    let before = changed();
    until("an attempt", || (changed() != before).then_some(()));
    std::fs::remove_dir(&in_the_way).unwrap();
    assert_eq!(job.control().ask(&stop(None)), Reply::Done);
    assert_eq!(job.exit().cause, stopped());
}
