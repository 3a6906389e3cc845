//! Which job of legwork a process belongs to.
//!
//! The control group of a job is named by the job's UUID, of version 7. Where jobs have no groups, their processes descend from the job's
//! shim, to which the kernel gives every orphan of the job; it is called `legwork-shim` and its first word ends with the job's id. No environment is
//! read. A process can call itself a shim, so this tells where something belongs, and grants nothing.

use std::collections::HashMap;

use crate::process::Process;

/// What a shim is called.
const SHIM: &str = "legwork-shim";
/// Of an id: 32 letters and digits, without those that are easily confused.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Tells each process its job.
pub(crate) fn mark(processes: &mut [Process]) {
    let mut shims: HashMap<u32, &str> = HashMap::new();
    let mut parents: HashMap<u32, u32> = HashMap::new();
    for process in &*processes {
        parents.insert(process.pid, process.ppid);
        if process.comm == SHIM
            && let Some(id) = id_of_shim(&process.cmdline)
        {
            shims.insert(process.pid, id);
        }
    }
    let jobs: Vec<Option<String>> = processes
        .iter()
        .map(|process| {
            of_group(&process.cgroup)
                .or_else(|| Some(of_shim(process.pid, &shims, &parents)?.to_owned()))
        })
        .collect();
    for (process, job) in processes.iter_mut().zip(jobs) {
        process.job = job.unwrap_or_default();
    }
}

fn id_of_shim(cmdline: &str) -> Option<&str> {
    let id = cmdline.strip_prefix(SHIM)?.strip_prefix(' ')?;
    let is_id = (8..=26).contains(&id.len()) && id.bytes().all(|byte| ALPHABET.contains(&byte));
    is_id.then_some(id)
}

/// The nearest shim from which it descends, or which it is.
fn of_shim<'a>(
    pid: u32,
    shims: &HashMap<u32, &'a str>,
    parents: &HashMap<u32, u32>,
) -> Option<&'a str> {
    if shims.is_empty() {
        return None;
    }
    let mut at = pid;
    // A list that is not of one moment can have a circle.
    for _ in 0..parents.len() {
        if let Some(id) = shims.get(&at) {
            return Some(id);
        }
        at = *parents.get(&at)?;
    }
    None
}

/// The job whose group this is, or is below.
fn of_group(path: &str) -> Option<String> {
    path.rsplit('/').find_map(id_of_uuid)
}

/// The id that a UUID of version 7 is shown as: its low 60 bits.
fn id_of_uuid(name: &str) -> Option<String> {
    let bytes = name.as_bytes();
    let is_uuid = bytes.len() == 36
        && bytes[14] == b'7'
        && bytes.iter().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
        });
    if !is_uuid {
        return None;
    }
    let low = u64::from_str_radix(&format!("{}{}", &name[20..23], &name[24..]), 16).ok()?;
    let letter = |place: u32| char::from(ALPHABET[(low >> (5 * place) & 31) as usize]);
    Some((0..12).rev().map(letter).collect())
}

#[cfg(test)]
mod tests {
    use super::{Process, mark};

    fn process(pid: u32, ppid: u32, comm: &str, cmdline: &str, cgroup: &str) -> Process {
        Process {
            pid,
            ppid,
            comm: comm.into(),
            cmdline: cmdline.into(),
            cgroup: cgroup.into(),
            ..Process::default()
        }
    }

    fn jobs(mut processes: Vec<Process>) -> Vec<String> {
        mark(&mut processes);
        processes.into_iter().map(|process| process.job).collect()
    }

    #[test]
    fn a_group_is_named_as_the_job_is() {
        // As `JobId` of legwork-jobs shows this uuid.
        let group =
            "/system.slice/legwork-jobs.service/jobs/0190a000-0000-7000-8000-000000000401/below";
        let other = "/machine/0190a000-0000-4000-8000-000000000401";
        let found = jobs(vec![
            process(2, 1, "x", "", group),
            process(3, 1, "x", "", other),
            process(4, 1, "x", "", "/"),
        ]);
        assert_eq!(found, ["000000000101", "", ""]);
    }

    #[test]
    fn what_descends_from_a_shim_is_of_its_job() {
        let found = jobs(vec![
            process(1, 0, "init", "", ""),
            process(5, 1, "legwork-shim", "legwork-shim abcdefgh0123", ""),
            process(6, 5, "sh", "sh", ""),
            process(7, 6, "legwork-shim", "legwork-shim zzzzzzzz0000", ""),
            process(8, 7, "x", "", ""),
            process(9, 1, "legwork-shim", "legwork-shim ../../etc", ""),
            process(10, 11, "x", "", ""),
            process(11, 10, "x", "", ""),
        ]);
        let (one, two) = ("abcdefgh0123", "zzzzzzzz0000");
        assert_eq!(found, ["", one, one, two, two, "", "", ""]);
    }
}
