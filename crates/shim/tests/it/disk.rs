//! A full disk: output is lost and counted, the job and its end are not.

use std::fs;
use std::io::Write;
use std::path::Path;

use rustix::process::Signal;
use tempfile::TempDir;

use legwork_shim::exit::{NotStarted, Status, Step};
use legwork_shim::index::Stream;
use legwork_shim::journal::Line;
use legwork_shim::layout;
use legwork_shim::spec::Spec;

use crate::harness::{
    Job, command, is_root, kill, lives, open_journal, script, skipped, spec, until,
};

/// A small file system of its own.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None`, and a word about it, where mounting is not allowed.
    fn mount(bytes: u64) -> Option<Self> {
        if !is_root("mounts a small file system") {
            return None;
        }
        let here = tempfile::tempdir().expect("a temporary directory");
        let size = format!("size={bytes}");
        let mounted = command("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(here.path())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            skipped("mount(8) is refused here");
            return None;
        }
        Some(Self(here))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let file = fs::File::create(self.path().join("filler")).expect("room for a name");
        let mut at = 0;
        while rustix::io::pwrite(&file, &[1; 4096], at).is_ok_and(|written| written > 0) {
            at += 4096;
        }
    }

    fn free(&self) {
        fs::remove_file(self.path().join("filler")).expect("it was filled");
    }

    fn start(&self, spec: &Spec) -> Job {
        let path = self.path().join("job");
        fs::create_dir(&path).expect("room for a directory");
        Job::start_in(&path, spec.id, &Line::Spec.encode(spec).expect("JSON"))
    }

    fn grow(&self, bytes: u64) {
        let size = format!("remount,size={bytes}");
        let grown = command("mount")
            .args(["-o", &size])
            .arg(self.path())
            .status();
        assert!(grown.is_ok_and(|status| status.success()));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(command("umount").arg("-l").arg(self.path()).status());
    }
}

#[test]
fn what_finds_no_room_is_counted_and_later_output_is_kept_again() {
    let Some(disk) = SmallDisk::mount(512 * 1024) else {
        return;
    };
    let here = tempfile::tempdir().unwrap();
    let first = "seq 200000; touch printed; while ! [ -e go ]; do sleep 0.01; done";
    let second = "while ! [ -e stop ]; do echo second; sleep 0.01; done";
    let mut spec = script(&format!("{first}; {second}; exit 6"));
    spec.dir = here.path().into();
    let mut job = disk.start(&spec);
    // More than fits is printed, and nobody is held up by it.
    until("the end of the first part", || {
        here.path().join("printed").exists().then_some(())
    });
    let head = job.segments()[0].1.len() as u64;
    assert!(head > 100_000, "{head}");
    disk.grow(8 << 20);
    fs::write(here.path().join("go"), "").unwrap();
    until("output after the hole", || {
        let (start, bytes) = job.segments().pop()?;
        (start > 0 && bytes.starts_with(b"second\n")).then_some(())
    });
    fs::write(here.path().join("stop"), "").unwrap();
    let exit = job.exit();
    assert_eq!(exit.status, Some(Status::Code(6)));
    assert!(exit.output_failed > 0);
    assert_eq!(exit.output_dropped, exit.output_failed);
    let segments = job.segments();
    let kept: u64 = segments.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    assert_eq!(kept + exit.output_failed, exit.output_end);
    let (resumed, tail) = segments.last().unwrap();
    assert_eq!(resumed + tail.len() as u64, exit.output_end);
    let index = job.index();
    let hole = index
        .iter()
        .position(|entry| entry.stream == Stream::Dropped)
        .unwrap();
    assert_eq!(index[hole].offset, head);
    assert_eq!(index[hole + 1].offset, *resumed);
    assert_eq!(index[hole + 1].stream, Stream::Stdout);
}

#[test]
fn the_record_has_its_place_even_when_nothing_else_has() {
    let Some(disk) = SmallDisk::mount(512 * 1024) else {
        return;
    };
    let mut job = disk.start(&script("exec sleep 1000"));
    job.control();
    disk.fill();
    kill(job.main(), Signal::KILL);
    assert_eq!(job.exit().status, Some(Status::Signal(9)));
}

#[test]
fn a_record_that_cannot_be_written_is_written_later() {
    let Some(disk) = SmallDisk::mount(512 * 1024) else {
        return;
    };
    let mut spec = script("exec sleep 1000");
    // The claim fills a page of the disk to its last bytes, so the record needs another.
    const PAGE: usize = 4096;
    let claim = 150;
    let length = Line::Spec.encode(&spec).unwrap().len() + r#",["PAD",""]"#.len() + claim;
    spec.env
        .push(("PAD".into(), "x".repeat(PAGE - length % PAGE).into()));
    let mut job = disk.start(&spec);
    job.control();
    let main = job.main().as_raw_nonzero().get();
    // Takes the reservation away.
    let written = job.read(layout::JOURNAL).len();
    assert!((PAGE - 100..=PAGE).contains(&(written % PAGE)), "{written}");
    let journal = open_journal(job.path());
    journal.set_len(written as u64).unwrap();
    disk.fill();
    kill(job.main(), Signal::KILL);
    until("the payload's end", || (!lives(main)).then_some(()));
    // As long as the end is not recorded, the job is not free to be taken for lost.
    let begun = || job.read(layout::JOURNAL).len() > written;
    until("an attempt", || begun().then_some(()));
    assert!(job.alive() && job.recorded().is_none());
    disk.free();
    assert_eq!(job.exit().status, Some(Status::Signal(9)));
}

#[test]
fn a_job_that_fills_the_disk_with_its_first_byte_still_ends() {
    let Some(disk) = SmallDisk::mount(512 * 1024) else {
        return;
    };
    let target = format!("of={}", disk.path().join("filler").display());
    let argv = ["dd", "if=/dev/zero", "bs=64k", "status=none", &target];
    let mut job = disk.start(&spec(&argv));
    assert_eq!(job.exit().status, Some(Status::Code(1)));
}

#[test]
fn a_job_whose_end_has_no_place_does_not_begin() {
    let Some(disk) = SmallDisk::mount(512 * 1024) else {
        return;
    };
    let path = disk.path().join("job");
    fs::create_dir(&path).unwrap();
    let spec = script("exec sleep 1000");
    let held = open_journal(&path);
    (&held)
        .write_all(&Line::Spec.encode(&spec).unwrap())
        .unwrap();
    assert!(legwork_shim::lock::acquire(&held).unwrap());
    disk.fill();
    let mut job = Job::start_again(&path, spec.id, held);
    assert_eq!(job.shim_code(), Some(2));
    let why = job.handshake().strip_prefix("failed ").unwrap();
    let why: NotStarted = serde_json::from_str(why).unwrap();
    assert_eq!((why.step, why.errno), (Step::Setup, libc::ENOSPC));
    assert!(job.claimed().is_none());
}
