//! Shims that another one starts.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use legwork_jobs::output::Read;
use legwork_jobs::{Cause, Config, JobState, Jobs, Keeper, KeptLauncher, ListQuery, Status};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::sandbox::{Sandbox, drain, end_of, shell, until_printed};

/// A keeper on a thread, which answers until it is dropped.
struct Keeping {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<usize>>,
}

impl Keeping {
    fn at(socket: &Path) -> Self {
        let mut keeper = Keeper::open(socket).unwrap();
        let listener = keeper.listener().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let moment = Timespec::try_from(Duration::from_millis(5)).unwrap();
                poll(&mut [PollFd::new(&listener, PollFlags::IN)], Some(&moment)).unwrap();
                if let Ok((peer, _)) = listener.accept() {
                    keeper.answer(peer);
                }
            }
            keeper.shims()
        });
        Self {
            over,
            thread: Some(thread),
        }
    }

    /// Ends it; how many shims it had.
    fn end(&mut self) -> usize {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

fn config(sandbox: &Sandbox, socket: &Path) -> Config {
    let mut config = sandbox.config();
    config.launcher = Some(Arc::new(KeptLauncher::new(socket)));
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keepers_shims_are_as_ones_own() {
    let sandbox = Sandbox::new();
    let socket = sandbox.path("keeper");
    let mut keeping = Keeping::at(&socket);
    let jobs = Jobs::open(config(&sandbox, &socket)).unwrap();
    let short = jobs.start(shell("echo ready; exit 7")).await.unwrap();
    let ended = jobs.wait(short.id).await.unwrap();
    assert_eq!(end_of(&ended).status, Some(Status::Code(7)));
    let (bytes, _) = drain(&mut jobs.output(short.id, Read::all()).await.unwrap()).await;
    assert_eq!(bytes, b"ready\n");

    let long = jobs.start(shell("echo ready; exec cat /proc/$PPID/stat; sleep 60"));
    let long = long.await.unwrap();
    assert!(matches!(long.state, JobState::Running { .. }));
    until_printed(&jobs, long.id, "legwork-shim").await;

    let failed = jobs.start(legwork_jobs::StartRequest {
        argv: vec!["/nowhere/program".into()],
        ..shell("")
    });
    let failed = failed.await.unwrap();
    assert!(matches!(end_of(&failed).cause, Cause::NotStarted(_)));
    let told = KeptLauncher::new(&socket).look().unwrap();
    assert_eq!((told.groups, told.shims), (None, 3));
    assert_eq!(keeping.end(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_keeper_nothing_is_started_and_all_is_seen() {
    let sandbox = Sandbox::new();
    let socket = sandbox.path("keeper");
    let mut keeping = Keeping::at(&socket);
    let jobs = Jobs::open(config(&sandbox, &socket)).unwrap();
    let job = jobs.start(shell("echo ready; read line; exit 3")).await;
    let job = job.unwrap();
    keeping.end();
    let refused = jobs.start(shell("true")).await.unwrap_err();
    assert!(refused.to_string().contains("keeper"), "{refused}");
    // Nothing of it is left, and the other one does not depend on who started it.
    let there = jobs.list(&ListQuery::default()).await.unwrap().jobs;
    assert_eq!(there.len(), 1);
    let ended = jobs.wait(job.id).await.unwrap();
    assert_eq!(end_of(&ended).status, Some(Status::Code(3)));
    Keeping::at(&socket);
    jobs.start(shell("true")).await.unwrap();
}
