//! From spec to running payload, and every way not to get there.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;

use rustix::fs::{FlockOperation, flock};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::Signal;

use legwork_shim::exit::{Cause, NotStarted, Status, Step};
use legwork_shim::journal::{Journal, Line};
use legwork_shim::spec::{RunAs, VERSION};
use legwork_shim::{layout, lock};

use crate::harness::{
    Job, command, is_root, kill, lives, open_journal, program, script, spec, until,
};

#[test]
fn the_starter_hears_of_a_job_until_it_has_settled() {
    let mut job = Job::start(&spec(&["sleep", "60"]));
    assert_eq!(job.told_later(), "settled\n");
    assert!(job.has(layout::CONTROL));
    kill(job.main(), Signal::KILL);
    job.exit();
    let mut job = Job::start(&script("echo one; echo two; exit 3"));
    let told = job.told_later();
    let grown = told.strip_suffix("settled\n").unwrap_or(&told);
    assert!(!told.is_empty());
    assert!(matches!(grown, "" | "\n" | "\n\n"), "{told:?}");
    assert_eq!(job.exit().status, Some(Status::Code(3)));
    let mut job = Job::start(&spec(&["/no/such/program"]));
    assert!(job.handshake().starts_with("failed "));
    assert_eq!(job.told_later(), "");
}

#[test]
fn a_starter_that_does_not_listen_holds_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let spec = script("echo heard; exit 3");
    let mut held = open_journal(dir.path());
    assert!(lock::acquire(&held).unwrap());
    held.write_all(&Line::Spec.encode(&spec).unwrap()).unwrap();
    let (reader, mut full) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&full, true).unwrap();
    while full.write(&[b'x'; 4096]).is_ok() {}
    rustix::io::ioctl_fionbio(&full, false).unwrap();
    let mut shim = command(program())
        .current_dir(dir.path())
        .env_clear()
        .stdin(held)
        .stdout(full)
        .spawn()
        .unwrap();
    assert_eq!(shim.wait().unwrap().code(), Some(0));
    let raw = fs::read(dir.path().join(layout::JOURNAL)).unwrap();
    assert!(Journal::parse(&raw).exit.is_some());
    drop(reader);
}

#[test]
fn exit_codes_and_signals_are_the_payloads_own() {
    for (text, status) in [
        ("exit 0", Status::Code(0)),
        ("exit 1", Status::Code(1)),
        ("exit 137", Status::Code(137)),
        ("kill -9 $$", Status::Signal(9)),
        ("kill -TERM $$", Status::Signal(15)),
    ] {
        let mut job = Job::start(&script(text));
        assert_eq!(job.handshake(), format!("started {}\n", job.main()));
        let exit = job.exit();
        assert_eq!(
            (exit.status, exit.cause),
            (Some(status), Cause::Own),
            "{text}"
        );
        assert_eq!(exit.started_at_ms, Some(job.launch().started_at_ms));
        assert!(exit.ended_at_ms >= job.launch().started_at_ms);
    }
}

#[test]
fn the_claim_names_boot_shim_and_payload() {
    let mut job = Job::start(&script("exit 0"));
    let launch = job.launch();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!(launch.boot_id, boot.trim());
    assert_eq!(
        launch.shim_pid,
        job.shim().as_raw_nonzero().get().unsigned_abs()
    );
    assert_eq!(launch.control, legwork_shim::control::VERSION);
    job.exit();
}

#[test]
fn a_silent_short_job_leaves_no_output_files() {
    let mut job = Job::start(&spec(&["true"]));
    job.exit();
    assert!(job.segments().is_empty());
    assert!(!job.has(layout::INDEX));
}

fn refused(argv: &[&str], dir: &str) -> NotStarted {
    let mut spec = spec(argv);
    spec.dir = dir.into();
    let mut job = Job::start(&spec);
    let why = job.not_started();
    assert_eq!(job.shim_code(), Some(2));
    job.unlocked();
    why
}

fn reason(step: Step, errno: i32, subject: &str) -> NotStarted {
    NotStarted {
        step,
        errno,
        subject: subject.into(),
    }
}

#[test]
fn a_program_that_cannot_run_is_told_from_one_that_is_not_there() {
    let here = tempfile::tempdir().unwrap();
    let plain = here.path().join("plain");
    fs::write(&plain, "#!/bin/sh\n").unwrap();
    let plain = plain.to_str().unwrap();
    let why = refused(&["no-such-program"], "/");
    assert_eq!(why, reason(Step::Exec, libc::ENOENT, "no-such-program"));
    assert_eq!(
        refused(&[plain], "/"),
        reason(Step::Exec, libc::EACCES, plain)
    );
    let why = refused(&["true"], "/no/such/directory");
    assert_eq!(why, reason(Step::Dir, libc::ENOENT, "/no/such/directory"));
    let why = refused(&["/no/such/program"], "/");
    assert_eq!(why, reason(Step::Exec, libc::ENOENT, "/no/such/program"));
}

