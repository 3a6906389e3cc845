//! May this principal do that: one table, and two questions about things that have an owner.
//!
//! [`TABLE`] says for each method who may call it at all. A method that is not in it may be called by nobody. What a
//! call is about is judged by [`may_see`] and [`may_change`]: an `admin` sees and changes everything, everybody sees
//! and changes their own. The role `read` is there for dashboards and audits: it sees the jobs of all with their
//! output, and calls nothing that changes anything. It does not pull files: the content of mirrors is the owner's
//! business. What somebody may not see is told as *not found*, also to those who want to change it, so that nobody
//! learns what exists. What they see and may not change is refused.
//!
//! Records are things of whoever sent them: whoever runs jobs or reports may send, and reads what it sent itself; `read` and `admin` read
//! everything. What tells of a whole log (its figures) is for the latter two, and a look at all of its lines, which costs the disk
//! as much as they are long, for `admin`.
//!
//! Whether an identity is revoked is not asked here: it then makes no [`Principal`].

use crate::principal::{Principal, Role};

/// What a caller of a method needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing, not even a certificate.
    Anyone,
    /// One of these roles.
    Roles(&'static [Role]),
}

/// Why a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The caller has shown no certificate, or one of an identity that is revoked.
    #[error("not enrolled: ask for an invite and join")]
    Stranger,
    /// The caller has none of the roles.
    #[error("this needs the role {}", names(needs))]
    Role {
        /// Any of these would do.
        needs: &'static [Role],
    },
    /// The table has no such method.
    #[error("no such method")]
    Unlisted,
}

fn names(roles: &[Role]) -> String {
    let names: Vec<_> = roles.iter().map(|role| role.name()).collect();
    names.join(" or ")
}

/// A row: service, method, and who may call it.
pub type Row = (&'static str, &'static str, Requirement);

const JOBS: &str = "legwork.v1.JobService";
const SYNC: &str = "legwork.v1.SyncService";
const RECORDS: &str = "legwork.v1.RecordService";
const HOST: &str = "legwork.v1.HostService";
const ENROLL: &str = "legwork.v1.EnrollService";
const OTLP_LOGS: &str = "opentelemetry.proto.collector.logs.v1.LogsService";
const HEALTH: &str = "grpc.health.v1.Health";
const REFLECTION: &str = "grpc.reflection.v1.ServerReflection";

const ENROLLED: Requirement = Requirement::Roles(&Role::ALL);
const WORKERS: Requirement = Requirement::Roles(&[Role::Admin, Role::Run]);
const VIEWERS: Requirement = Requirement::Roles(&[Role::Admin, Role::Run, Role::Read]);
const SENDERS: Requirement = Requirement::Roles(&[Role::Admin, Role::Run, Role::Report]);
const WATCHERS: Requirement = Requirement::Roles(&[Role::Admin, Role::Read]);
const ADMINS: Requirement = Requirement::Roles(&[Role::Admin]);

/// Every method, and who may call it.
pub const TABLE: &[Row] = &[
    (JOBS, "Start", WORKERS),
    (JOBS, "Run", WORKERS),
    (JOBS, "Get", VIEWERS),
    (JOBS, "List", VIEWERS),
    (JOBS, "Wait", VIEWERS),
    (JOBS, "Logs", VIEWERS),
    (JOBS, "Input", WORKERS),
    (JOBS, "Stop", WORKERS),
    (JOBS, "Signal", WORKERS),
    (JOBS, "Pause", WORKERS),
    (JOBS, "Resume", WORKERS),
    (JOBS, "Stats", VIEWERS),
    (JOBS, "Remove", WORKERS),
    (SYNC, "Commit", WORKERS),
    (SYNC, "Pull", WORKERS),
    (SYNC, "ListWorkspaces", WORKERS),
    (SYNC, "RemoveWorkspace", WORKERS),
    (SYNC, "ListTrash", WORKERS),
    (SYNC, "RestoreTrash", WORKERS),
    (RECORDS, "Ingest", SENDERS),
    (RECORDS, "Tail", ENROLLED),
    (RECORDS, "At", ENROLLED),
    (RECORDS, "ListStreams", ENROLLED),
    (RECORDS, "StreamStats", WATCHERS),
    (RECORDS, "Fsck", ADMINS),
    (OTLP_LOGS, "Export", SENDERS),
    (HOST, "Info", ENROLLED),
    (ENROLL, "Join", Requirement::Anyone),
    (ENROLL, "Renew", ENROLLED),
    (ENROLL, "Invite", ADMINS),
    (ENROLL, "ListIdentities", ADMINS),
    (ENROLL, "Revoke", ADMINS),
    (HEALTH, "Check", Requirement::Anyone),
    (HEALTH, "Watch", Requirement::Anyone),
    (REFLECTION, "ServerReflectionInfo", ENROLLED),
];

