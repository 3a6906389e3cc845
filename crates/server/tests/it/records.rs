//! Goal: what is acknowledged is in the log, once; who may not read it does not; and nobody can take what is everybody's.

use std::sync::Arc;

use legwork_client::{
    Ack, Client, Feed, FromMemory, FromSpool, Heard, Options, SendOptions, TailEvent, TailFrom,
    TailOptions, Target,
};
use legwork_identity::{Role, UnixTime};
use legwork_records::spool::{Spool, SpoolConfig};
use legwork_records::{Observed, Validator};
use legwork_server::{Limits, RecordRules, StreamRule};
use testkit::{Host, PATIENCE, Relay, until};
use tokio::sync::watch;

use crate::net::Net;

fn to(stream: &str) -> SendOptions {
    SendOptions {
        stream: stream.to_owned(),
        host: "here".to_owned(),
    }
}

/// Sends these batches, and tells the answers.
async fn send(client: &Client, stream: &str, batches: &[&str]) -> (Vec<Ack>, Vec<String>) {
    let (feed, mut source) = FromMemory::new(batches.len());
    for batch in batches {
        feed.put(batch.as_bytes().to_vec(), Vec::new())
            .await
            .unwrap();
    }
    drop(feed);
    let (mut acks, mut delays) = (Vec::new(), Vec::new());
    let hear = |heard| match heard {
        Heard::Ack(ack) => acks.push(ack),
        Heard::Delayed(refusal) => delays.push(refusal.reason),
        Heard::Welcome(_) => {}
    };
    let sent = client.send_records(&to(stream), &mut source, hear).await;
    sent.unwrap();
    (acks, delays)
}

fn all(stream: &str) -> TailOptions {
    TailOptions {
        stream: stream.to_owned(),
        data: true,
        ..TailOptions::default()
    }
}

/// Everything that there is.
async fn read(client: &Client, options: &TailOptions) -> Vec<String> {
    let mut tail = client.tail(options).await.unwrap();
    let mut found = Vec::new();
    while let Some(event) = tail.next().await.unwrap() {
        found.extend(lines(event));
    }
    found
}

fn lines(event: TailEvent) -> Vec<String> {
    let TailEvent::Lines { text, count, .. } = event else {
        return Vec::new();
    };
    let text = String::from_utf8(text.to_vec()).unwrap();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), count as usize);
    lines
}

#[tokio::test]
async fn what_is_sent_is_acknowledged_and_read_as_it_was() {
    let host = Host::start().unwrap();
    let client = host.client().await;
    let bad = "{\"b\":NaN}\n{\"c\":1,\"c\":2}\n{\"d\": 0.10}";
    let (acks, delays) = send(&client, "s", &["{\"a\":1}\n", bad, "[]"]).await;
    assert_eq!(delays, Vec::<String>::new());
    assert_eq!(acks[0].accepted, Some(1..2));
    assert_eq!(
        (acks[1].accepted.clone(), acks[1].rejected),
        (Some(2..3), 2)
    );
    let reasons: Vec<_> = acks[1]
        .rejections
        .iter()
        .map(|told| (told.index, told.reason.as_str(), told.field.as_str()))
        .collect();
    assert_eq!(
        reasons,
        [(0, "BAD_NUMBER", "/b"), (1, "DUPLICATE_KEY", "/c")]
    );
    assert!(
        acks.iter()
            .all(|ack| ack.durability.to_string() == "durable")
    );
    let found = read(&client, &all("s")).await;
    assert_eq!(found, ["{\"a\":1}", "{\"d\":0.10}"]);
    let whole = TailOptions {
        data: false,
        ..all("s")
    };
    let line = &read(&client, &whole).await[0];
    assert!(
        line.contains("\"client\":\"local:tester\",\"host\":\"here\""),
        "{line}"
    );
    let missing = client.tail(&all("other")).await.unwrap_err();
    assert_eq!(missing.reason, "STREAM_NOT_FOUND");
}

#[tokio::test]
async fn the_last_lines_are_those_that_are_wanted() {
    let host = Host::start().unwrap();
    let client = host.client().await;
    let batch: String = (0..300).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    send(&client, "s", &[&batch]).await;
    for (last, first) in [
        (3, Some("{\"n\":297}")),
        (300, Some("{\"n\":0}")),
        (999, Some("{\"n\":0}")),
        (0, None),
    ] {
        let options = TailOptions {
            from: TailFrom::Last(last),
            ..all("s")
        };
        let found = read(&client, &options).await;
        assert_eq!(found.first().map(String::as_str), first, "{last}");
        assert_eq!(found.len() as u64, last.min(300));
    }
    let from = TailOptions {
        from: TailFrom::Seq(299),
        ..all("s")
    };
    assert_eq!(read(&client, &from).await.len(), 2);
    let nobody = TailOptions {
        clients: vec!["nobody".to_owned()],
        ..all("s")
    };
    assert_eq!(read(&client, &nobody).await, Vec::<String>::new());
}

