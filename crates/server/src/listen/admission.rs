//! How many connections there may be: in all, without a certificate, and of each.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Resource, getrlimit};
use uuid::Uuid;

use super::Limits;

/// Whom a connection counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// An address whose user is not known, or not yet.
    Stranger(IpAddr),
    /// An identity.
    Identity(Uuid),
    /// The users of this host.
    Local,
}

impl Holder {
    /// Whoever has an IPv6 address has a network of them.
    pub(super) fn stranger(source: IpAddr) -> Self {
        Self::Stranger(match source.to_canonical() {
            IpAddr::V6(address) => {
                let network = u128::from(address) >> 64 << 64;
                Ipv6Addr::from(network).into()
            }
            plain @ IpAddr::V4(_) => plain,
        })
    }
}

/// Counts connections.
#[derive(Debug)]
pub(super) struct Admission {
    limits: Limits,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    strangers: usize,
    each: HashMap<Holder, usize>,
}

/// A place that a connection takes, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    admission: Arc<Admission>,
    holder: Holder,
}

/// How many connections there may be when so many files may be open: one in four is for the work itself.
fn affordable(connections: usize, files: Option<u64>) -> usize {
    let most = files.map_or(u64::MAX, |files| files - files / 4);
    connections.min(usize::try_from(most).unwrap_or(usize::MAX))
}

impl Admission {
    pub(super) fn new(limits: Limits) -> Self {
        let files = getrlimit(Resource::Nofile).current;
        let connections = affordable(limits.connections, files);
        if connections < limits.connections {
            let wanted = limits.connections;
            tracing::info!(
                connections,
                wanted,
                "fewer connections, because of the limit on open files"
            );
        }
        let limits = Limits {
            connections,
            ..limits
        };
        Self {
            limits,
            counts: Mutex::default(),
        }
    }

    /// How many places are taken, by whom.
    pub(super) fn counts(&self) -> [(&'static str, u64); 3] {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let local = counts.each.get(&Holder::Local).copied().unwrap_or_default();
        let identities = counts.all - counts.strangers - local;
        [
            ("identity", identities as u64),
            ("stranger", counts.strangers as u64),
            ("local", local as u64),
        ]
    }

    /// Takes a place, if there is one.
    pub(super) fn enter(self: &Arc<Self>, holder: Holder) -> Option<Place> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let stranger = matches!(holder, Holder::Stranger(_));
        let each_max = if stranger {
            self.limits.strangers_each
        } else {
            self.limits.connections_each
        };
        let each = counts.each.get(&holder).copied().unwrap_or_default();
        // Who may open the state directory finds a place to clear up, whoever holds all others.
        let full = (holder != Holder::Local && counts.all >= self.limits.connections)
            || (stranger && counts.strangers >= self.limits.strangers)
            || each >= each_max;
        if full {
            return None;
        }
        counts.all += 1;
        counts.strangers += usize::from(stranger);
        counts.each.insert(holder, each + 1);
        Some(Place {
            admission: Arc::clone(self),
            holder,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let counts = &self.admission.counts;
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        counts.strangers -= usize::from(matches!(self.holder, Holder::Stranger(_)));
        if let Some(each) = counts.each.get_mut(&self.holder) {
            *each -= 1;
            if *each == 0 {
                counts.each.remove(&self.holder);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Admission, Holder, Limits, affordable};

    #[test]
    fn connections_leave_files_for_the_work() {
        assert_eq!(affordable(4096, None), 4096);
        assert_eq!(affordable(4096, Some(1 << 20)), 4096);
        assert_eq!(affordable(4096, Some(1024)), 768);
        assert_eq!(affordable(4096, Some(0)), 0);
    }

    #[test]
    fn places_are_bounded_and_given_back() {
        let admission = Arc::new(Admission::new(Limits {
            connections: 4,
            connections_each: 2,
            strangers: 3,
            strangers_each: 2,
            ..Limits::default()
        }));
        let stranger = |last| Holder::stranger([10, 0, 0, last].into());
        let mut held: Vec<_> = (0..2).map(|_| admission.enter(stranger(1))).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(
            admission.enter(stranger(1)).is_none(),
            "two from one address"
        );
        held.push(admission.enter(stranger(2)));
        assert!(admission.enter(stranger(3)).is_none(), "three strangers");
        let identity = Holder::Identity(uuid::Uuid::from_u128(1));
        held.push(admission.enter(identity));
        assert!(admission.enter(identity).is_none(), "four in all");
        held.extend([(); 2].map(|()| admission.enter(Holder::Local)));
        assert!(held.iter().all(Option::is_some), "beside all others");
        assert!(admission.enter(Holder::Local).is_none(), "two of this host");
        held.clear();
        assert!(admission.enter(stranger(1)).is_some());
        assert!(admission.counts.lock().unwrap().each.is_empty());
    }

    #[test]
    fn a_network_of_ipv6_is_one() {
        let of = |text: &str| Holder::stranger(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
