//! Standard input.

use legwork_jobs::{JobError, Status, Stdin};

use crate::sandbox::{Sandbox, end_of, printed, request, shell, until_printed};

#[tokio::test]
async fn fed_closed_and_read_to_its_end() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let mut asked = request(&["cat"]);
    asked.stdin = Stdin::Pipe;
    let id = jobs.start(asked).await.unwrap().id;
    let mut stdin = jobs.stdin(id).await.unwrap();
    stdin.write_at(0, b"one ").await.unwrap();
    until_printed(&jobs, id, "one").await;
    // A second writer, after a lost connection, does not know how far the first came.
    let mut again = jobs.stdin(id).await.unwrap();
    again.write_at(0, b"one two").await.unwrap();
    again.finish().await.unwrap();
    assert_eq!(printed(&jobs, id).await, "one two");
    assert_eq!(
        end_of(&jobs.wait(id).await.unwrap()).status,
        Some(Status::Code(0))
    );
    assert!(matches!(jobs.stdin(id).await, Err(JobError::Ended { .. })));
}

#[tokio::test]
async fn more_than_a_pipe_holds() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let mut asked = request(&["wc", "-c"]);
    asked.stdin = Stdin::Pipe;
    let id = jobs.start(asked).await.unwrap().id;
    let mut stdin = jobs.stdin(id).await.unwrap();
    stdin.write_at(0, &vec![b'x'; 1_000_000]).await.unwrap();
    stdin.finish().await.unwrap();
    assert_eq!(printed(&jobs, id).await.trim(), "1000000");
}

#[tokio::test]
async fn a_payload_that_reads_no_more_is_told() {
    let sandbox = Sandbox::new();
    let jobs = sandbox.open();
    let mut asked = shell("exec <&-; echo closed; sleep 60");
    asked.stdin = Stdin::Pipe;
    let id = jobs.start(asked).await.unwrap().id;
    until_printed(&jobs, id, "closed").await;
    let mut stdin = jobs.stdin(id).await.unwrap();
    let refused = stdin.write_at(0, b"x").await;
    assert!(
        matches!(refused, Err(JobError::StdinClosed { .. })),
        "{refused:?}"
    );
    stdin.finish().await.unwrap();

    let without = jobs.start(request(&["true"])).await.unwrap().id;
    assert!(matches!(
        jobs.stdin(without).await,
        Err(JobError::StdinClosed { .. })
    ));
}
