//! The networks in which members were met, where they are expected again.
//!
//! A network is identified by its prefix, as this device's interface has it. Two networks with the same
//! prefix, such as 192.168.1.0/24 in two homes, count as one. Loopback and link-local addresses belong to no
//! network, because they are the same everywhere.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use if_addrs::IfAddr;
use serde::{Deserialize, Serialize};

use crate::private_file;

/// Networks that are remembered.
const MOST: usize = 64;
/// The longest file that is read.
const MOST_BYTES: usize = 1 << 14;

/// The first address of a network, and how many bits of it all addresses of the network share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Network(IpAddr, u8);

impl Network {
    /// The network of an address; `None` if it is in none.
    pub(super) fn of(ip: IpAddr, prefix: u8) -> Option<Self> {
        let is_everywhere = match ip {
            IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local() || ip.is_unspecified(),
            IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified(),
        };
        let first = first(ip, prefix).filter(|_| !is_everywhere && prefix > 0);
        first.map(|first| Self(first, prefix))
    }

    /// Whether an address is of this network.
    pub(super) fn has(&self, ip: IpAddr) -> bool {
        first(ip, self.1) == Some(self.0)
    }
}

/// The first address that shares so many bits with this one.
fn first(ip: IpAddr, prefix: u8) -> Option<IpAddr> {
    let prefix = u32::from(prefix);
    match ip {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32_u32.checked_sub(prefix)?);
            Some(Ipv4Addr::from_bits(ip.to_bits() & mask.unwrap_or(0)).into())
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128_u32.checked_sub(prefix)?);
            Some(Ipv6Addr::from_bits(ip.to_bits() & mask.unwrap_or(0)).into())
        }
    }
}

/// The addresses of this device and the network of each.
pub(super) fn own() -> Vec<(IpAddr, Network)> {
    let interfaces = if_addrs::get_if_addrs()
        .inspect_err(|error| tracing::warn!(why = %error, "the system names no networks"));
    let of = |address: IfAddr| {
        let (ip, prefix): (IpAddr, u8) = match address {
            IfAddr::V4(address) => (address.ip.into(), address.prefixlen),
            IfAddr::V6(address) => (address.ip.into(), address.prefixlen),
        };
        Network::of(ip, prefix).map(|network| (ip, network))
    };
    let interfaces = interfaces.unwrap_or_default().into_iter();
    interfaces
        .filter_map(|interface| of(interface.addr))
        .collect()
}

/// The addresses at which devices of the same networks can reach this one: not those of loopback or of
/// one link alone.
pub fn reachable_addresses() -> Vec<IpAddr> {
    own().into_iter().map(|(ip, _network)| ip).collect()
}

/// The networks, most recent first, kept in a file.
#[derive(Debug, Default)]
pub(super) struct Networks {
    file: Option<PathBuf>,
    met: Vec<Network>,
}

impl Networks {
    /// Reads the file. A damaged file is ignored: members are met again.
    pub(super) fn open(file: PathBuf) -> Self {
        let bytes = private_file::read(&file, MOST_BYTES).ok().flatten();
        let read = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut met: Vec<Network> = read.unwrap_or_default();
        met.truncate(MOST);
        Self {
            file: Some(file),
            met,
        }
    }

    /// Whether a member was met in a network.
    pub(super) fn has(&self, network: &Network) -> bool {
        self.met.contains(network)
    }

    /// A member was met in this network.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn met(&mut self, network: Network) -> io::Result<()> {
        if self.met.first() == Some(&network) {
            return Ok(());
        }
        self.met.retain(|known| *known != network);
        self.met.insert(0, network);
        self.met.truncate(MOST);
        match &self.file {
            Some(file) => private_file::replace(file, &serde_json::to_vec(&self.met)?),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, prefix: u8) -> Option<Network> {
        Network::of(text.parse().expect("an address"), prefix)
    }

    #[test]
    fn a_network_has_the_addresses_that_share_its_prefix() {
        for (own, prefix, inside, outside) in [
            ("192.168.1.9", 24, "192.168.1.200", "192.168.2.9"),
            ("10.20.3.4", 16, "10.20.200.1", "10.21.3.4"),
            ("172.20.10.3", 28, "172.20.10.14", "172.20.10.16"),
            ("fd00:1::9", 64, "fd00:1::1:7", "fd00:1:0:1::7"),
            ("192.168.1.9", 32, "192.168.1.9", "192.168.1.8"),
        ] {
            let network = of(own, prefix).expect("it is in one");
            let has = |ip: &str| network.has(ip.parse().expect("an address"));
            assert!(has(own) && has(inside) && !has(outside), "{own}/{prefix}");
            assert!(!has("::1") && !has("127.0.0.1"));
        }
    }

    #[test]
    fn addresses_that_are_the_same_everywhere_are_of_no_network() {
        for everywhere in ["127.0.0.1", "::1", "fe80::1", "169.254.1.1", "0.0.0.0"] {
            assert_eq!(of(everywhere, 8), None, "{everywhere}");
        }
        for prefix in [0, 33, 255] {
            assert_eq!(of("10.1.1.1", prefix), None, "{prefix}");
        }
    }

    #[test]
    fn networks_are_remembered_and_the_oldest_of_too_many_is_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("networks.json");
        let home = of("192.168.1.9", 24).expect("a network");
        let six = of("fd00:1::9", 64).expect("a network");
        let mut networks = Networks::open(file.clone());
        assert!(!networks.has(&home));
        for met in [home, six] {
            networks.met(met).expect("writable");
        }
        let again = Networks::open(file.clone());
        assert!(again.has(&home) && again.has(&six));
        // The same addresses, divided otherwise.
        assert!(!again.has(&of("192.168.1.9", 25).expect("a network")));
        for c in 0..MOST {
            let other = of(&format!("10.0.{c}.1"), 24).expect("a network");
            networks.met(other).expect("writable");
            networks.met(six).expect("writable");
        }
        let again = Networks::open(file.clone());
        assert!(!again.has(&home) && again.has(&six));
        std::fs::write(&file, b"[").expect("writable");
        assert!(Networks::open(file).met.is_empty());
    }

    #[test]
    fn this_machine_has_networks_of_its_own_addresses_only() {
        for (ip, network) in own() {
            assert!(network.has(ip) && !ip.is_loopback());
        }
    }
}
