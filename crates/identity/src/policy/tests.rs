//! Every role against every row, written out by hand.

use uuid::Uuid;

use super::{
    Denied, Mismatch, Requirement, TABLE, check, compare, may_change, may_see, mismatches,
};
use crate::principal::{Principal, PrincipalId, Role, Roles, Via};

fn principal(number: u128, roles: impl IntoIterator<Item = Role>) -> Principal {
    Principal {
        id: PrincipalId::Identity(Uuid::from_u128(number)),
        name: format!("p{number}"),
        roles: roles.into_iter().collect(),
        via: Via::Certificate,
    }
}

/// Method, and whether a stranger, `admin`, `run`, `report` and `read` may call it.
const EXPECTED: &[(&str, [u8; 5])] = &[
    ("legwork.v1.JobService/Start", [0, 1, 1, 0, 0]),
    ("legwork.v1.JobService/Run", [0, 1, 1, 0, 0]),
    ("legwork.v1.JobService/Get", [0, 1, 1, 0, 1]),
    ("legwork.v1.JobService/List", [0, 1, 1, 0, 1]),
    ("legwork.v1.JobService/Wait", [0, 1, 1, 0, 1]),
    ("legwork.v1.JobService/Logs", [0, 1, 1, 0, 1]),
    ("legwork.v1.JobService/Input", [0, 1, 1, 0, 0]),
    ("legwork.v1.JobService/Stop", [0, 1, 1, 0, 0]),
    ("legwork.v1.JobService/Signal", [0, 1, 1, 0, 0]),
    ("legwork.v1.JobService/Pause", [0, 1, 1, 0, 0]),
    ("legwork.v1.JobService/Resume", [0, 1, 1, 0, 0]),
    ("legwork.v1.JobService/Stats", [0, 1, 1, 0, 1]),
    ("legwork.v1.JobService/Remove", [0, 1, 1, 0, 0]),
    ("legwork.v1.SyncService/Commit", [0, 1, 1, 0, 0]),
    ("legwork.v1.SyncService/Pull", [0, 1, 1, 0, 0]),
    ("legwork.v1.SyncService/ListWorkspaces", [0, 1, 1, 0, 0]),
    ("legwork.v1.SyncService/RemoveWorkspace", [0, 1, 1, 0, 0]),
    ("legwork.v1.SyncService/ListTrash", [0, 1, 1, 0, 0]),
    ("legwork.v1.SyncService/RestoreTrash", [0, 1, 1, 0, 0]),
    ("legwork.v1.RecordService/Ingest", [0, 1, 1, 1, 0]),
    ("legwork.v1.RecordService/Tail", [0, 1, 1, 1, 1]),
    ("legwork.v1.RecordService/At", [0, 1, 1, 1, 1]),
    ("legwork.v1.RecordService/ListStreams", [0, 1, 1, 1, 1]),
    ("legwork.v1.RecordService/StreamStats", [0, 1, 0, 0, 1]),
    ("legwork.v1.RecordService/Fsck", [0, 1, 0, 0, 0]),
    (
        "opentelemetry.proto.collector.logs.v1.LogsService/Export",
        [0, 1, 1, 1, 0],
    ),
    ("legwork.v1.HostService/Info", [0, 1, 1, 1, 1]),
    ("legwork.v1.EnrollService/Join", [1, 1, 1, 1, 1]),
    ("legwork.v1.EnrollService/Renew", [0, 1, 1, 1, 1]),
    ("legwork.v1.EnrollService/Invite", [0, 1, 0, 0, 0]),
    ("legwork.v1.EnrollService/ListIdentities", [0, 1, 0, 0, 0]),
    ("legwork.v1.EnrollService/Revoke", [0, 1, 0, 0, 0]),
    ("grpc.health.v1.Health/Check", [1, 1, 1, 1, 1]),
    ("grpc.health.v1.Health/Watch", [1, 1, 1, 1, 1]),
    (
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        [0, 1, 1, 1, 1],
    ),
];

#[test]
fn every_role_against_every_row() {
    let callers = [
        None,
        Some(principal(1, [Role::Admin])),
        Some(principal(2, [Role::Run])),
        Some(principal(3, [Role::Report])),
        Some(principal(4, [Role::Read])),
    ];
    for (path, expected) in EXPECTED {
        let (service, method) = path.split_once('/').unwrap();
        for (caller, expected) in callers.iter().zip(expected) {
            let allowed = check(caller.as_ref(), service, method);
            assert_eq!(u8::from(allowed.is_ok()), *expected, "{path} {caller:?}");
        }
    }
    assert_eq!(EXPECTED.len(), TABLE.len());
}

#[test]
fn roles_add_up() {
    let both = principal(1, [Role::Report, Role::Read]);
    assert!(check(Some(&both), "legwork.v1.JobService", "Logs").is_ok());
    let none = principal(1, []);
    assert_eq!(none.roles, Roles::NONE);
    assert!(check(Some(&none), "legwork.v1.HostService", "Info").is_err());
}

#[test]
fn refusals_name_their_reason() {
    let report = principal(1, [Role::Report]);
    let start = |caller| check(caller, "legwork.v1.JobService", "Start").unwrap_err();
    assert_eq!(start(None), Denied::Stranger);
    let denied = start(Some(&report));
    assert_eq!(denied.to_string(), "this needs the role admin or run");
    let admin = principal(1, [Role::Admin]);
    let unknown = |caller| check(caller, "legwork.v1.JobService", "Erase").unwrap_err();
    assert_eq!(unknown(Some(&admin)), Denied::Unlisted);
    assert_eq!(unknown(None), Denied::Stranger);
}

#[test]
fn others_things_are_not_found() {
    let owner = principal(1, [Role::Run]);
    let other = principal(2, [Role::Run]);
    let reader = principal(3, [Role::Read]);
    let admin = principal(4, [Role::Admin]);
    let ask = |who: &Principal| {
        (
            may_see(who, &owner.owner()),
            may_change(who, &owner.owner()),
        )
    };
    assert_eq!(ask(&owner), (true, true));
    assert_eq!(ask(&other), (false, false));
    assert_eq!(ask(&reader), (true, false));
    assert_eq!(ask(&admin), (true, true));
    // A name that is given again does not inherit.
    let again = Principal {
        name: owner.name.clone(),
        ..other
    };
    assert_eq!(ask(&again), (false, false));
}

#[test]
fn what_reads_only_changes_nothing() {
    let changing = [
        "Start", "Input", "Stop", "Signal", "Pause", "Resume", "Remove", "Commit", "Ingest",
        "Invite", "Revoke",
    ];
    for (_, method, requirement) in TABLE {
        if changing.contains(method)
            && let Requirement::Roles(roles) = requirement
        {
            assert!(!roles.contains(&Role::Read), "{method}");
        }
    }
}

#[test]
fn the_table_is_compared_with_what_is_served() {
    let named = |service: &str, method: &str| (service.to_owned(), method.to_owned());
    let mut methods: Vec<_> = TABLE.iter().map(|row| named(row.0, row.1)).collect();
    assert_eq!(mismatches(&methods), []);
    let (service, method, requirement) = TABLE[0];
    methods.retain(|known| *known != named(service, method));
    methods.push(named("legwork.v1.JobService", "New"));
    let found = mismatches(&methods);
    assert_eq!(found.len(), 2);
    assert!(found.contains(&Mismatch::NoMethod { service, method }));
    let table = [TABLE[0], (service, method, requirement)];
    let twice = Mismatch::Twice { service, method };
    assert_eq!(compare(&table, &[named(service, method)]), [twice]);
}
