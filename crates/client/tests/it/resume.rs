//! Goal: output that is followed over connections that break has every byte once, and its end.
//! Method: real jobs, and a relay that cuts at chosen places; the clock stands still where only pauses would pass.

use legwork_client::{LogEvent, LogFrom, LogOptions, LogStream};
use testkit::{Direction, Relay, until};

use crate::support::{Far, drain, follow, seq, sh};

const LAST: u32 = 12_000;

#[tokio::test]
async fn a_cut_at_any_place_costs_no_byte_and_repeats_none() {
    let far = Far::start();
    let job = sh(&format!("seq 1 {LAST}; exit 7"));
    let id = job.id.to_string();
    let direct = far.host.client().await;
    direct.start(&job).await.unwrap();
    direct.wait(&id).await.unwrap();
    // From here on only files are read. The pauses between connections take no time.
    tokio::time::pause();

    let expected = seq(LAST);
    let whole = far.relay.passed(Direction::Down);
    let (bytes, code) = drain(&mut far.client().await.logs(&id, follow()).await.unwrap()).await;
    assert!(bytes == expected && code == 7);
    let whole = far.relay.passed(Direction::Down) - whole;
    assert!(whole > expected.len() as u64);

    // Every byte of the beginning and of the end, where the frames are small, and places all over.
    let places = (0..160)
        .chain((160..whole).step_by(997))
        .chain(whole.saturating_sub(160)..whole);
    for place in places {
        let before = far.relay.connections();
        far.relay.cut_next(Direction::Down, place);
        let client = far.client().await;
        let mut logs = client.logs(&id, follow()).await.unwrap();
        let (bytes, code) = drain(&mut logs).await;
        assert!(bytes == expected && code == 7, "cut after {place} bytes");
        assert!(far.relay.connections() - before <= 3);
    }
}

#[tokio::test]
async fn many_cuts_in_one_follow() {
    let far = Far::start();
    let job = sh("seq 1 2500000");
    let id = job.id.to_string();
    let direct = far.host.client().await;
    direct.start(&job).await.unwrap();
    direct.wait(&id).await.unwrap();
    tokio::time::pause();
    for _ in 0..40 {
        far.relay.cut_next(Direction::Down, 400_000);
    }
    let mut logs = far.client().await.logs(&id, follow()).await.unwrap();
    let (bytes, _) = drain(&mut logs).await;
    assert!(bytes == seq(2_500_000));
    assert!(far.relay.connections() > 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_job_is_followed_over_a_restart_of_the_server() {
    let far = Far::start();
    let gate = far.host.scratch("gate").join("open");
    let line = format!(
        "echo before; until [ -e {} ]; do sleep 0.02; done; echo after; exit 3",
        gate.display()
    );
    let client = far.client().await;
    let job = client.start(&sh(&line)).await.unwrap();
    let mut logs = client.logs(&job.short_id, follow()).await.unwrap();
    let Some(LogEvent::Chunk(first)) = logs.next().await.unwrap() else {
        panic!("some output")
    };
    assert_eq!(&first.data[..], b"before\n");

    far.relay.refuse(true);
    far.relay.cut();
    std::fs::write(&gate, "").unwrap();
    let rest = far.host.tasks().spawn(async move {
        let mut rest = Vec::new();
        while let Some(event) = logs.next().await.unwrap() {
            rest.push(event);
        }
        rest
    });
    until("contact is lost", || far.losses() > 0).await;
    far.host.restart().unwrap();
    far.relay.refuse(false);
    let rest = rest.await.unwrap();
    let LogEvent::Chunk(chunk) = &rest[0] else {
        panic!("more output")
    };
    assert_eq!((chunk.offset, &chunk.data[..]), (7, &b"after\n"[..]));
    let LogEvent::End { job: Some(job), .. } = rest.last().unwrap() else {
        panic!("the end")
    };
    assert_eq!(job.finish().unwrap().exit_code, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_next_is_not_skipped_when_it_comes_during_a_break() {
    let far = Far::start();
    let gate = far.host.scratch("gate").join("open");
    let line = format!(
        "echo past; until [ -e {} ]; do sleep 0.02; done; echo next",
        gate.display()
    );
    let direct = far.host.client().await;
    let job = direct.start(&sh(&line)).await.unwrap();
    let id = job.id.to_string();
    let mut past = direct.logs(&id, follow()).await.unwrap();
    past.next().await.unwrap();

    let live = LogOptions {
        stream: LogStream::Stdout,
        from: LogFrom::Live,
        follow: true,
    };
    let mut logs = far.client().await.logs(&id, live).await.unwrap();
    far.relay.refuse(true);
    far.relay.cut();
    std::fs::write(&gate, "").unwrap();
    direct.wait(&id).await.unwrap();
    far.relay.refuse(false);
    let Some(LogEvent::Chunk(chunk)) = logs.next().await.unwrap() else {
        panic!("what was printed meanwhile")
    };
    assert_eq!((chunk.offset, &chunk.data[..]), (5, &b"next\n"[..]));
}

#[tokio::test]
async fn a_slow_network_in_small_pieces_changes_nothing() {
    let far = Far::start();
    let job = sh("seq 1 2000");
    let id = job.id.to_string();
    let direct = far.host.client().await;
    direct.start(&job).await.unwrap();
    direct.wait(&id).await.unwrap();
    tokio::time::pause();
    far.relay.slow(300, std::time::Duration::from_millis(40));
    let mut logs = far.client().await.logs(&id, follow()).await.unwrap();
    assert!(drain(&mut logs).await.0 == seq(2000));
    assert_eq!(far.losses(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_port_that_resets_its_connections() {
    let far = Far::start();
    let relay = Relay::new(far.host.dialler(), far.host.tasks());
    let at = relay.listen().await.unwrap();
    let dialler = legwork_client::Dialler::new(move || async move {
        let stream = tokio::net::TcpStream::connect(at).await;
        stream.map_err(|error| legwork_client::CallError::unreachable(&error.to_string()))
    });
    let target = legwork_client::Target::Dialler(dialler);
    for _ in 0..3 {
        relay.cut_next(Direction::Down, 20_000);
    }
    let options = legwork_client::Options::default();
    let client = legwork_client::Client::connect(target, options, far.host.tasks());
    let client = client.await.unwrap();
    let job = client.start(&sh("seq 1 12000")).await.unwrap();
    let mut logs = client.logs(&job.id.to_string(), follow()).await.unwrap();
    assert!(drain(&mut logs).await.0 == seq(LAST));
    assert!(relay.connections() >= 3);
}
