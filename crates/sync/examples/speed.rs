//! Times the mirror, both sides in this process, on a tree of 20,000 text files (281 MiB).
//!
//! ```text
//! cargo run --release -p legwork-sync --example speed -- SOURCE WORKSPACE [RUNS]
//! ```
//!
//! Makes SOURCE if it is not there; WORKSPACE must not be. Put the latter on a tmpfs to time the
//! mirror and not the disk, and compare with `rsync -a --delete SOURCE/ ELSEWHERE/`.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use legwork_sync::watch::{Clock, Pace, Wake, Watch};
use legwork_sync::workspace::Workspace;
use legwork_sync::{link, push, receive};

const TOP: usize = 20;
const BELOW: usize = 100;
const FILES: usize = 10;
const SAVES: usize = 21;
const MEAN: usize = 281 * (1 << 20) / (TOP * BELOW * FILES);

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(source), Some(target)) = (args.next(), args.next()) else {
        return Err("usage: speed SOURCE WORKSPACE [RUNS]".into());
    };
    let runs = args
        .next()
        .and_then(|runs| runs.to_str()?.parse().ok())
        .unwrap_or(5);
    if !source.exists() {
        make_tree(&source)?;
    }
    for run in 0..runs {
        let dir = target.join(run.to_string());
        fs::create_dir_all(&dir)?;
        let first = time("first", &source, &dir)?;
        time("unchanged, just after", &source, &dir)?;
        let unchanged = time("unchanged", &source, &dir)?;
        let edited = source.join("d07/s042/f3.txt");
        fs::write(
            &edited,
            format!("run {run}\n{}", fs::read_to_string(&edited)?),
        )?;
        let edit = time("one file edited", &source, &dir)?;
        saves(&source, &dir)?;
        let line = format!("{run}: first {first:?}, unchanged {unchanged:?}, edit {edit:?}\n");
        show(&line);
        fs::remove_dir_all(&dir)?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this program's result")]
fn show(line: &str) {
    print!("{line}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "a program of its own; its clock is the system's"
)]
fn now() -> SystemTime {
    SystemTime::now()
}

/// One push, with opening the workspace and loading cache and index.
fn time(what: &str, source: &Path, dir: &Path) -> Result<Duration, Box<dyn Error>> {
    let begun = Instant::now();
    let workspace = Workspace::open(&dir.join("workspace"), "this boot")?;
    let (client, server) = link::pair(8);
    let pushed = thread::scope(|scope| {
        scope.spawn(|| receive::receive(&workspace, &receive::Options::default(), server, &now));
        push::push(
            source,
            &push::Options {
                // Nothing is between the two.
                compress: push::Compress::Nothing,
                ..push::Options::at(now())
            },
            &dir.join("cache"),
            client,
            &(),
        )
    })?;
    let took = begun.elapsed();
    show(&format!(
        "  {what}: {took:?}, {} files and {} bytes sent, {} written\n",
        pushed.sent_files, pushed.sent_bytes, pushed.summary.written.total
    ));
    Ok(took)
}

struct Real(Instant);

impl Clock for Real {
    fn wall(&self) -> SystemTime {
        now()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Processor time of this process until now.
fn cpu() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(used).unwrap_or_default()
}

/// How long saves take to be seen in the workspace, one now and then, by an editor's rename.
fn saves(source: &Path, dir: &Path) -> Result<(), Box<dyn Error>> {
    let workspace = Workspace::open(&dir.join("workspace"), "this boot")?;
    let (clock, options) = (Real(Instant::now()), push::Options::at(now()));
    let cache = dir.join("cache");
    let mut watch = Watch::new(source, options, &cache, Pace::default(), Box::new(clock));
    let session = |begins: bool, watch: &mut Watch| {
        let (client, server) = link::pair(8);
        thread::scope(|scope| {
            scope
                .spawn(|| receive::receive(&workspace, &receive::Options::default(), server, &now));
            if begins {
                watch.begin(client, &())
            } else {
                watch.update(client, &())
            }
        })
    };
    session(true, &mut watch)?;
    let (over, used) = (AtomicBool::new(false), cpu());
    let mut took = thread::scope(|scope| {
        let saving = scope.spawn(|| {
            let took = (0..SAVES).map(|number| save(source, &workspace.tree(), number));
            let took = took.collect::<std::io::Result<Vec<Duration>>>();
            over.store(true, Ordering::Relaxed);
            took
        });
        while !over.load(Ordering::Relaxed) {
            if let Wake::Changed = watch.wait(Duration::from_millis(10), &|| false)? {
                session(false, &mut watch)?;
            }
        }
        let took = saving.join().map_err(|_| "the saver panicked")?;
        Ok::<_, Box<dyn Error>>(took?)
    })?;
    took.sort_unstable();
    let (least, middle, most) = (took[0], took[SAVES / 2], took[SAVES - 1]);
    let each = (cpu() - used) / u32::try_from(SAVES)?;
    show(&format!(
        "  saves: {middle:?}, {least:?} to {most:?}; {each:?} of processor time each\n"
    ));
    Ok(())
}

fn save(source: &Path, tree: &Path, number: usize) -> std::io::Result<Duration> {
    thread::sleep(Duration::from_millis(200));
    let (path, text) = ("d03/s021/f5.txt", format!("save {number}, {:?}\n", now()));
    let fresh = source.join("d03/s021/.f5.txt.swp");
    fs::write(&fresh, &text)?;
    let begun = Instant::now();
    fs::rename(fresh, source.join(path))?;
    while fs::read_to_string(tree.join(path))? != text {
        thread::sleep(Duration::from_micros(200));
    }
    Ok(begun.elapsed())
}

fn make_tree(root: &Path) -> Result<(), Box<dyn Error>> {
    let mut seed = 1_u64;
    let mut random = move || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap_or(0)
    };
    for top in 0..TOP {
        for below in 0..BELOW {
            let dir = root.join(format!("d{top:02}/s{below:03}"));
            fs::create_dir_all(&dir)?;
            for file in 0..FILES {
                let size = MEAN / 2 + random() % MEAN;
                let mut text = String::with_capacity(size + 16);
                while text.len() < size {
                    text.push_str(
                        [
                            "let ", "value ", "= ", "self.", "index;\n", "return ", "x\n",
                        ][random() % 7],
                    );
                    if random() % 5 == 0 {
                        text.push_str(&random().to_string());
                    }
                }
                fs::write(dir.join(format!("f{file}.txt")), text)?;
            }
        }
    }
    Ok(())
}
