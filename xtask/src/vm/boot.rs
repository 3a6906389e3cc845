//! Starting the machine, hearing it out, and never longer than a limit.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::accelerator::{self, Accelerator};
use super::image::Image;
use super::words::Words;
use super::{Options, Yard};
use crate::command::{say, tail};
use crate::{Failure, Outcome};

/// The machine's whole life: many times what all tests take without an accelerator.
const LIMIT: Duration = Duration::from_mins(20);

/// What the kernel is told. Words without colour and without escapes are easier to read in a file; nobody attacks it by its
/// processor's flaws.
const KERNEL: &str = "root=LABEL=root ro console=ttyS0 TERM=dumb systemd.log_color=0 systemd.show_status=1 mitigations=off";

/// Runs the machine to its end and fails unless all that it was to do went well.
pub(super) fn run(yard: &Yard, image: &Image, carried: &Path, options: &Options) -> Outcome {
    let acceleration = accelerator::choose(yard, image);
    let (console, errors) = (yard.dir.join("console.log"), yard.dir.join("qemu.log"));
    let mut arguments = machine(acceleration, image, KERNEL);
    arguments.extend(devices(image, carried, &console));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    say(&format!(
        "xtask: starting the machine with {}",
        acceleration.name
    ));
    let begun = Instant::now();
    let mut qemu = yard.step("setpriv", &arguments).start(&errors)?;
    let out = qemu
        .stdout
        .take()
        .expect("it was started with a pipe for its output");
    let mut words = Words::default();
    let in_time = hear_out(&mut qemu, out, &mut words);
    let took = begun.elapsed().as_secs();
    if options.shell_command.is_none() {
        say(&format!("xtask: {} in {took} s", words.summary()));
    }
    let problem = if in_time || words.is_complete() {
        words.problem()
    } else {
        Some(format!("the machine was killed after {took} s"))
    };
    let Some(problem) = problem else {
        return Ok(());
    };
    // What a command says is its own affair; the console tells nothing about a code that is not 0.
    if options.shell_command.is_none() || !words.is_complete() {
        say(&tail(&errors));
        say(&tail(&console));
    }
    Err(Failure::Machine(problem))
}

/// Follows what it says until it has ended; `false` when it had to be killed.
fn hear_out(qemu: &mut Child, out: ChildStdout, words: &mut Words) -> bool {
    let end = Instant::now() + LIMIT;
    let (told, heard) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                if told.send(line).is_err() {
                    return;
                }
            }
        });
        let in_time = loop {
            match heard.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let line = String::from_utf8_lossy(&line);
                    if let Some(shown) = words.hear(line.trim_end_matches('\r')) {
                        say(&shown);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break true,
                Err(RecvTimeoutError::Timeout) => break false,
            }
        };
        // Its output is at an end only when it is; one that is not yet waited for can still be signalled.
        if let Err(error) = qemu.kill().and_then(|()| qemu.wait().map(|_| ())) {
            say(&format!("xtask: cannot end the machine: {error}"));
        }
        in_time
    })
}

/// The machine itself, as arguments of `setpriv`, so that it ends with this process however that ends.
pub(super) fn machine(by: Accelerator, image: &Image, kernel: &str) -> Vec<String> {
    let fixed = "--pdeathsig KILL qemu-system-x86_64 -nodefaults -no-user-config -display none \
                 -M q35 -m 2048 -nic none";
    let mut arguments: Vec<_> = fixed
        .split_whitespace()
        .chain(by.arguments.split_whitespace())
        .map(str::to_owned)
        .collect();
    let more = [
        ("-kernel", image.kernel.display().to_string()),
        ("-initrd", image.initrd.display().to_string()),
        ("-append", kernel.to_owned()),
    ];
    arguments.extend(
        more.into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value]),
    );
    arguments
}

/// Its disks, its console, and the port for its words, which leads to standard output.
fn devices(image: &Image, carried: &Path, console: &Path) -> Vec<String> {
    // What it writes to its root ends with it; nobody needs it to survive a loss of power here.
    let root = drive(&image.disk, "snapshot=on,cache=unsafe");
    let carried = drive(carried, "readonly=on");
    let console = format!("file:{}", console.display());
    let port = "virtserialport,chardev=words,name=legwork.words";
    let words = "file,id=words,path=/dev/stdout";
    let list = [
        ("-drive", root.as_str()),
        ("-drive", &carried),
        ("-serial", &console),
        ("-device", "virtio-serial-pci"),
        ("-chardev", words),
        ("-device", port),
    ];
    list.iter()
        .flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()])
        .collect()
}

fn drive(file: &Path, how: &str) -> String {
    // A comma in a name is written twice.
    let file = file.display().to_string().replace(',', ",,");
    format!("file={file},format=raw,if=virtio,{how}")
}
