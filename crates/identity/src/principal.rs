//! Who asks: an identity with its roles, and how it is known.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// What an identity is there for. Roles add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// May do everything, to everybody's things.
    Admin,
    /// May run jobs and keep mirrors, and sees its own.
    Run,
    /// May send records, and read those that it sent.
    Report,
    /// Sees the jobs and records of all, and changes nothing.
    Read,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Run, Self::Report, Self::Read];

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Run => "run",
            Self::Report => "report",
            Self::Read => "read",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a role: there are admin, run, report and read")]
pub struct UnknownRole(pub String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let named = Self::ALL.into_iter().find(|role| role.name() == text);
        named.ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

/// A set of roles. Written `run,read`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Roles(u8);

impl Roles {
    /// No role.
    pub const NONE: Self = Self(0);

    /// Whether a role is among them.
    #[must_use]
    pub const fn has(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The roles, the most powerful first.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }
}

impl From<Role> for Roles {
    fn from(role: Role) -> Self {
        Self(role.bit())
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |bits, role| bits | role.bit()))
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, role) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{role}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roles({self})")
    }
}

impl FromStr for Roles {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        text.split(',').map(str::parse).collect()
    }
}

/// What tells one principal from all others, for ever. Names can be given again; these cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PrincipalId {
    /// An identity of this server.
    Identity(Uuid),
    /// A user of this host, by number.
    User(u32),
}

impl fmt::Display for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity(id) => write!(f, "{id}"),
            Self::User(uid) => write!(f, "uid:{uid}"),
        }
    }
}

/// How a principal is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Via {
    /// By a certificate that the handshake verified.
    Certificate,
    /// By what the kernel says of the other end of the server's local socket.
    LocalSocket {
        /// The user at the other end.
        uid: u32,
    },
    /// It is the process itself.
    InProcess,
}

/// Whoever asks for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Who it is.
    pub id: PrincipalId,
    /// For people.
    pub name: String,
    /// What it is there for.
    pub roles: Roles,
    /// How it is known.
    pub via: Via,
}

impl Principal {
    /// A user of this host at the local socket. Whoever may open the state directory is its admin.
    #[must_use]
    pub fn local(uid: u32, name: impl Into<String>) -> Self {
        Self {
            id: PrincipalId::User(uid),
            name: name.into(),
            roles: Role::Admin.into(),
            via: Via::LocalSocket { uid },
        }
    }

    /// The user who runs this process, which works on the state directory itself.
    #[must_use]
    pub fn in_process(uid: u32, name: impl Into<String>) -> Self {
        Self {
            via: Via::InProcess,
            ..Self::local(uid, name)
        }
    }

    /// As whose its things are recorded.
    #[must_use]
    pub fn owner(&self) -> String {
        self.id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::{Principal, Role, Roles, UnknownRole};

    #[test]
    fn roles_are_written_and_read() {
        let roles: Roles = [Role::Read, Role::Run].into_iter().collect();
        assert_eq!(roles.to_string(), "run,read");
        assert_eq!("read,run".parse(), Ok(roles));
        assert!(roles.has(Role::Run) && !roles.has(Role::Admin));
        let unknown = UnknownRole("root".to_owned());
        assert_eq!("run,root".parse::<Roles>(), Err(unknown));
        assert!("".parse::<Roles>().is_err());
        assert_eq!(Roles::NONE.to_string(), "");
    }

    #[test]
    fn a_local_user_is_one_owner_however_it_comes() {
        let (socket, inside) = (Principal::local(5, "a"), Principal::in_process(5, "a"));
        assert_eq!(socket.owner(), inside.owner());
        assert!(socket.roles.has(Role::Admin) && inside.roles.has(Role::Admin));
    }
}
