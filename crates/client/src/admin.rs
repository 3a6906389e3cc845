//! Who may use a host: calls for its admins.

use legwork_proto::v1 as wire;
use legwork_proto::v1::enroll_service_client::EnrollServiceClient;

use crate::client::Client;
use crate::connect::Channel;
use crate::contact::origin;
use crate::error::{CallError, Result};

/// An invite that was made.
#[derive(Clone, PartialEq, Eq)]
pub struct Invited {
    /// Lets whoever has it join, once.
    pub token: String,
    /// Until when, in seconds since the epoch.
    pub expires_at_s: u64,
}

impl std::fmt::Debug for Invited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invited")
            .field("expires_at_s", &self.expires_at_s)
            .finish_non_exhaustive()
    }
}

/// Somebody whom a host knows. Times are in seconds since the epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What tells it from all others: a uuid.
    pub id: String,
    /// For people.
    pub name: String,
    /// `admin`, `run`, `report`, `read`.
    pub roles: Vec<String>,
    /// When it was first invited.
    pub created_at_s: u64,
    /// Since when it is revoked, if it is.
    pub revoked_at_s: Option<u64>,
    /// Until when its newest certificate is valid; `None` if it has not joined.
    pub valid_until_s: Option<u64>,
}

impl From<wire::Identity> for Identity {
    fn from(known: wire::Identity) -> Self {
        Self {
            id: known.id,
            name: known.name,
            roles: known.roles,
            created_at_s: known.created_at_s,
            revoked_at_s: known.revoked_at_s,
            valid_until_s: known.valid_until_s,
        }
    }
}

fn enroll(channel: Channel) -> EnrollServiceClient<Channel> {
    EnrollServiceClient::with_origin(channel, origin())
}

impl Client {
    /// Makes an identity that can join. Without a time, the host decides how long the invite lasts.
    ///
    /// # Errors
    /// `ROLE` for who is no admin, `NAME_TAKEN`, `BAD_NAME`, `BAD_ROLE`, `NO_ADDRESS`.
    pub async fn invite(
        &self,
        name: &str,
        roles: &[String],
        ttl_s: Option<u64>,
    ) -> Result<Invited> {
        let request = wire::InviteRequest {
            name: name.to_owned(),
            roles: roles.to_vec(),
            ttl_s,
        };
        // A repeat would make another invite.
        let call = |channel| {
            let request = request.clone();
            async move { enroll(channel).invite(request).await }
        };
        let invited = self.contact.at_most_once(call).await?;
        Ok(Invited {
            token: invited.token,
            expires_at_s: invited.expires_at_s,
        })
    }

    /// Everybody whom the host knows, those that are revoked too, the oldest first.
    ///
    /// # Errors
    /// `ROLE` for who is no admin.
    pub async fn identities(&self) -> Result<Vec<Identity>> {
        let call = |channel| async move {
            let request = wire::ListIdentitiesRequest {};
            enroll(channel).list_identities(request).await
        };
        let known = self.contact.repeat(call).await?.identities;
        Ok(known.into_iter().map(Identity::from).collect())
    }

    /// Ends an identity by its name or uuid, at once, on open connections too.
    ///
    /// # Errors
    /// `ROLE` for who is no admin, `IDENTITY_NOT_FOUND`.
    pub async fn revoke(&self, who: &str) -> Result<Identity> {
        let request = wire::RevokeRequest {
            who: who.to_owned(),
        };
        // A repeat would find nobody of that name.
        let call = |channel| {
            let request = request.clone();
            async move { enroll(channel).revoke(request).await }
        };
        let revoked = self.contact.at_most_once(call).await?;
        let revoked = revoked.identity.map(Identity::from);
        revoked.ok_or_else(|| CallError::protocol("no identity was told"))
    }
}
