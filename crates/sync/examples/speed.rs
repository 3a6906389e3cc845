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
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use legwork_sync::workspace::Workspace;
use legwork_sync::{link, push, receive};

const TOP: usize = 20;
const BELOW: usize = 100;
const FILES: usize = 10;
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
