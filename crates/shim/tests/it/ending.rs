//! What happens when the main process, or the shim, is gone.

use rustix::process::Signal;

use legwork_shim::exit::{Cause, Status};
use legwork_shim::spec::OnExit;

use crate::harness::{Job, hold, kill, lives, script, until};

#[test]
fn a_daemon_that_holds_the_pipe_does_not_hold_the_job() {
    let mut job = Job::start(&script("(setsid sleep 1000 &); echo done; exit 7"));
    let exit = job.exit();
    assert_eq!(
        (exit.cause, exit.status),
        (Cause::Own, Some(Status::Code(7)))
    );
    assert!(exit.elapsed_ms < 30_000, "{}", exit.elapsed_ms);
    assert_eq!(job.output(), b"done\n");
}

#[test]
fn what_a_left_over_prints_at_once_is_kept() {
    let here = tempfile::tempdir().unwrap();
    let wait = |name| format!("until [ -e {name} ]; do sleep 0.01; done");
    let left = format!("{}; echo late; touch said; exec sleep 1000", wait("go"));
    let mut spec = script(&format!("({left}) & echo ready; {}; exit 0", wait("end")));
    spec.dir = here.path().into();
    let mut job = Job::start(&spec);
    job.lines(1);
    // The shim stands still while it happens, so what was printed is there when it learns of the end.
    let main = job.main().as_raw_nonzero().get();
    hold(job.shim());
    let touch = |name| std::fs::write(here.path().join(name), "").unwrap();
    touch("end");
    until("the main process's end", || (!lives(main)).then_some(()));
    touch("go");
    until("the last words", || {
        here.path().join("said").exists().then_some(())
    });
    kill(job.shim(), Signal::CONT);
    assert_eq!(job.exit().status, Some(Status::Code(0)));
    assert_eq!(job.output(), b"ready\nlate\n");
}

#[test]
fn a_left_over_that_never_stops_printing_is_cut_off() {
    let mut job = Job::start(&script("(while :; do echo x; sleep 0.01; done) & exit 0"));
    let exit = job.exit();
    assert_eq!(
        (exit.cause, exit.status),
        (Cause::Own, Some(Status::Code(0)))
    );
    assert_eq!(job.output().len() as u64, exit.output_end);
}

#[test]
fn a_left_over_that_has_closed_its_output_is_killed_at_once() {
    let mut job = Job::start(&script("sleep 1000 >/dev/null 2>&1 & exit 0"));
    job.exit();
}

#[test]
fn left_overs_are_awaited_if_the_spec_says_so() {
    let mut spec = script("(sleep 0.5; echo late; exit 3) & exit 5");
    spec.on_exit = OnExit::Wait;
    let mut job = Job::start(&spec);
    let exit = job.exit();
    assert_eq!(
        (exit.cause, exit.status),
        (Cause::Own, Some(Status::Code(5)))
    );
    assert_eq!(job.output(), b"late\n");
}

#[test]
fn killing_the_shim_kills_the_payload_and_frees_the_lock() {
    let job = Job::start(&script("echo ready; exec sleep 1000"));
    job.lines(1);
    let main = job.main().as_raw_nonzero().get();
    assert!(job.alive() && lives(main));
    kill(job.shim(), Signal::KILL);
    until("the payload's death", || (!lives(main)).then_some(()));
    job.unlocked();
    assert!(job.claimed().is_some() && job.recorded().is_none());
}

#[test]
fn the_tail_is_there_when_the_record_is() {
    for _ in 0..30 {
        let mut job = Job::start(&script("seq 1000; echo end >&2; exit 1"));
        let exit = job.exit();
        let output = job.output();
        assert_eq!(exit.output_end, output.len() as u64);
        assert_eq!(output.len(), 3893 + 4);
    }
}

#[test]
fn consumption_is_reported() {
    let mut job = Job::start(&script("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"));
    let usage = job.exit().usage;
    assert!(usage.user_us + usage.system_us > 1000);
    assert!(usage.max_rss_bytes > 100_000);
}

#[test]
fn a_directory_that_is_removed_under_its_job_ends_the_shim() {
    let mut job = Job::start(&script("echo ready; read x < /dev/null; exec sleep 1000"));
    job.lines(1);
    job.control();
    std::fs::remove_dir_all(job.path()).unwrap();
    kill(job.shim(), Signal::TERM);
    assert_eq!(job.shim_code(), Some(4));
}