#[test]
fn a_forbidden_program_in_the_path_is_passed_over_and_remembered() {
    let here = tempfile::tempdir().unwrap();
    let directories: Vec<_> = ["a", "b"]
        .iter()
        .map(|name| here.path().join(name))
        .collect();
    for directory in &directories {
        fs::create_dir(directory).unwrap();
        fs::write(directory.join("tool"), "echo found\n").unwrap();
    }
    let mut spec = spec(&["tool"]);
    let path = format!("{}:{}", directories[0].display(), directories[1].display());
    spec.env = vec![("PATH".into(), path.into())];
    let why = Job::start(&spec).not_started();
    assert_eq!(why, reason(Step::Exec, libc::EACCES, "tool"));
    // The second one may be run, and being in no format the kernel knows it is a shell script.
    fs::set_permissions(
        directories[1].join("tool"),
        PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let mut job = Job::start(&spec);
    job.exit();
    assert_eq!(job.output(), b"found\n");
}

#[test]
fn arguments_that_cannot_be_passed_are_the_specs_fault() {
    let why = refused(&["true", "a\0b"], "/");
    assert_eq!((why.step, why.errno), (Step::Spec, libc::EINVAL));
}

#[test]
fn a_spec_of_a_newer_version_or_of_no_sense_is_refused() {
    let newer = format!(
        "{{\"spec\":{{\"version\": {}, \"new\": []}}}}\n",
        VERSION + 1
    );
    let senseless = ["{\"spec\":{}\n", "{}\n", "{\"spec\":{\"version\": 1", ""];
    let senseless = senseless.map(|line| (line, libc::EINVAL));
    for (line, errno) in [(newer.as_str(), libc::EPROTONOSUPPORT)]
        .into_iter()
        .chain(senseless)
    {
        let here = tempfile::tempdir().unwrap();
        let mut job = Job::start_in(here.path(), uuid::Uuid::nil(), line.as_bytes());
        let why = job.not_started();
        assert_eq!((why.step, why.errno), (Step::Spec, errno));
        assert!(job.claimed().is_none());
    }
}

/// Everything in the directory.
fn everything(job: &Job) -> Vec<(String, Vec<u8>)> {
    let names = fs::read_dir(job.path()).expect("the job directory");
    let mut all: Vec<_> = names
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .map(|name| (name.clone(), job.read(&name)))
        .collect();
    all.sort();
    all
}

#[test]
fn a_second_shim_in_a_claimed_directory_does_nothing() {
    let spec = script("echo once");
    let mut first = Job::start(&spec);
    first.exit();
    let before = everything(&first);
    let held = open_journal(first.path());
    assert!(lock::acquire(&held).unwrap());
    let mut second = Job::start_again(first.path(), spec.id, held);
    assert_eq!(second.handshake(), "");
    assert_eq!(second.shim_code(), Some(3));
    assert_eq!(everything(&first), before);
    // The same without the record, as after the death of the first shim.
    let held = open_journal(first.path());
    let raw = first.read(layout::JOURNAL);
    let exit = Journal::parse(&raw).exit.unwrap();
    held.set_len((raw.len() - exit.len() - "{\"exit\":}\n".len()) as u64)
        .unwrap();
    let mut third = Job::start_again(first.path(), spec.id, held);
    assert_eq!(third.handshake(), "");
    assert_eq!(third.shim_code(), Some(3));
    assert!(first.recorded().is_none());
}

#[test]
fn a_shim_without_the_lock_does_nothing() {
    let spec = script("exec sleep 1000");
    let first = Job::start(&spec);
    let mut second = Job::start_again(first.path(), spec.id, open_journal(first.path()));
    assert_eq!(second.handshake(), "");
    assert_eq!(second.shim_code(), Some(3));
    assert!(first.alive());
}

#[test]
fn nothing_leaks_into_the_payload() {
    let here = tempfile::tempdir().unwrap();
    let leak = fs::File::create(here.path().join("leak")).unwrap();
    fcntl_setfd(&leak, FdFlags::empty()).unwrap();
    let text = "ls /proc/self/fd; grep -E '^Sig(Blk|Ign)' /proc/self/status; umask";
    let mut job = Job::start(&script(text));
    job.exit();
    let lines = job.lines(7);
    // The last descriptor is that of the directory that ls reads.
    assert_eq!(lines[..4], ["0", "1", "2", "3"]);
    assert_eq!(lines[4], "SigBlk:\t0000000000000000");
    assert_eq!(lines[5], "SigIgn:\t0000000000000000");
    let mine = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(mine);
    assert_eq!(lines[6], format!("{:04o}", mine.bits()));
}

#[test]
fn the_environment_is_the_specs_plus_the_jobs_mark() {
    let mut spec = spec(&["env"]);
    spec.env
        .push(("LEGWORK_JOB".into(), "someone else's".into()));
    spec.env.push(("A".into(), "b=c".into()));
    let mut job = Job::start(&spec);
    job.exit();
    let mark = format!("LEGWORK_JOB={}", spec.id.as_hyphenated());
    assert_eq!(
        job.lines(3),
        ["PATH=/usr/local/bin:/usr/bin:/bin", "A=b=c", &mark]
    );
}

#[test]
fn it_leads_its_own_session_in_the_directory_of_the_spec() {
    let here = tempfile::tempdir().unwrap();
    let mut spec = script("pwd; echo $$; cut -d' ' -f 5,6 /proc/$$/stat");
    spec.dir = here.path().into();
    let mut job = Job::start(&spec);
    job.exit();
    let (lines, pid) = (job.lines(3), job.main().to_string());
    assert_eq!(
        lines[0],
        here.path().canonicalize().unwrap().to_str().unwrap()
    );
    assert_eq!(lines[1], pid);
    assert_eq!(lines[2], format!("{pid} {pid}"));
}

#[test]
fn the_lease_is_shared_held_and_not_passed_on() {
    let here = tempfile::tempdir().unwrap();
    let path = here.path().join("lease");
    let lease = fs::File::create(&path).unwrap();
    let mut spec = script("exec sleep 1000");
    spec.lease = Some(path.as_path().into());
    flock(&lease, FlockOperation::NonBlockingLockExclusive).unwrap();
    let why = Job::start(&spec).not_started();
    assert_eq!(
        why,
        reason(Step::Lease, libc::EWOULDBLOCK, path.to_str().unwrap())
    );
    flock(&lease, FlockOperation::Unlock).unwrap();
    let mut first = Job::start(&spec);
    let second = Job::start(&spec);
    assert!(flock(&lease, FlockOperation::NonBlockingLockExclusive).is_err());
    drop(second);
    kill(first.main(), Signal::KILL);
    first.exit();
    until("the lease", || {
        flock(&lease, FlockOperation::NonBlockingLockExclusive).ok()
    });
}

#[test]
fn another_user_is_what_the_spec_says_and_dies_with_the_shim_too() {
    if !is_root("changes the payload's user") {
        return;
    }
    let mut spec = script(
        "id -u; id -g; id -G; echo again >/dev/stdout; \
                           grep NoNewPrivs /proc/self/status; exec sleep 1000",
    );
    spec.run_as = Some(RunAs {
        uid: 12_345,
        gid: 23_456,
        groups: vec![34_567, 45_678],
    });
    let job = Job::start(&spec);
    assert_eq!(
        job.lines(5),
        [
            "12345",
            "23456",
            "23456 34567 45678",
            "again",
            "NoNewPrivs:\t1"
        ]
    );
    let main = job.main().as_raw_nonzero().get();
    kill(job.shim(), Signal::KILL);
    until("the payload's death", || (!lives(main)).then_some(()));
}

#[test]
fn a_directory_that_the_user_may_not_enter_is_named() {
    if !is_root("changes the payload's user") {
        return;
    }
    let here = tempfile::tempdir().unwrap();
    fs::set_permissions(here.path(), PermissionsExt::from_mode(0o700)).unwrap();
    let mut spec = spec(&["true"]);
    spec.dir = here.path().into();
    spec.run_as = Some(RunAs {
        uid: 12_345,
        gid: 12_345,
        groups: Vec::new(),
    });
    let why = Job::start(&spec).not_started();
    assert_eq!(
        why,
        reason(Step::Dir, libc::EACCES, here.path().to_str().unwrap())
    );
}

#[test]
fn a_shim_without_memory_says_so_and_aborts() {
    let here = tempfile::tempdir().unwrap();
    let held = open_journal(here.path());
    assert!(lock::acquire(&held).unwrap());
    // A spec of nothing, larger than what the shim may have.
    held.set_len(1 << 32).unwrap();
    let ended = command("sh")
        .args(["-c", r#"ulimit -c 0; ulimit -v 1000000; exec "$0""#])
        .arg(program())
        .current_dir(here.path())
        .stdin(held)
        .output()
        .unwrap();
    assert_eq!(ended.status.signal(), Some(libc::SIGABRT));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("memory allocation of"), "{said}");
    assert_eq!(ended.stdout, b"");
    let journal = fs::metadata(here.path().join(layout::JOURNAL)).unwrap();
    assert_eq!(journal.len(), 1 << 32);
}
