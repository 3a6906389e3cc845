//! The machine's disk, made once: Debian with systemd, from its packages.
//!
//! It is kept under a name that says what it is made of. No run changes it: the machine writes to a copy
//! that ends with it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use super::Yard;
use crate::command::{say, unreadable};
use crate::{Failure, Outcome, tools};

const MIRROR: &str = "http://deb.debian.org/debian";
const SUITE: &str = "bookworm";
/// What is in the image besides the smallest Debian: an init system, a kernel, and what tests call.
const PACKAGES: &[&str] = &[
    "ca-certificates",
    "dbus",
    "iproute2",
    "kmod",
    "linux-image-cloud-amd64",
    "procps",
    "python3",
    "strace",
    "stress-ng",
    "systemd",
    "systemd-sysv",
    "udev",
];
/// Room in the file system; the file is sparse.
const SIZE: &str = "3G";

/// Files that are written over what the packages bring.
const FILES: &[(&str, &str)] = &[
    ("etc/hostname", "guest\n"),
    ("etc/hosts", "127.0.0.1 localhost guest\n"),
    (
        "etc/fstab",
        "LABEL=root / ext4 rw 0 0\nLABEL=carried /carried ext4 ro 0 0\n",
    ),
    ("etc/systemd/system/legwork-vm.service", UNIT),
    // A test that fails shows what units said, also before a reboot.
    (
        "etc/systemd/journald.conf.d/persistent.conf",
        "[Journal]\nStorage=persistent\n",
    ),
    // Drivers that the processor's kind asks for, of no use in a guest.
    (
        "etc/modprobe.d/guest.conf",
        "blacklist kvm_amd\nblacklist kvm_intel\nblacklist powernow_k8\nblacklist acpi_cpufreq\n",
    ),
];

/// Units that tests do not need, and an emulated processor takes seconds for.
const MASKED: &[&str] = &[
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "systemd-update-utmp-runlevel.service",
];

/// Runs what the second disk carries. Should that end by itself without success, nothing is left to wait for.
const UNIT: &str = "\
[Unit]
Description=Tests that need a host of their own
RequiresMountsFor=/carried
FailureAction=poweroff-force

[Service]
ExecStart=/usr/bin/python3 -B /carried/vm/run.py
StandardOutput=journal+console
StandardError=journal+console

[Install]
WantedBy=multi-user.target
";

/// What a machine starts from.
#[derive(Debug)]
pub(super) struct Image {
    /// The root file system, as the whole of a disk.
    pub(super) disk: PathBuf,
    /// The kernel out of it.
    pub(super) kernel: PathBuf,
    /// What the kernel needs before it has found the disk.
    pub(super) initrd: PathBuf,
}

impl Image {
    fn in_dir(dir: &Path) -> Self {
        Self {
            disk: dir.join("root.ext4"),
            kernel: dir.join("vmlinuz"),
            initrd: dir.join("initrd.img"),
        }
    }
}

/// The image, made now if it was not; [`Failure::Missing`] where it cannot be made.
pub(super) fn made(yard: &Yard) -> Result<Image, Failure> {
    if !cfg!(target_arch = "x86_64") {
        let why = "the virtual machine is one of x86_64, and this host is not";
        return Err(Failure::Missing(why.to_owned()));
    }
    yard.need(&[
        ("qemu-system-x86_64", "--version", "qemu-system-x86"),
        ("mke2fs", "-V", "e2fsprogs"),
    ])?;
    let dir = yard.dir.join(format!("image-{}", key()));
    if !dir.exists() {
        if !tools::is_root() {
            let why = "only root can make the file system of the virtual machine";
            return Err(Failure::Missing(why.to_owned()));
        }
        yard.need(&[("debootstrap", "--version", "debootstrap")])?;
        make(yard, &dir)?;
    }
    Ok(Image::in_dir(&dir))
}

