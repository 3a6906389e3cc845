//! A host behind a relay, and the jobs that the tests run on it.

use std::sync::{Arc, Mutex};

use legwork_client::{Client, JobSpec, LogEvent, LogOptions, Logs, Notice, Options, Place, Target};
use testkit::{Direction, Host, Relay};

/// A host, and the bad network in front of it.
pub(crate) struct Far {
    pub(crate) host: Host,
    pub(crate) relay: Relay,
    /// What a client was told of its contact.
    pub(crate) heard: Arc<Mutex<Vec<Notice>>>,
}

impl Far {
    pub(crate) fn start() -> Self {
        let host = Host::start().unwrap();
        let relay = Relay::new(host.dialler(), host.tasks());
        Self {
            host,
            relay,
            heard: Arc::default(),
        }
    }

    /// A client on the other side of the relay.
    pub(crate) async fn client(&self) -> Client {
        self.client_with(Options::default()).await
    }

    pub(crate) async fn client_with(&self, options: Options) -> Client {
        let heard = Arc::clone(&self.heard);
        let options = options.on_notice(move |notice| heard.lock().unwrap().push(notice));
        let target = Target::Dialler(self.relay.dialler());
        Client::connect(target, options, self.host.tasks())
            .await
            .unwrap()
    }

    /// A client that was in contact, and whose next connection is cut after so many bytes.
    pub(crate) async fn client_to_be_cut(&self, direction: Direction, after: u64) -> Client {
        let client = self.client().await;
        client.info().await.unwrap();
        self.relay.cut_next(direction, after);
        self.relay.cut();
        client
    }

    /// How often contact was lost.
    pub(crate) fn losses(&self) -> usize {
        let heard = self.heard.lock().unwrap();
        let lost = |notice: &&Notice| matches!(notice, Notice::Lost { .. });
        heard.iter().filter(lost).count()
    }
}

pub(crate) fn sh(line: &str) -> JobSpec {
    JobSpec {
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        place: Place {
            dir: "/".into(),
            ..Place::default()
        },
        ..JobSpec::new(["/bin/sh", "-c", line])
    }
}

pub(crate) fn follow() -> LogOptions {
    LogOptions::followed()
}

/// Reads to the end: the bytes, which must follow one another without holes, and the exit code.
pub(crate) async fn drain(logs: &mut Logs) -> (Vec<u8>, u8) {
    let mut bytes = Vec::new();
    let mut code = None;
    while let Some(event) = logs.next().await.unwrap() {
        assert_eq!(code, None, "the end is the last event");
        match event {
            LogEvent::Chunk(chunk) => {
                assert_eq!(
                    chunk.offset,
                    bytes.len() as u64,
                    "nothing twice, nothing lost"
                );
                bytes.extend_from_slice(&chunk.data);
            }
            LogEvent::Found(_) | LogEvent::Gap { .. } => panic!("nothing was sought or dropped"),
            LogEvent::End { offset, job } => {
                assert_eq!(offset, bytes.len() as u64);
                code = Some(job.unwrap().finish().unwrap().exit_code);
            }
        }
    }
    (bytes, code.unwrap())
}

/// What `seq 1 LAST` prints.
pub(crate) fn seq(last: u32) -> Vec<u8> {
    (1..=last)
        .map(|n| format!("{n}\n"))
        .collect::<String>()
        .into()
}
