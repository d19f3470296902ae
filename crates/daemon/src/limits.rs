//! How many connections a program holds: in all, from one address, and from one user of this machine.

use crate::stream::Peer;
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Shared by all listeners of a program. Limits of 0 mean no limit.
#[derive(Debug)]
pub struct Limits {
    total: AtomicUsize,
    per_ip: AtomicUsize,
    per_user: AtomicUsize,
    open: AtomicUsize,
    accepted: AtomicU64,
    refused: AtomicU64,
    // Seeded hashing: the keys are chosen by strangers.
    by_origin: Mutex<HashMap<Origin, usize>>,
    exempt: RwLock<Option<Exempt>>,
}

struct Exempt(Box<dyn Fn(IpAddr) -> bool + Send + Sync>);

impl std::fmt::Debug for Exempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exempt")
    }
}

/// Whom a connection is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Origin {
    Ip(IpAddr),
    /// The uid of a process on a Unix socket.
    User(u32),
}

/// Why a connection was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    TooMany,
    TooManyFromThisAddress,
    TooManyFromThisUser,
}

/// The place of one connection; given back when dropped.
#[derive(Debug)]
pub struct Slot {
    limits: Arc<Limits>,
    origin: Option<Origin>,
}

impl Limits {
    pub fn new(total: usize, per_ip: usize) -> Arc<Limits> {
        Arc::new(Limits {
            total: AtomicUsize::new(total),
            per_ip: AtomicUsize::new(per_ip),
            per_user: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            by_origin: Mutex::default(),
            exempt: RwLock::default(),
        })
    }

    /// Other limits from now on; open connections stay.
    pub fn set(&self, total: usize, per_ip: usize) {
        self.total.store(total, Ordering::Relaxed);
        self.per_ip.store(per_ip, Ordering::Relaxed);
    }

    /// Connections of one user over Unix sockets; root has no limit. 0, as it is from the start: nobody has.
    pub fn set_per_user(&self, per_user: usize) {
        self.per_user.store(per_user, Ordering::Relaxed);
    }

    /// Addresses that the limit per address does not hold for.
    pub fn exempt(&self, is_exempt: impl Fn(IpAddr) -> bool + Send + Sync + 'static) {
        *self.exempt.write() = Some(Exempt(Box::new(is_exempt)));
    }

    fn is_exempt(&self, ip: IpAddr) -> bool {
        self.exempt.read().as_ref().is_some_and(|exempt| exempt.0(ip))
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections since the start.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Over 80 % of the slots are in use: time for shorter deadlines.
    pub fn is_under_load(&self) -> bool {
        let total = self.total.load(Ordering::Relaxed);
        total > 0 && self.open() * 5 > total * 4
    }

    /// A place for a connection from `peer`.
    pub fn enter(self: &Arc<Self>, peer: &Peer) -> Result<Slot, Refusal> {
        let total = self.total.load(Ordering::Relaxed);
        if self.open.fetch_add(1, Ordering::Relaxed) >= total && total > 0 {
            self.open.fetch_sub(1, Ordering::Relaxed);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Refusal::TooMany);
        }
        let counted = self.counted(peer);
        if let Some((origin, limit)) = counted {
            let mut by_origin = self.by_origin.lock();
            let count = by_origin.entry(origin).or_insert(0);
            if *count >= limit {
                drop(by_origin);
                self.open.fetch_sub(1, Ordering::Relaxed);
                self.refused.fetch_add(1, Ordering::Relaxed);
                return Err(match origin {
                    Origin::Ip(_) => Refusal::TooManyFromThisAddress,
                    Origin::User(_) => Refusal::TooManyFromThisUser,
                });
            }
            *count += 1;
        }
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Ok(Slot { limits: self.clone(), origin: counted.map(|(origin, _)| origin) })
    }

