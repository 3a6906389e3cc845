//! How fast is a server? Prints figures for connecting, for many short jobs on one connection, and for one large call.
//!
//! `cargo run --release -p legwork-client --example pace -- CONTEXT ADDRESS [FIGURE...]`
//!
//! CONTEXT is the directory of a context, as `legwork join` leaves it below `~/.local/share/legwork/contexts`; ADDRESS
//! is where the server is. FIGURE is `connect`, `one`, `burst`, `batch` or `accepted`; without any, all of them are taken, and the
//! server has eleven thousand jobs to remember then.
#![expect(clippy::print_stdout, reason = "an example prints")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use legwork_client::{Cause, Client, JobSpec, Options, Place, State, Status, Target, TlsTarget};
use legwork_identity::SystemClock;
use legwork_identity::ca::CaCertificate;
use legwork_identity::tls::Credentials;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const FIGURES: [&str; 5] = ["connect", "one", "burst", "batch", "accepted"];
/// How often each figure is taken.
const ROUNDS: usize = 5;
const CONNECTS: usize = 40;
const JOBS: usize = 200;
const AT_ONCE: usize = 8;
const BATCH: usize = 1000;

fn main() -> Result<()> {
    // As the command line's: one thread for everything.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure())
}

async fn measure() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(context), Some(address)) = (arguments.next(), arguments.next()) else {
        return Err("usage: pace CONTEXT ADDRESS [FIGURE...]".into());
    };
    let named: Vec<String> = arguments.collect();
    if let Some(stranger) = named.iter().find(|name| !FIGURES.contains(&name.as_str())) {
        return Err(format!(
            "no such figure: {stranger}; there are {}",
            FIGURES.join(", ")
        )
        .into());
    }
    let rounds = |figure: &str| {
        let is_wanted = named.is_empty() || named.iter().any(|name| name == figure);
        0..if is_wanted { ROUNDS } else { 0 }
    };
    let ms = |took: Duration| took.as_secs_f64() * 1e3;
    let target = target(Path::new(&context), &address)?;
    for _ in rounds("connect") {
        println!("connect_ms {:.3}", ms(connect(&target).await?));
    }
    let client = Client::connect(target, Options::default(), TaskTracker::new()).await?;
    for _ in rounds("one") {
        let (start, wait) = one(&client).await?;
        println!("start_ms {:.3}\nwait_ms {:.3}", ms(start), ms(wait));
    }
    for _ in rounds("burst") {
        println!("burst_jobs_s {:.0}", burst(&client).await?);
    }
    for _ in rounds("batch") {
        println!("batch_starts_s {:.0}", batch(&client).await?);
    }
    for _ in rounds("accepted") {
        let (answered, ended) = accepted(&client).await?;
        println!("accepted_s {:.0}", BATCH as f64 / answered.as_secs_f64());
        println!("accepted_ended_ms {:.0}", ms(ended));
    }
    Ok(())
}

/// The server of a context, and who we are to it.
fn target(context: &Path, address: &str) -> Result<Target> {
    let text = |name: &str| std::fs::read_to_string(context.join(name));
    let about: serde_json::Value = serde_json::from_str(&text("context.json")?)?;
    let server = about["server"]
        .as_str()
        .ok_or("no server in context.json")?;
    let ca = CaCertificate::from_pem(&text("ca.pem")?)?;
    let own = Credentials::from_pem(&text("certificate.pem")?, &text("key.pem")?)?;
    let clock = Arc::new(SystemClock);
    let addresses = vec![address.parse()?];
    let target = TlsTarget::new(addresses, ca, server.parse()?, &own, clock)?;
    Ok(Target::Tls(target))
}

/// The median time of a new connection and its first answer.
async fn connect(target: &Target) -> Result<Duration> {
    let mut times = Vec::with_capacity(CONNECTS);
    for _ in 0..CONNECTS {
        let begun = Instant::now();
        let client = Client::connect(target.clone(), Options::default(), TaskTracker::new());
        client.await?.info().await?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times[CONNECTS / 2])
}

fn spec() -> JobSpec {
    JobSpec {
        place: Place {
            dir: "/".into(),
            ..Place::default()
        },
        ..JobSpec::new(["/bin/true"])
    }
}

/// The median times until a job has been started, and from then until it has ended.
async fn one(client: &Client) -> Result<(Duration, Duration)> {
    let (mut starts, mut waits) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTS {
        let begun = Instant::now();
        let job = client.start(&spec()).await?;
        starts.push(begun.elapsed());
        client.wait(&job.id.to_string()).await?;
        waits.push(begun.elapsed() - starts[starts.len() - 1]);
    }
    starts.sort_unstable();
    waits.sort_unstable();
    Ok((starts[CONNECTS / 2], waits[CONNECTS / 2]))
}

/// Jobs a second, each started, run and waited for, on one connection.
async fn burst(client: &Client) -> Result<f64> {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    let begun = Instant::now();
    for _ in 0..JOBS {
        let slot = Arc::clone(&slots).acquire_owned().await?;
        let client = client.clone();
        running.spawn(async move {
            let job = client.start(&spec()).await?;
            let ended = client.wait(&job.id.to_string()).await;
            drop(slot);
            ended
        });
    }
    while let Some(ended) = running.join_next().await {
        let state = ended??.state;
        let well = matches!(
            &state,
            State::Finished(end) if matches!(end.cause, Cause::Own) && end.status == Some(Status::Code(0))
        );
        if !well {
            return Err(format!("a job ended as {state:?}").into());
        }
    }
    Ok(JOBS as f64 / begun.elapsed().as_secs_f64())
}

/// How long a call takes that only accepts jobs, and how long until all of them have ended.
async fn accepted(client: &Client) -> Result<(Duration, Duration)> {
    let specs: Vec<_> = (0..BATCH).map(|_| spec()).collect();
    let begun = Instant::now();
    let jobs = client.accept_many(&specs).await?;
    let answered = begun.elapsed();
    for job in jobs {
        client.wait(&job?.id.to_string()).await?;
    }
    Ok((answered, begun.elapsed()))
}

/// Starts a second, in one call.
async fn batch(client: &Client) -> Result<f64> {
    let specs: Vec<_> = (0..BATCH).map(|_| spec()).collect();
    let begun = Instant::now();
    let started = client.start_many(&specs).await?;
    let took = begun.elapsed();
    for job in started {
        client.wait(&job?.id.to_string()).await?;
    }
    Ok(BATCH as f64 / took.as_secs_f64())
}
