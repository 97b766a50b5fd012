//! How many connections are open at once, in all and from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// The connections of one listener.
#[derive(Debug)]
pub struct Connections {
    most: usize,
    most_per_address: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// An open connection's place.
#[derive(Debug)]
pub struct Place {
    of: Arc<Connections>,
    address: IpAddr,
}

impl Connections {
    /// At most this many connections, and this many from one address.
    pub fn new(most: usize, most_per_address: usize) -> Arc<Self> {
        Arc::new(Self { most, most_per_address, open: Mutex::default() })
    }

    /// A place for a connection from `address`, if there is one.
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = household(address);
        let mut open = self.open.lock();
        if open.all >= self.most {
            return None;
        }
        let theirs = open.by_address.entry(address).or_default();
        if *theirs >= self.most_per_address {
            return None;
        }
        *theirs += 1;
        open.all += 1;
        drop(open);
        Some(Place { of: Arc::clone(self), address })
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.open.lock().all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.of.open.lock();
        open.all = open.all.saturating_sub(1);
        if let Some(theirs) = open.by_address.get_mut(&self.address) {
            *theirs = theirs.saturating_sub(1);
            if *theirs == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

/// What one client can have many of counts as one: of an IPv6 address the first 64 bits (RFC 4291,
/// section 2.5.4), and of an IPv4 address written as IPv6 the IPv4 address.
pub fn household(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(whole) => {
            let network = u128::from(whole) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_has_its_places_and_the_others_keep_theirs() {
        let connections = Connections::new(3, 2);
        let (hog, other) = (address("10.0.0.1"), address("10.0.0.2"));
        let first = connections.enter(hog).unwrap();
        let _second = connections.enter(hog).unwrap();
        assert!(connections.enter(hog).is_none());
        let _third = connections.enter(other).unwrap();
        assert!(connections.enter(other).is_none(), "three are open");
        drop(first);
        assert_eq!(connections.open(), 2);
        assert!(connections.enter(hog).is_some());
        assert_eq!(connections.open.lock().by_address.len(), 2);
    }

    #[test]
    fn nobody_is_remembered_who_has_left() {
        let connections = Connections::new(10, 10);
        for last in 0..=255_u8 {
            drop(connections.enter(IpAddr::from([10, 0, 0, last])));
        }
        assert!(connections.open.lock().by_address.is_empty());
    }

    #[test]
    fn the_addresses_of_one_household_count_as_one() {
        let same = |one: &str, other: &str| household(address(one)) == household(address(other));
        assert!(same("2001:db8::1", "2001:db8::ffff:1"));
        assert!(!same("2001:db8:0:1::1", "2001:db8:0:2::1"));
        assert!(same("::ffff:10.0.0.1", "10.0.0.1"));
        assert!(!same("10.0.0.1", "10.0.0.2"));
    }
}
