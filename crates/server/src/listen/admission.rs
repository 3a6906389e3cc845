//! How many connections there may be: in all, without a certificate, of each, and beyond that to be told so.
//!
//! Everybody begins as a stranger, and anybody can be one. So that a few who only hold their places cannot keep all others from
//! their handshakes, the one that has been there for longest gives way to a newcomer, once it has had a moment for its own.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Resource, getrlimit};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Limits;

/// Connections of identities beyond their limit that stay to be told so: in all, and of one identity. They are places of their
/// own, so that they keep nobody from a handshake; whoever finds none is closed without a word.
const EXCESS_MAX: usize = 64;
const EXCESS_EACH: usize = 8;

/// Whom a connection counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// An address whose user is not known, or not yet.
    Stranger(IpAddr),
    /// An identity.
    Identity(Uuid),
    /// An identity that has as many as it may have, and is told so.
    Excess(Uuid),
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
    /// In the order in which they came.
    strangers: BTreeMap<u64, Stranger>,
    /// How many of them have come.
    came: u64,
    excess: usize,
    each: HashMap<Holder, usize>,
}

#[derive(Debug)]
struct Stranger {
    holder: Holder,
    since: Instant,
    give_way: CancellationToken,
}

/// A place that a connection takes, until it is dropped, or has to give way.
#[derive(Debug)]
pub(super) struct Place {
    admission: Arc<Admission>,
    taken: Taken,
    give_way: CancellationToken,
}

#[derive(Debug, Clone, Copy)]
enum Taken {
    /// By the stranger of this number, unless another has it by now.
    Stranger(u64),
    By(Holder),
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
    pub(super) fn counts(&self) -> [(&'static str, u64); 4] {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let local = counts.each.get(&Holder::Local).copied().unwrap_or_default();
        let identities = counts.all - counts.strangers.len() - counts.excess - local;
        [
            ("identity", identities as u64),
            ("excess", counts.excess as u64),
            ("stranger", counts.strangers.len() as u64),
            ("local", local as u64),
        ]
    }

    /// How many places somebody has.
    pub(super) fn of(&self, holder: Holder) -> usize {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.of(holder)
    }

    /// Takes a place, if there is one, or a stranger has had one for long enough.
    pub(super) fn enter(self: &Arc<Self>, holder: Holder) -> Option<Place> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(holder, Holder::Stranger(_)) && !counts.has_room(holder, &self.limits) {
            counts.clear_a_place(holder, &self.limits);
        }
        // Who may open the state directory finds a place to clear up, whoever holds all others.
        let full = holder != Holder::Local && counts.all >= self.limits.connections;
        if full || !counts.has_room(holder, &self.limits) {
            return None;
        }
        let give_way = CancellationToken::new();
        Some(Place {
            admission: Arc::clone(self),
            taken: counts.add(holder, &give_way),
            give_way,
        })
    }
}

impl Counts {
    /// Whether there may be one more of its kind, and of this holder.
    fn has_room(&self, holder: Holder, limits: &Limits) -> bool {
        let (kind, each_max) = match holder {
            Holder::Stranger(_) => (
                self.strangers.len() < limits.strangers,
                limits.strangers_each,
            ),
            Holder::Excess(_) => (self.excess < EXCESS_MAX, EXCESS_EACH),
            Holder::Identity(_) | Holder::Local => (true, limits.connections_each),
        };
        kind && self.of(holder) < each_max
    }

    fn of(&self, holder: Holder) -> usize {
        self.each.get(&holder).copied().unwrap_or_default()
    }

    /// Sends the first stranger away whose place would help this one, if it has had its moment.
    fn clear_a_place(&mut self, newcomer: Holder, limits: &Limits) {
        let of_the_same = self.of(newcomer) >= limits.strangers_each;
        let first = self
            .strangers
            .iter()
            .find(|(_, stranger)| !of_the_same || stranger.holder == newcomer)
            .filter(|(_, stranger)| stranger.since.elapsed() >= limits.stranger_grace);
        let Some((&number, stranger)) = first else {
            return;
        };
        stranger.give_way.cancel();
        self.remove(Taken::Stranger(number));
    }

    fn add(&mut self, holder: Holder, give_way: &CancellationToken) -> Taken {
        self.all += 1;
        *self.each.entry(holder).or_default() += 1;
        self.excess += usize::from(matches!(holder, Holder::Excess(_)));
        if !matches!(holder, Holder::Stranger(_)) {
            return Taken::By(holder);
        }
        self.came += 1;
        let stranger = Stranger {
            holder,
            since: Instant::now(),
            give_way: give_way.clone(),
        };
        self.strangers.insert(self.came, stranger);
        Taken::Stranger(self.came)
    }