/// Who may call a method; `None` if it is not in the table.
#[must_use]
pub fn requirement(service: &str, method: &str) -> Option<Requirement> {
    let mut rows = TABLE.iter();
    rows.find(|row| (row.0, row.1) == (service, method))
        .map(|row| row.2)
}

/// Whether somebody, or a stranger, may call a method.
///
/// # Errors
/// Why not.
pub fn check(caller: Option<&Principal>, service: &str, method: &str) -> Result<(), Denied> {
    let needs = match requirement(service, method) {
        Some(Requirement::Anyone) => return Ok(()),
        Some(Requirement::Roles(needs)) => needs,
        // Only those who may know learn which methods there are.
        None if caller.is_none() => return Err(Denied::Stranger),
        None => return Err(Denied::Unlisted),
    };
    let caller = caller.ok_or(Denied::Stranger)?;
    if needs.iter().any(|role| caller.roles.has(*role)) {
        return Ok(());
    }
    Err(Denied::Role { needs })
}

/// Whether somebody may know of everybody's things.
#[must_use]
pub fn sees_all(caller: &Principal) -> bool {
    caller.roles.has(Role::Read) || caller.roles.has(Role::Admin)
}

/// Whether somebody may know of a thing of this owner ([`Principal::owner`]). If not, it is *not found*.
#[must_use]
pub fn may_see(caller: &Principal, owner: &str) -> bool {
    sees_all(caller) || may_change(caller, owner)
}

/// Whether somebody may change a thing of this owner ([`Principal::owner`]).
#[must_use]
pub fn may_change(caller: &Principal, owner: &str) -> bool {
    caller.roles.has(Role::Admin) || caller.owner() == owner
}

/// A difference between the table and what a server serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// The server has a method for which there is no row, so that nobody may call it.
    NoRow {
        /// Full name of the service.
        service: String,
        /// The method.
        method: String,
    },
    /// There is a row for a method that the server does not have.
    NoMethod {
        /// Full name of the service.
        service: &'static str,
        /// The method.
        method: &'static str,
    },
    /// There are two rows for one method.
    Twice {
        /// Full name of the service.
        service: &'static str,
        /// The method.
        method: &'static str,
    },
}

/// Compares the table with the methods that there are: full name of the service, and the method.
#[must_use]
pub fn mismatches(methods: &[(String, String)]) -> Vec<Mismatch> {
    compare(TABLE, methods)
}

fn compare(table: &[Row], methods: &[(String, String)]) -> Vec<Mismatch> {
    let no_row = methods
        .iter()
        .filter(|(service, method)| !table.iter().any(|row| (row.0, row.1) == (service, method)))
        .map(|(service, method)| Mismatch::NoRow {
            service: service.clone(),
            method: method.clone(),
        });
    let no_method = table
        .iter()
        .filter(|row| !methods.iter().any(|(s, m)| (row.0, row.1) == (s, m)))
        .map(|&(service, method, _)| Mismatch::NoMethod { service, method });
    let twice = table
        .iter()
        .enumerate()
        .filter(|(at, row)| {
            let earlier = table.iter().take(*at);
            earlier
                .into_iter()
                .any(|other| (other.0, other.1) == (row.0, row.1))
        })
        .map(|(_, &(service, method, _))| Mismatch::Twice { service, method });
    no_row.chain(no_method).chain(twice).collect()
}

#[cfg(test)]
mod tests;