/// Reads what comes until so many lines are there.
async fn follow(client: Client, options: TailOptions, count: usize) -> Vec<String> {
    let mut tail = client.tail(&options).await.unwrap();
    let mut found = Vec::new();
    while found.len() < count {
        let event = tokio::time::timeout(PATIENCE, tail.next()).await.unwrap();
        found.extend(lines(event.unwrap().unwrap()));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_has_the_past_and_what_comes_each_once() {
    let host = Host::start().unwrap();
    let client = host.client().await;
    send(&client, "s", &["{\"n\":0}"]).await;
    let options = TailOptions {
        follow: true,
        ..all("s")
    };
    let following = host.tasks().spawn(follow(host.client().await, options, 21));
    for n in 1..=20 {
        send(&client, "s", &[&format!("{{\"n\":{n}}}")]).await;
    }
    let expected: Vec<String> = (0..=20).map(|n| format!("{{\"n\":{n}}}")).collect();
    assert_eq!(following.await.unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_directory_take_turns() {
    let host = Host::start().unwrap();
    let client = host.client().await;
    send(&client, "s", &["{\"n\":0}"]).await;
    let options = TailOptions {
        follow: true,
        ..all("s")
    };
    let following = host
        .tasks()
        .spawn(follow(host.another().await.unwrap(), options, 6));
    for n in 1..=5 {
        send(&client, "s", &[&format!("{{\"n\":{n}}}")]).await;
    }
    assert_eq!(following.await.unwrap().len(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_loses_contact_again_and_again_loses_no_record_and_sends_none_twice() {
    let host = Host::start().unwrap();
    let relay = Arc::new(Relay::new(host.dialler(), host.tasks()));
    let target = Target::Dialler(relay.dialler());
    let client = Client::connect(target, Options::default(), host.tasks());
    let client = client.await.unwrap();
    let (feed, mut source) = FromMemory::new(4);
    let (acked, acks) = watch::channel(0);
    let cutting = cut_and_feed(feed, acks, Arc::clone(&relay));
    let feeding = host.tasks().spawn(cutting);
    let hear = move |told| {
        if let Heard::Ack(ack) = told {
            acked.send_replace(ack.sequence);
        }
    };
    let options = to("s");
    let sent = client.send_records(&options, &mut source, hear);
    tokio::time::timeout(PATIENCE, sent).await.unwrap().unwrap();
    feeding.await.unwrap();
    let found = read(&host.client().await, &all("s")).await;
    assert_eq!(found, numbered(0..200));
    assert!(relay.connections() > 3);
}

/// Feeds 200 batches, and cuts the connection whenever the first of 20 is acknowledged.
async fn cut_and_feed(feed: Feed, mut acks: watch::Receiver<u64>, relay: Arc<Relay>) {
    for round in 0..10 {
        for line in numbered(round * 20..round * 20 + 20) {
            feed.put(line.into_bytes(), Vec::new()).await.unwrap();
        }
        let first = round as u64 * 20 + 1;
        acks.wait_for(|acked| *acked >= first).await.unwrap();
        relay.cut();
    }
}

fn numbered(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|n| format!("{{\"n\":{n}}}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_a_spool_is_sent_once_over_restarts_of_both_ends() {
    let host = Host::start().unwrap();
    let dir = host.scratch("spool");
    let client = host.client().await;
    for round in 0..3 {
        let (spool, _) = Spool::open(SpoolConfig::new(&dir)).unwrap();
        let spool = Arc::new(spool);
        for line in numbered(round * 10..round * 10 + 10) {
            let batch = Validator::default().batch(line.as_bytes(), Observed::Unsaid, None);
            spool.push(batch.unwrap()).unwrap();
        }
        let mut source = FromSpool::new(Arc::clone(&spool));
        let (told, mut acks) = tokio::sync::mpsc::channel(64);
        let hear = move |heard| {
            if let Heard::Ack(ack) = heard {
                told.try_send(ack.sequence).unwrap();
            }
        };
        let options = to("s");
        let sending = client.send_records(&options, &mut source, hear);
        let last = round as u64 * 10 + 10;
        let done = async { while acks.recv().await.unwrap() < last {} };
        tokio::select! {
            ended = sending => panic!("{ended:?}"),
            () = done => {}
            () = tokio::time::sleep(PATIENCE) => panic!("it hangs"),
        }
        drop(source);
        // What was acknowledged is not written down: it is sent again, and known.
        until("the thread has ended", || Arc::strong_count(&spool) == 1).await;
    }
    assert_eq!(read(&client, &all("s")).await, numbered(0..30));
}

#[tokio::test]
async fn a_sender_reads_its_own_and_a_reader_all() {
    let net = Net::start(Limits::default()).await;
    let mut who = Vec::new();
    for (name, role) in [
        ("web-1", Role::Report),
        ("web-2", Role::Report),
        ("watch", Role::Read),
        ("idle", Role::Report),
    ] {
        who.push(net.client(&net.enrolled(name, role)).await);
    }
    send(&who[0], "s", &["{\"n\":1}"]).await;
    send(&who[1], "s", &["{\"n\":2}"]).await;
    send(&who[1], "t", &["{\"n\":3}"]).await;
    assert_eq!(read(&who[0], &all("s")).await, ["{\"n\":1}"]);
    assert_eq!(read(&who[1], &all("s")).await, ["{\"n\":2}"]);
    assert_eq!(read(&who[2], &all("s")).await.len(), 2);
    let others = TailOptions {
        clients: vec!["web-2".to_owned()],
        ..all("s")
    };
    assert_eq!(read(&who[0], &others).await, Vec::<String>::new());
    assert_eq!(read(&who[2], &others).await, ["{\"n\":2}"]);
    for (client, stream) in [(&who[0], "t"), (&who[3], "s"), (&who[2], "u")] {
        let refused = client.tail(&all(stream)).await.unwrap_err();
        assert_eq!(refused.reason, "STREAM_NOT_FOUND");
    }
    let mut names = Vec::new();
    for client in &who {
        let streams = client.streams().await.unwrap();
        let named = streams.into_iter().map(|stream| stream.name);
        // What the server itself writes begins when it has something to write.
        let sent = named.filter(|name| !name.starts_with("legwork."));
        names.push(sent.collect::<Vec<_>>());
    }
    assert_eq!(names, [vec!["s"], vec!["s", "t"], vec!["s", "t"], vec![]]);
    assert_eq!(who[0].stream_stats("s").await.unwrap_err().reason, "ROLE");
    assert_eq!(who[2].stream_stats("s").await.unwrap().accepted, 2);
    let (_, mut source) = FromMemory::new(1);
    let refused = who[2].send_records(&to("s"), &mut source, drop).await;
    assert_eq!(refused.unwrap_err().reason, "ROLE");
}

#[tokio::test]
async fn who_has_a_name_again_does_not_read_what_was_sent_under_it_before() {
    let net = Net::start(Limits::default()).await;
    let first = net.client(&net.enrolled("web", Role::Report)).await;
    send(&first, "s", &["{\"n\":1}"]).await;
    let known = net.store.identities().unwrap();
    let id = known[0].id.to_string();
    net.store.revoke(&id, UnixTime::now()).unwrap();
    let again = net.client(&net.enrolled("web", Role::Report)).await;
    let hidden = again.tail(&all("s")).await.unwrap_err();
    assert_eq!(hidden.reason, "STREAM_NOT_FOUND");
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        send(&again, "s", &["{\"n\":2}"]).await;
        if let Ok(mut tail) = again.tail(&all("s")).await {
            let found = lines(tail.next().await.unwrap().unwrap());
            assert_eq!(found[0], "{\"n\":2}");
            return;
        }
        assert!(tokio::time::Instant::now() < deadline);
    }
}

#[tokio::test]
async fn an_identity_has_bounds_of_its_own_and_hears_of_them() {
    let rules = RecordRules {
        streams_each: 1,
        senders_each: 1,
        streams: [(
            "slow".to_owned(),
            StreamRule {
                records_per_s: Some(50),
                ..StreamRule::default()
            },
        )]
        .into(),
        ..RecordRules::default()
    };
    let net = Net::keeping(rules).await;
    let client = net.client(&net.enrolled("web", Role::Report)).await;
    let batches: Vec<String> = (0..4)
        .map(|n| numbered(n * 30..n * 30 + 30).join("\n"))
        .collect();
    let batches: Vec<&str> = batches.iter().map(String::as_str).collect();
    let (acks, delays) = send(&client, "slow", &batches).await;
    assert_eq!(acks.len(), 4);
    assert!(
        delays.iter().any(|reason| reason == "THROTTLED"),
        "{delays:?}"
    );
    assert_eq!(read(&client, &all("slow")).await, numbered(0..120));
    let (_feed, mut source) = FromMemory::new(1);
    let (_other, mut waiting) = FromMemory::new(1);
    let refused = client.send_records(&to("more"), &mut source, drop).await;
    assert_eq!(refused.unwrap_err().reason, "TOO_MANY_LOGS");
    let options = to("slow");
    let (welcomed, mut welcome) = tokio::sync::mpsc::channel(64);
    let holding = client.send_records(&options, &mut waiting, |_| welcomed.try_send(()).unwrap());
    let second = async {
        welcome.recv().await.unwrap();
        client.send_records(&options, &mut source, drop).await
    };
    tokio::select! {
        ended = holding => panic!("{ended:?}"),
        refused = second => assert_eq!(refused.unwrap_err().reason, "TOO_MANY_SENDERS"),
    }
}
