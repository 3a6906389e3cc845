//! A crowd that sends records: many connections with a batch of 50 each second, slow and hostile ones among them.
//!
//! `cargo run --release -p legwork-client --example crowd -- ADDRESS STREAM SECONDS GOOD HOSTILE CONTEXT...`
//!
//! Each connection has a certificate; GOOD of them send as everybody should, HOSTILE of each kind do what nobody should (`hostile`), and one
//! asks small questions all the while. Contexts are directories as `legwork join` leaves them: the hostile ones use the first, the
//! others share the rest. Every record says who it is, so whoever looks into the log can count them. What came of it is printed as one JSON
//! object.
#![expect(clippy::print_stdout, reason = "an example prints")]

mod good;
mod hostile;
mod raw;
mod wire;

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use legwork_client::{Client, Options, Target, TlsTarget};
use legwork_identity::SystemClock;
use legwork_identity::ca::CaCertificate;
use legwork_identity::tls::{self, Credentials};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Handshakes at a time: the server lets in so many strangers from one address, and everybody begins as one.
const HANDSHAKES: usize = 32;
/// How often the small question is asked.
const QUESTION: Duration = Duration::from_millis(100);

/// Who somebody is, and where the server is.
#[derive(Clone)]
struct Who {
    target: Target,
    connector: TlsConnector,
    address: String,
    stream: Arc<str>,
    door: Arc<Semaphore>,
    tasks: TaskTracker,
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [address, stream, seconds, good, hostile, first, rest @ ..] = &words[..] else {
        return Err("usage: crowd ADDRESS STREAM SECONDS GOOD HOSTILE CONTEXT CONTEXT...".into());
    };
    let door = Arc::new(Semaphore::new(HANDSHAKES));
    let who = |context: &String| Who::read(Path::new(context), address, stream, &door);
    let others = rest.iter().map(who).collect::<Result<Vec<_>>>()?;
    if others.is_empty() {
        return Err("there has to be somebody good".into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let time = Duration::from_secs(seconds.parse()?);
    let told = runtime.block_on(crowd(
        who(first)?,
        others,
        good.parse()?,
        hostile.parse()?,
        time,
    ))?;
    println!("{told}");
    Ok(())
}

async fn crowd(
    villain: Who,
    others: Vec<Who>,
    good: usize,
    hostile: usize,
    time: Duration,
) -> Result<Value> {
    let mut asking = JoinSet::new();
    asking.spawn(ask(others[0].clone(), time));
    let connected = Instant::now();
    let senders = good::connect(&others, good).await?;
    let connected = connected.elapsed();
    let over = tokio::time::Instant::now() + time;
    let (sent, refused) = tokio::join!(
        good::send(senders, time),
        hostile::all(&villain, hostile, over)
    );
    let questions = asking.join_next().await.ok_or("one was asked")??;
    Ok(json!({
        "connectMs": connected.as_millis(),
        "good": sent?,
        "hostile": refused?,
        "questions": questions?,
    }))
}

/// Asks for what is cheap, and tells how long the answers took.
async fn ask(who: Who, time: Duration) -> Result<Value> {
    let client = who.client().await?;
    let over = Instant::now() + time;
    let mut took = Vec::new();
    while Instant::now() < over {
        let begun = Instant::now();
        client.info().await?;
        took.push(begun.elapsed());
        tokio::time::sleep(QUESTION).await;
    }
    Ok(spread(took))
}

/// What is usual, and what is the worst.
fn spread(mut took: Vec<Duration>) -> Value {
    took.sort_unstable();
    let at = |part: usize| took.get((took.len() * part / 100).min(took.len().saturating_sub(1)));
    let millis = |part| at(part).map(|took| took.as_secs_f64() * 1e3);
    json!({"count": took.len(), "p50Ms": millis(50), "p99Ms": millis(99), "maxMs": millis(100)})
}

impl Who {
    fn read(context: &Path, address: &str, stream: &str, door: &Arc<Semaphore>) -> Result<Self> {
        let text = |name: &str| std::fs::read_to_string(context.join(name));
        let about: Value = serde_json::from_str(&text("context.json")?)?;
        let server = about["server"]
            .as_str()
            .ok_or("no server in context.json")?
            .parse()?;
        let ca = CaCertificate::from_pem(&text("ca.pem")?)?;
        let own = Credentials::from_pem(&text("certificate.pem")?, &text("key.pem")?)?;
        let clock = Arc::new(SystemClock);
        let config = tls::client(&ca, server, Some(&own), clock.clone())?;
        let target = TlsTarget::new(vec![address.parse()?], ca, server, &own, clock)?;
        Ok(Self {
            target: Target::Tls(target),
            connector: TlsConnector::from(Arc::new(config)),
            address: address.to_owned(),
            stream: stream.into(),
            door: Arc::clone(door),
            tasks: TaskTracker::new(),
        })
    }

    /// A connection of its own, kept by the library.
    async fn client(&self) -> Result<Client> {
        let _turn = self.door.acquire().await?;
        let client = Client::connect(self.target.clone(), Options::default(), self.tasks.clone());
        let client = client.await?;
        // It is a stranger until the server has heard its first word, which may be later.
        client.info().await?;
        Ok(client)
    }
}