    /// `false` if it was taken away before.
    fn remove(&mut self, taken: Taken) -> bool {
        let holder = match taken {
            Taken::By(holder) => holder,
            Taken::Stranger(number) => match self.strangers.remove(&number) {
                Some(stranger) => stranger.holder,
                None => return false,
            },
        };
        self.all -= 1;
        self.excess -= usize::from(matches!(holder, Holder::Excess(_)));
        if let Some(each) = self.each.get_mut(&holder) {
            *each -= 1;
            if *each == 0 {
                self.each.remove(&holder);
            }
        }
        true
    }
}

impl Place {
    /// Makes it another's, if they may have one more. In all there are as many as before.
    pub(super) fn pass_to(&mut self, holder: Holder) -> bool {
        let Admission { limits, counts } = &*self.admission;
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        if !counts.has_room(holder, limits) || !counts.remove(self.taken) {
            return false;
        }
        self.taken = counts.add(holder, &self.give_way);
        true
    }

    /// Cancelled when the place has become somebody else's.
    pub(super) fn give_way(&self) -> CancellationToken {
        self.give_way.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let counts = &self.admission.counts;
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.remove(self.taken);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Admission, EXCESS_EACH, EXCESS_MAX, Holder, Limits, Place, affordable};

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
    fn who_has_too_many_has_a_few_more_to_be_told_so() {
        let admission = Arc::new(Admission::new(Limits {
            connections_each: 1,
            strangers: 1,
            ..Limits::default()
        }));
        let identity = |number| uuid::Uuid::from_u128(number);
        let shaken = |number| {
            let mut place: Place = admission.enter(Holder::stranger([10, 0, 0, 1].into()))?;
            let place_of = [Holder::Identity, Holder::Excess].map(|of| of(identity(number)));
            let holder = place_of.into_iter().find(|of| place.pass_to(*of))?;
            Some((place, holder))
        };
        let mut held = Vec::new();
        let most = EXCESS_MAX / EXCESS_EACH;
        for number in 0..=most as u128 {
            let mut of = Vec::new();
            while let Some((place, holder)) = shaken(number) {
                held.push(place);
                of.push(holder);
            }
            assert_eq!(of.first(), Some(&Holder::Identity(identity(number))));
            let excess = Holder::Excess(identity(number));
            assert!(of.iter().skip(1).all(|holder| *holder == excess));
            // The last comes when all those places are taken, and has its own nevertheless.
            let few = if number == most as u128 {
                0
            } else {
                EXCESS_EACH
            };
            assert_eq!(of.len(), 1 + few, "{number}");
        }
        let counts = [
            ("identity", 9),
            ("excess", 64),
            ("stranger", 0),
            ("local", 0),
        ];
        assert_eq!(admission.counts(), counts, "no stranger's place is kept");
        held.clear();
        assert_eq!(admission.counts().map(|(_, count)| count), [0; 4]);
        assert!(admission.counts.lock().unwrap().each.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_stranger_gives_way_once_it_has_had_its_moment() {
        let limits = Limits {
            strangers: 3,
            strangers_each: 2,
            ..Limits::default()
        };
        let admission = Arc::new(Admission::new(limits));
        let enter = |last| admission.enter(Holder::stranger([10, 0, 0, last].into()));
        let strangers = || admission.counts()[2].1;
        let gave_way = |place: &Option<Place>| place.as_ref().unwrap().give_way.is_cancelled();
        let mut held: Vec<_> = [1, 2, 2].map(enter).into();
        assert!(enter(3).is_none(), "all have come just now");
        tokio::time::advance(limits.stranger_grace).await;

        held.push(enter(3));
        assert!(gave_way(&held[0]), "the first of all");
        held.push(enter(2));
        assert!(gave_way(&held[1]), "the first of its address");
        assert!([2, 3, 4].into_iter().all(|last| !gave_way(&held[last])));
        assert_eq!(strangers(), 3);
        // Whose place was taken is not counted again, and shakes hands too late.
        let identity = Holder::Identity(uuid::Uuid::from_u128(1));
        assert!(!held[0].as_mut().unwrap().pass_to(identity));
        held.drain(..2);
        assert_eq!(strangers(), 3);
        // Who has shown who it is stays.
        assert!(held[0].as_mut().unwrap().pass_to(identity));
        tokio::time::advance(limits.stranger_grace).await;
        held.extend((4..8).map(enter));
        assert!(!gave_way(&held[0]));
        held.clear();
        assert_eq!(admission.counts().map(|(_, count)| count), [0; 4]);
    }

    #[test]
    fn a_network_of_ipv6_is_one() {
        let of = |text: &str| Holder::stranger(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
