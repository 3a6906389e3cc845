//! Goal: every method of every service answers to exactly those whom the policy names. Method: the services' own
//! descriptors, and a connection as each kind of caller.

use legwork_identity::policy::{self, Denied};
use legwork_identity::{Principal, PrincipalId, Role, Via};
use legwork_server::Limits;
use prost::Message;
use tonic::Code;

use crate::net::{Net, Verdict, call, verdict};

/// Service and method of everything that is served.
fn methods() -> Vec<(String, String)> {
    let sets = [
        legwork_proto::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    ];
    let mut found = Vec::new();
    for set in sets {
        for file in prost_types::FileDescriptorSet::decode(set).unwrap().file {
            for service in &file.service {
                let name = format!("{}.{}", file.package(), service.name());
                let methods = service.method.iter().map(|method| method.name().to_owned());
                found.extend(methods.map(|method| (name.clone(), method)));
            }
        }
    }
    found
}

#[test]
fn the_policy_has_a_row_for_every_method_and_no_other() {
    assert_eq!(policy::mismatches(&methods()), []);
}

/// What the policy says of somebody with this role.
fn expected(role: Option<Role>, service: &str, method: &str) -> Verdict {
    let caller = role.map(|role| Principal {
        id: PrincipalId::User(0),
        name: String::new(),
        roles: role.into(),
        via: Via::Certificate,
    });
    let denied = policy::check(caller.as_ref(), service, method).err()?;
    Some(match denied {
        Denied::Stranger => (Code::Unauthenticated, "NOT_ENROLLED".to_owned()),
        Denied::Role { .. } => (Code::PermissionDenied, "ROLE".to_owned()),
        Denied::Unlisted => (Code::Unimplemented, "NO_SUCH_METHOD".to_owned()),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_against_every_method() {
    let net = Net::start(Limits::default()).await;
    let roles = [None].into_iter().chain(Role::ALL.map(Some));
    for role in roles {
        let own = role.map(|role| net.enrolled(role.name(), role));
        let mut methods = methods();
        methods.push(("legwork.v1.JobService".to_owned(), "Erase".to_owned()));
        for (service, method) in methods {
            let mut requests = net.raw(own.as_ref()).await;
            let path = format!("/{service}/{method}");
            let answer = call(&mut requests, &path, b"").await.unwrap();
            let refusals = [
                Code::Unauthenticated,
                Code::PermissionDenied,
                Code::Unimplemented,
            ];
            let found = verdict(answer.headers())
                .filter(|(code, reason)| refusals.contains(code) && reason != "INVITE_UNKNOWN");
            assert_eq!(found, expected(role, &service, &method), "{role:?} {path}");
        }
    }
}
