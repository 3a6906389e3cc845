//! Jobs as a table.

use std::time::Duration;

use legwork_client::{Job, Workspace};

use super::{command_line, end, short};
use crate::commands::workspaces::what;

/// Jobs as a table, a line each.
pub(crate) fn jobs(jobs: &[Job], now_ms: u64) -> String {
    let heads = ["ID", "STATE", "AGE", "NAME", "COMMAND"];
    aligned(heads, jobs.iter().map(|job| row(job, now_ms)))
}

/// Workspaces as a table; `own` is this machine's id.
pub(crate) fn workspaces(workspaces: &[Workspace], own: &str) -> String {
    let heads = ["ID", "PATHS", "SIZE", "TRASH", "LAST USED", "OF", "WHERE"];
    let row = |workspace: &Workspace| {
        let used = workspace.last_used_ms;
        [
            workspace.id.clone(),
            workspace.entries.to_string(),
            super::bytes(workspace.bytes),
            super::bytes(workspace.trash_bytes),
            if used == 0 {
                "never".to_owned()
            } else {
                super::time(used)
            },
            what(workspace, own),
            workspace.tree.to_string_lossy().into_owned(),
        ]
    };
    aligned(heads, workspaces.iter().map(row))
}

/// Rows below their heads.
pub(super) fn aligned<const N: usize>(
    heads: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    // Whatever is in a cell is on its line, and drives no terminal.
    let rows: Vec<_> = rows
        .map(|row| row.map(|cell| crate::output::printable(&cell)))
        .collect();
    let mut widths = heads.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&heads.map(String::from)).chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(job: &Job, now_ms: u64) -> [String; 5] {
    let word = match job.finish() {
        Some(finish) => end::summary(finish),
        None => end::word(job),
    };
    let age = Duration::from_secs(now_ms.saturating_sub(job.created_at_ms) / 1000);
    [
        short(job).to_owned(),
        word,
        coarse(age),
        job.name.clone().unwrap_or_default(),
        command_line(job),
    ]
}

/// A duration in its largest unit.
fn coarse(age: Duration) -> String {
    match age.as_secs() {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m", s / 60),
        s @ 3600..86400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86400),
    }
}
