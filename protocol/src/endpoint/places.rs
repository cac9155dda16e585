//! Places before an endpoint's door: how many are taken, and how many of them by one address, so that one machine cannot take
//! all of them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Counts those who are under way; clones share it. Holds no more than who has a place.
#[derive(Clone, Debug, Default)]
pub struct Places(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_machine: BTreeMap<IpAddr, usize>,
}

/// A place; it is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    places: Places,
    machine: IpAddr,
}

impl Places {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many places are taken, in all and by the machine of this address.
    #[must_use]
    pub fn count(&self, address: IpAddr) -> (usize, usize) {
        let taken = self.taken();
        (taken.all, taken.by_machine.get(&machine(address)).copied().unwrap_or(0))
    }

    /// Takes a place.
    #[must_use]
    pub fn take(&self, address: IpAddr) -> Place {
        let machine = machine(address);
        let mut taken = self.taken();
        taken.all += 1;
        *taken.by_machine.entry(machine).or_default() += 1;
        Place { places: self.clone(), machine }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        if let Some(count) = taken.by_machine.get_mut(&self.machine) {
            *count -= 1;
            if *count == 0 {
                taken.by_machine.remove(&self.machine);
            }
        }
    }
}

/// What counts as one machine: an address of IPv4, or the 64 bits that a network of IPv6 gives to a machine to choose within.
pub(super) fn machine(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let network = u128::from(v6) >> 64 << 64;
            Ipv6Addr::from(network).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_all_and_by_machine_and_come_back() {
        let (one, two) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let places = Places::default();
        let held = [places.take(one), places.take(one), places.take(two)];
        assert_eq!([places.count(one), places.count(two)], [(3, 2), (3, 1)]);
        drop(held);
        assert_eq!(places.count(one), (0, 0));
        assert!(places.taken().by_machine.is_empty(), "nothing is kept of who is gone");
    }

    #[test]
    fn a_network_of_ipv6_is_one_machine_and_a_mapped_address_is_itself() {
        let is_one = |a: &str, b: &str| machine(a.parse().unwrap()) == machine(b.parse().unwrap());
        assert!(is_one("2001:db8::1", "2001:db8::ffff:0:0:1"));
        assert!(!is_one("2001:db8::1", "2001:db8:0:1::1"));
        assert!(is_one("::ffff:10.0.0.1", "10.0.0.1"));
        assert!(!is_one("10.0.0.1", "10.0.0.2"));
    }
}
