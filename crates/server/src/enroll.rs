//! `EnrollService`: the database of identities does the work, on threads where it may block.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use legwork_identity::invite::{Invite, Secret};
use legwork_identity::store::{INVITE_LIFETIME, Identity, NewInvite};
use legwork_identity::{CertificateRequest, PrincipalId, Role, Roles, UnknownRole};
use legwork_jobs::{Clock, SystemClock};
use legwork_proto::v1 as wire;
use legwork_proto::v1::enroll_service_server::EnrollService;
use tonic::{Code, Request, Response, Status};

use crate::access::Call;
use crate::authority::{Opened, now};
use crate::problem::Problem;
use crate::server::Shared;

#[derive(Debug)]
pub(crate) struct EnrollRpc(pub(crate) Arc<Shared>);

impl EnrollRpc {
    /// Runs what may block, to its end even if the client goes away.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared, &Opened) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let shared = Arc::clone(&self.0);
        let running = self
            .0
            .tasks
            .spawn_blocking(move || work(&shared, &*shared.authority.need()?));
        running
            .await
            .map_err(|panic| Problem::new(Code::Internal, "PANIC", panic.to_string()))?
    }
}

fn identity(known: &Identity) -> wire::Identity {
    wire::Identity {
        id: known.id.to_string(),
        name: known.name.clone(),
        roles: known
            .roles
            .iter()
            .map(|role| role.name().to_owned())
            .collect(),
        created_at_s: known.created_at.as_secs(),
        revoked_at_s: known.revoked_at.map(|time| time.as_secs()),
        valid_until_s: known.certificate_until.map(|time| time.as_secs()),
    }
}

fn roles(names: &[String]) -> Result<Roles, Problem> {
    let roles: Result<Vec<Role>, UnknownRole> = names.iter().map(|name| name.parse()).collect();
    let roles = roles
        .map_err(|unknown| Problem::new(Code::InvalidArgument, "BAD_ROLE", unknown.to_string()))?;
    Ok(roles.into_iter().collect())
}

#[tonic::async_trait]
impl EnrollService for EnrollRpc {
    async fn join(
        &self,
        request: Request<wire::JoinRequest>,
    ) -> Result<Response<wire::JoinResponse>, Status> {
        let call = Call::of(&request)?;
        self.0
            .joins
            .attempt(call.source(), tokio::time::Instant::now())?;
        let request = request.into_inner();
        let secret: [u8; 32] = request
            .secret
            .as_ref()
            .try_into()
            .map_err(|_| Problem::malformed("the secret of an invite has 32 bytes"))?;
        let answer = self.blocking(move |_, opened| {
            let asked = CertificateRequest::verify(&request.certificate_request)?;
            let secret = Secret::from_bytes(secret);
            let redeemed = opened.store.redeem(&opened.ca, &secret, &asked, now())?;
            Ok(wire::JoinResponse {
                certificate: Bytes::copy_from_slice(&redeemed.certificate.certificate),
                ca_certificate: Bytes::copy_from_slice(redeemed.ca.der()),
                server_id: opened.store.server().to_string(),
                identity: Some(identity(&redeemed.identity)),
                server_time_ms: SystemClock.now_ms(),
            })
        });
        let answer = answer.await?;
        if let Some(joined) = &answer.identity {
            call.about(&joined.name);
        }
        Ok(Response::new(answer))
    }

    async fn renew(
        &self,
        request: Request<wire::RenewRequest>,
    ) -> Result<Response<wire::RenewResponse>, Status> {
        let call = Call::of(&request)?;
        let PrincipalId::Identity(id) = call.principal()?.id else {
            let message = "a user of this host has no certificate to renew";
            return Err(Problem::new(Code::FailedPrecondition, "NO_CERTIFICATE", message).into());
        };
        let request = request.into_inner();
        let renewed = self.blocking(move |_, opened| {
            let asked = CertificateRequest::verify(&request.certificate_request)?;
            Ok(opened.store.renew(&opened.ca, id, &asked, now())?)
        });
        let certificate = Bytes::copy_from_slice(&renewed.await?.certificate);
        Ok(Response::new(wire::RenewResponse { certificate }))
    }

    async fn invite(
        &self,
        request: Request<wire::InviteRequest>,
    ) -> Result<Response<wire::InviteResponse>, Status> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        call.about(&request.name);
        let new = NewInvite {
            lifetime: request.ttl_s.map_or(INVITE_LIFETIME, Duration::from_secs),
            ..NewInvite::new(request.name, roles(&request.roles)?)
        };
        let answer = self.blocking(move |shared, opened| {
            // Nobody is invited when nobody could come.
            let addresses = shared.authority.addresses()?;
            let (server, ca) = (opened.store.server(), opened.ca.certificate().fingerprint());
            let probe = Secret::from_bytes([0; 32]);
            Invite::new(addresses.clone(), server, ca, probe, now())?;
            let offer = opened.store.invite(&new, now())?;
            let invite = Invite::new(addresses, server, ca, offer.secret, offer.expires_at)?;
            Ok(wire::InviteResponse {
                token: invite.token(),
                expires_at_s: offer.expires_at.as_secs(),
            })
        });
        Ok(Response::new(answer.await?))
    }

    async fn list_identities(
        &self,
        _request: Request<wire::ListIdentitiesRequest>,
    ) -> Result<Response<wire::ListIdentitiesResponse>, Status> {
        let known = self
            .blocking(|_, opened| Ok(opened.store.identities()?))
            .await?;
        Ok(Response::new(wire::ListIdentitiesResponse {
            identities: known.iter().map(identity).collect(),
        }))
    }

    async fn revoke(
        &self,
        request: Request<wire::RevokeRequest>,
    ) -> Result<Response<wire::RevokeResponse>, Status> {
        let call = Call::of(&request)?;
        let who = request.into_inner().who;
        let revoked = self.blocking(move |shared, opened| {
            let revoked = opened.store.revoke(&who, now())?;
            shared.sessions.end(revoked.id);
            Ok(revoked)
        });
        let revoked = revoked.await?;
        call.about(&revoked.name);
        Ok(Response::new(wire::RevokeResponse {
            identity: Some(identity(&revoked)),
        }))
    }
}
