//! Small files that were edited, on a slow link: what changed of them travels.

use legwork_sync::message::{Packing, Up};
use legwork_sync::push::{Compress, Options, Pushed};

use crate::support::{Bench, Tree, kinds, tapped_with};

const FILES: usize = 30;

fn text(file: usize) -> String {
    let line = |number: usize| format!("line {number} of {file}: {}\n", number * number + file);
    (0..500).map(line).collect()
}

/// A tree that was pushed, on a slow link.
fn bench() -> Bench {
    let bench = Bench::new();
    for file in 0..FILES {
        bench.write(&format!("{file}"), &text(file));
    }
    let pushed = bench.push_with(&slow(&bench)).unwrap();
    assert_eq!(pushed.sent_files, FILES as u64);
    bench
}

fn slow(bench: &Bench) -> Options {
    Options {
        slow: true,
        compress: Compress::Nothing,
        ..bench.options()
    }
}

fn edit(bench: &Bench) {
    for file in 0..FILES {
        let text = text(file);
        let (before, after) = text.split_at(text.len() / 2);
        bench.write(&format!("{file}"), &format!("{before} edited {after}"));
    }
}

fn pushed(bench: &Bench, options: &Options) -> (Pushed, String) {
    let (pushed, seen) = tapped_with(bench, options, |_, _| {});
    assert_eq!(bench.tree(), Tree::of(&bench.source));
    (pushed.unwrap(), kinds(&seen))
}

#[test]
fn of_an_edited_file_what_changed_travels_in_one_round() {
    let bench = bench();
    edit(&bench);
    let (pushed, kinds) = pushed(&bench, &slow(&bench));
    assert_eq!(pushed.sent_files, FILES as u64);
    assert!(
        pushed.sent_bytes * 4 < pushed.reused_bytes,
        "{pushed:?}, {kinds}"
    );
    assert_eq!(kinds.matches('E').count(), 1);
    // And of what came of it the next edit is told against.
    for file in 0..FILES {
        bench.write(&format!("{file}"), &text(file));
    }
    let (again, _) = self::pushed(&bench, &slow(&bench));
    assert!(again.sent_bytes * 4 < again.reused_bytes, "{again:?}");
}

#[test]
fn on_a_fast_link_files_are_sent_as_they_are() {
    let bench = bench();
    edit(&bench);
    let (pushed, kinds) = pushed(&bench, &bench.options());
    assert_eq!((pushed.reused_bytes, kinds.contains('U')), (0, false));
}

#[test]
fn what_is_not_remembered_any_more_is_sent_as_it_is() {
    let bench = bench();
    edit(&bench);
    let mut fine = bench.cache().into_os_string();
    fine.push(".fine");
    std::fs::remove_file(fine).unwrap();
    let (pushed, _) = pushed(&bench, &slow(&bench));
    assert_eq!(pushed.reused_bytes, 0);
}

#[test]
fn a_file_that_a_job_changed_is_asked_for() {
    let bench = bench();
    edit(&bench);
    bench.job_write("7", "a job's");
    bench.job_remove("8");
    let (pushed, kinds) = pushed(&bench, &slow(&bench));
    assert_eq!(pushed.summary.displaced.total, 1);
    assert_eq!(kinds.matches('E').count(), 2);
}

#[test]
fn an_older_server_is_sent_whole_files() {
    let bench = bench();
    std::fs::remove_file(bench.cache()).unwrap();
    edit(&bench);
    let (pushed, seen) = tapped_with(&bench, &slow(&bench), |_, message| match message {
        Up::Hello(hello) => hello.version = 1,
        Up::Reuse(_) => *message = Up::Rebase,
        Up::Data(data) => assert_eq!(data.packing, Packing::Plain),
        _ => {}
    });
    assert_eq!(pushed.unwrap().reused_bytes, 0);
    assert!(!kinds(&seen).contains('U'));
    assert_eq!(bench.tree(), Tree::of(&bench.source));
}