/// A name for what the image is made of. Another compiler may give another name, which costs one more making.
fn key() -> String {
    let mut hasher = DefaultHasher::new();
    (MIRROR, SUITE, PACKAGES, SIZE, FILES, MASKED).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Makes it in a directory that gets its name when it is complete, and removes those of other names.
fn make(yard: &Yard, dir: &Path) -> Outcome {
    say("xtask: making the virtual machine's file system, which takes some minutes the first time");
    let new = yard.dir.join("new");
    let tree = new.join("tree");
    remove(&new)?;
    let packages = yard.dir.join("packages");
    for dir in [&new, &packages] {
        std::fs::create_dir_all(dir).map_err(|error| unreadable(dir, &error))?;
    }
    unpack(yard, &tree, &packages)?;
    furnish(&tree)?;
    let image = Image::in_dir(&new);
    take(&tree, "boot/vmlinuz-", &image.kernel)?;
    take(&tree, "boot/initrd.img-", &image.initrd)?;
    disk(yard, "root", &tree, &image.disk, SIZE)?;
    remove(&tree)?;
    for old in entries(&yard.dir)? {
        let name = old.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("image-") {
            remove(&old)?;
        }
    }
    std::fs::rename(&new, dir).map_err(|error| unreadable(dir, &error))
}

/// Has Debian's own tool unpack and configure the packages, of which those that were fetched before are kept.
fn unpack(yard: &Yard, tree: &Path, packages: &Path) -> Outcome {
    let include = format!("--include={}", PACKAGES.join(","));
    let cache = format!("--cache-dir={}", packages.display());
    let tree = tree.display().to_string();
    // In a mount namespace, since it mounts things in the tree, which must be gone when the tree is removed.
    let arguments = ["--mount", "debootstrap", "--variant=minbase"];
    let arguments = [&arguments[..], &[&cache, &include, SUITE, &tree, MIRROR]].concat();
    yard.step("unshare", &arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .run_into(&yard.dir.join("debootstrap.log"))
}

/// Writes what the packages do not bring, and removes what only a package manager needs.
fn furnish(tree: &Path) -> Outcome {
    for (name, text) in FILES {
        let path = tree.join(name);
        let parent = path.parent().unwrap_or(tree);
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|error| unreadable(&path, &error))?;
    }
    let units = tree.join("etc/systemd/system");
    let wanted = units.join("multi-user.target.wants/legwork-vm.service");
    link("../legwork-vm.service", &wanted)?;
    for name in MASKED {
        link("/dev/null", &units.join(name))?;
    }
    let carried = tree.join("carried");
    std::fs::create_dir(&carried).map_err(|error| unreadable(&carried, &error))?;
    for dir in ["var/cache/apt", "var/lib/apt/lists"] {
        remove(&tree.join(dir))?;
    }
    Ok(())
}

fn link(to: &str, path: &Path) -> Outcome {
    std::os::unix::fs::symlink(to, path).map_err(|error| unreadable(path, &error))
}

/// Copies the file out of the tree whose path begins so.
fn take(tree: &Path, beginning: &str, to: &Path) -> Outcome {
    let beginning = tree.join(beginning).display().to_string();
    let from = entries(&tree.join("boot"))?
        .into_iter()
        .find(|path| path.display().to_string().starts_with(&beginning))
        .ok_or_else(|| Failure::Read {
            place: format!("{beginning}*"),
            error: "Debian's kernel brought no such file".to_owned(),
        })?;
    std::fs::copy(&from, to)
        .map(|_| ())
        .map_err(|error| unreadable(&from, &error))
}

/// Makes a disk out of a directory, for which nothing has to be mounted.
pub(super) fn disk(yard: &Yard, label: &str, tree: &Path, disk: &Path, size: &str) -> Outcome {
    let (tree, disk) = (tree.display().to_string(), disk.display().to_string());
    let arguments = ["-q", "-F", "-t", "ext4", "-L", label, "-d", &tree];
    yard.step("mke2fs", &[&arguments[..], &[&disk, size]].concat())
        .run_into(&yard.dir.join("mke2fs.log"))
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    std::fs::read_dir(dir)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(|error| unreadable(dir, &error))
}

/// Removes a directory with all that is in it, if it is there.
pub(super) fn remove(dir: &Path) -> Outcome {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(unreadable(dir, &error)),
        _ => Ok(()),
    }
}