    /// Whom a connection is counted for, and how many of his there may be.
    fn counted(&self, peer: &Peer) -> Option<(Origin, usize)> {
        let (per_ip, per_user) = (self.per_ip.load(Ordering::Relaxed), self.per_user.load(Ordering::Relaxed));
        match (peer.ip(), peer.credentials) {
            (Some(ip), _) if per_ip > 0 && !self.is_exempt(ip) => Some((Origin::Ip(counted_as(ip)), per_ip)),
            (None, Some((uid, _, _))) if per_user > 0 && uid != 0 => Some((Origin::User(uid), per_user)),
            _ => None,
        }
    }
}

/// The address under which a client is counted: one customer usually has a whole /64 of IPv6.
fn counted_as(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let s = ip.segments();
            Ipv6Addr::new(s[0], s[1], s[2], s[3], 0, 0, 0, 0).into()
        }
        ip => ip,
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.limits.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(origin) = self.origin {
            let mut by_origin = self.limits.by_origin.lock();
            if let Some(count) = by_origin.get_mut(&origin) {
                *count -= 1;
                if *count == 0 {
                    by_origin.remove(&origin);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(ip: &str) -> Peer {
        Peer { addr: Some((ip.parse::<IpAddr>().expect("address"), 1).into()), ..Peer::default() }
    }

    #[test]
    fn one_address_cannot_take_all_places() {
        let limits = Limits::new(4, 2);
        let a = limits.enter(&peer("192.0.2.1")).expect("first");
        let _b = limits.enter(&peer("::ffff:192.0.2.1")).expect("second");
        assert_eq!(limits.enter(&peer("192.0.2.1")).expect_err("third"), Refusal::TooManyFromThisAddress);
        let _c = limits.enter(&peer("2001:db8::1")).expect("another");
        let _d = limits.enter(&peer("2001:db8::ffff:1")).expect("the same /64");
        assert!(limits.is_under_load());
        assert_eq!(limits.enter(&peer("192.0.2.9")).expect_err("full"), Refusal::TooMany);
        drop(a);
        assert_eq!(limits.enter(&peer("2001:db8:0:0:7::1")).expect_err("a /64 too many"), Refusal::TooManyFromThisAddress);
        let _e = limits.enter(&peer("192.0.2.1")).expect("a place came back");
        assert_eq!((limits.open(), limits.accepted(), limits.refused()), (4, 5, 3));
    }

    #[test]
    fn one_user_of_this_machine_cannot_take_all_places() {
        let local = |uid| Peer { credentials: Some((uid, uid, 7)), ..Peer::default() };
        let limits = Limits::new(10, 1);
        let _unlimited: Vec<_> = (0..3).map(|_| limits.enter(&local(33)).expect("no limit per user yet")).collect();
        limits.set_per_user(2);
        let first = limits.enter(&local(34)).expect("first");
        let _second = limits.enter(&local(34)).expect("second");
        assert_eq!(limits.enter(&local(34)).expect_err("third"), Refusal::TooManyFromThisUser);
        let _other = limits.enter(&local(35)).expect("another user");
        let _root: Vec<_> = (0..3).map(|_| limits.enter(&local(0)).expect("root")).collect();
        drop(first);
        let _again = limits.enter(&local(34)).expect("a place came back");
    }

    #[test]
    fn counts_return_to_nothing() {
        let limits = Limits::new(0, 5);
        for n in 0..100 {
            let slots: Vec<_> = (0..5).map(|_| limits.enter(&peer(&format!("192.0.2.{n}"))).expect("room")).collect();
            assert_eq!(slots.len(), 5);
        }
        assert_eq!(limits.open(), 0);
        limits.exempt(|ip| ip.is_loopback());
        let local: Vec<_> = (0..9).filter_map(|_| limits.enter(&peer("127.0.0.1")).ok()).collect();
        assert_eq!(local.len(), 9);
        drop(local);
        assert!(limits.by_origin.lock().is_empty());
        assert!(!limits.is_under_load());
    }
}
