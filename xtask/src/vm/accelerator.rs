//! Whether this host's processor can run the machine itself.
//!
//! That `/dev/kvm` can be opened says little: inside another virtual machine it may be there and run nothing.
//! So a kernel is started with it, and has to say something.

use std::io::Read;
use std::sync::mpsc;
use std::time::Duration;

use super::Yard;
use super::boot::machine;
use super::image::Image;

/// How long a kernel that is run by the processor itself may take to its first word: many times what it takes.
const FIRST_WORD: Duration = Duration::from_secs(10);

/// Who runs the machine's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Accelerator {
    /// What it is called.
    pub(super) name: &'static str,
    /// As arguments of qemu.
    pub(super) arguments: &'static str,
}

/// The host's processor.
const KVM: Accelerator = Accelerator {
    name: "kvm",
    arguments: "-accel kvm -cpu max -smp 2",
};

/// Nothing is needed of the host for this, which is some ten times slower. While it works, the machine's time is that of its instructions:
/// with the host's time, a guest on a busy host has the next tick of its clock due before it has done anything about the last one, and
/// was seen to do nothing else for ever. One processor, since two would take turns and wait for each other's answers; and an old one, for
/// which the kernel has less to do.
const EMULATED: Accelerator = Accelerator {
    name: "an emulated processor",
    arguments: "-accel tcg,thread=single -cpu qemu64 -smp 1 -icount shift=1",
};

/// `kvm` where that works, else an emulated processor.
pub(super) fn choose(yard: &Yard, image: &Image) -> Accelerator {
    if has_flag() && speaks(yard, image) {
        KVM
    } else {
        EMULATED
    }
}

/// Whether the processor says that it can; where it does not, waiting for the kernel's word is wasted time.
fn has_flag() -> bool {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines()
        .filter(|line| line.starts_with("flags"))
        .flat_map(str::split_whitespace)
        .any(|flag| matches!(flag, "vmx" | "svm"))
}

/// Whether a kernel that is started under it begins to speak in time.
fn speaks(yard: &Yard, image: &Image) -> bool {
    let mut arguments = machine(KVM, image, "console=ttyS0 earlyprintk=serial,ttyS0");
    arguments.extend(["-serial", "file:/dev/stdout"].map(str::to_owned));
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let step = yard.step("setpriv", &arguments);
    let Ok(mut qemu) = step.start(&yard.dir.join("accelerator.log")) else {
        return false;
    };
    let Some(mut out) = qemu.stdout.take() else {
        return false;
    };
    let (told, heard) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || told.send(matches!(out.read(&mut [0]), Ok(1))));
        let spoke = heard.recv_timeout(FIRST_WORD) == Ok(true);
        // One that ended by itself is not there to be killed; either way the wait ends.
        let killed = qemu.kill();
        killed.and_then(|()| qemu.wait()).is_ok() && spoke
    })
}
