//! What files of `/proc/PID` say, see proc(5).

/// The fields of `stat`, as far as they are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat<'a> {
    /// As the kernel has it, any bytes but zero.
    pub(crate) comm: &'a [u8],
    pub(crate) state: u8,
    pub(crate) ppid: u32,
    pub(crate) pgrp: i32,
    pub(crate) session: i32,
    pub(crate) tty: i32,
    pub(crate) flags: u32,
    pub(crate) minflt: u64,
    pub(crate) majflt: u64,
    /// In ticks.
    pub(crate) utime: u64,
    /// In ticks.
    pub(crate) stime: u64,
    pub(crate) nice: i32,
    pub(crate) threads: u32,
    /// In ticks.
    pub(crate) start: u64,
    /// In bytes.
    pub(crate) vsize: u64,
    /// In pages.
    pub(crate) rss: u64,
    pub(crate) processor: u32,
}

/// Reads `stat`. The name in it may hold anything, brackets and line feeds too, so it ends with the last bracket.
pub(crate) fn stat(text: &[u8]) -> Option<Stat<'_>> {
    let open = memchr::memchr(b'(', text)?;
    let close = memchr::memrchr(b')', text)?;
    let comm = text.get(open + 1..close)?;
    let mut words = text
        .get(close + 2..)?
        .split(|byte| *byte == b' ' || *byte == b'\n');
    let state = *words.next()?.first()?;
    let mut fields = [0_i64; 37];
    for field in &mut fields {
        *field = number(words.next()?)?;
    }
    // Numbered as in proc(5), where the one behind the state is the fourth.
    let field = |n: usize| fields[n - 4];
    let count = |n: usize| u64::try_from(field(n)).unwrap_or(0);
    let small = |n: usize| u32::try_from(field(n)).unwrap_or(0);
    let signed = |n: usize| i32::try_from(field(n)).unwrap_or(0);
    Some(Stat {
        comm,
        state,
        ppid: small(4),
        pgrp: signed(5),
        session: signed(6),
        tty: signed(7),
        flags: small(9),
        minflt: count(10),
        majflt: count(12),
        utime: count(14),
        stime: count(15),
        nice: signed(19),
        threads: small(20),
        start: count(22),
        vsize: count(23),
        rss: count(24),
        processor: small(39),
    })
}

/// A decimal number. One that is too large for 63 bits, as some addresses and limits are, is the largest.
fn number(word: &[u8]) -> Option<i64> {
    let (negative, digits) = match word.split_first()? {
        (b'-', digits) => (true, digits),
        _ => (false, word),
    };
    if digits.is_empty() {
        return None;
    }
    let mut number = 0_i64;
    for digit in digits {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number = number.saturating_mul(10).saturating_add(digit.into());
    }
    Some(if negative { -number } else { number })
}

/// What only `status` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Status {
    /// The real user.
    pub(crate) uid: u32,
    /// Swapped out, in KiB.
    pub(crate) swap_kb: u64,
}

/// Reads `status`. The name on its first line cannot hold a line feed there, so lines are what they seem.
pub(crate) fn status(text: &[u8]) -> Option<Status> {
    let mut found = None;
    let mut swap_kb = 0;
    for line in text.split(|byte| *byte == b'\n') {
        if let Some(rest) = line.strip_prefix(b"Uid:\t") {
            let uid = rest.split(|byte| *byte == b'\t').next()?;
            found = u32::try_from(number(uid)?).ok();
        } else if let Some(rest) = line.strip_prefix(b"VmSwap:") {
            let word = rest.trim_ascii().split(|byte| *byte == b' ').next()?;
            swap_kb = u64::try_from(number(word)?).unwrap_or(0);
            break;
        }
    }
    found.map(|uid| Status { uid, swap_kb })
}

/// The control group: that of version 2, else that which systemd keeps.
pub(crate) fn cgroup(text: &[u8]) -> &[u8] {
    let mut named: &[u8] = b"";
    for line in text.split(|byte| *byte == b'\n') {
        if let Some(path) = line.strip_prefix(b"0::") {
            return path;
        }
        let mut words = line.splitn(3, |byte| *byte == b':').skip(1);
        if words.next() == Some(b"name=systemd") {
            named = words.next().unwrap_or_default();
        }
    }
    named
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{cgroup, stat, status};

    const REST: &str = "S 1 7 8 34816 -1 4194560 10 11 12 13 140 150 16 17 20 -5 3 0 21000 4096000 500 18446744073709551615 1 2 3 0 0 0 0 0 0 0 0 0 17 6 0 0 0 0 0\n";

    #[test]
    fn a_name_may_hold_anything() {
        for name in ["x", "", ")", "a) R 1 (b", "a\nb c", "((()"] {
            let text = format!("42 ({name}) {REST}");
            let read = stat(text.as_bytes()).unwrap();
            assert_eq!(read.comm, name.as_bytes());
            assert_eq!(
                (read.state, read.ppid, read.pgrp, read.session, read.tty),
                (b'S', 1, 7, 8, 34816)
            );
            assert_eq!((read.minflt, read.majflt), (10, 12));
            assert_eq!((read.utime, read.stime, read.nice), (140, 150, -5));
            assert_eq!((read.threads, read.start), (3, 21000));
            assert_eq!((read.vsize, read.rss, read.processor), (4_096_000, 500, 6));
        }
    }

    #[test]
    fn what_is_cut_off_is_no_stat() {
        let text = format!("42 (x) {REST}");
        assert_eq!(stat(b""), None);
        for end in 0..text.len() - 20 {
            assert_eq!(stat(&text.as_bytes()[..end]), None, "{end}");
        }
    }

    #[test]
    fn users_and_swap_are_found() {
        let text = b"Name:\tUid:\\n\nUmask:\t0022\nUid:\t7\t0\t0\t0\nVmSize:\t  9 kB\nVmSwap:\t     12 kB\nThreads:\t1\n";
        let read = status(text).unwrap();
        assert_eq!((read.uid, read.swap_kb), (7, 12));
        assert_eq!(status(b"Name:\tx\n"), None);
        // A kernel thread has no memory.
        assert_eq!(status(b"Uid:\t0\t0\t0\t0\n").unwrap().swap_kb, 0);
    }

    #[test]
    fn the_group_is_that_of_version_2_or_of_systemd() {
        assert_eq!(
            cgroup(b"4:memory:/m\n1:name=systemd:/s\n0::/a:b\n"),
            b"/a:b"
        );
        assert_eq!(cgroup(b"4:memory:/m\n1:name=systemd:/s\n"), b"/s");
        assert_eq!(cgroup(b""), b"");
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(text in any::<Vec<u8>>()) {
            stat(&text);
            status(&text);
            cgroup(&text);
        }
    }
}
