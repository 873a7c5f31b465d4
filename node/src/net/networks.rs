//! The networks in which members were met, where they are expected again.
//!
//! A network is identified by its prefix: /24 of IPv4, /64 of IPv6. Two networks with the same prefix, such
//! as 192.168.1.0/24 in two homes, count as one. Loopback and link-local addresses belong to no network,
//! because they are the same everywhere.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use crate::private_file;

/// Networks that are remembered.
const MOST: usize = 64;
/// The longest file that is read.
const MOST_BYTES: usize = 1 << 14;

/// The networks, most recent first, kept in a file.
#[derive(Debug, Default)]
pub(super) struct Networks {
    file: Option<PathBuf>,
    met: Vec<IpAddr>,
}

impl Networks {
    /// Reads the file. A damaged file is ignored: members are met again.
    pub(super) fn open(file: PathBuf) -> Self {
        let bytes = private_file::read(&file, MOST_BYTES).ok().flatten();
        let read = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut met: Vec<IpAddr> = read.unwrap_or_default();
        met.truncate(MOST);
        Self {
            file: Some(file),
            met,
        }
    }

    /// Whether a member was met in the network of this address.
    pub(super) fn has(&self, ip: IpAddr) -> bool {
        of(ip).is_some_and(|network| self.met.contains(&network))
    }

    /// A member was met at this address.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn met(&mut self, ip: IpAddr) -> io::Result<()> {
        let Some(network) = of(ip).filter(|network| self.met.first() != Some(network)) else {
            return Ok(());
        };
        self.met.retain(|known| *known != network);
        self.met.insert(0, network);
        self.met.truncate(MOST);
        match &self.file {
            Some(file) => private_file::replace(file, &serde_json::to_vec(&self.met)?),
            None => Ok(()),
        }
    }
}

/// The first address of the network that an address is in; `None` if it is in none.
pub(super) fn of(ip: IpAddr) -> Option<IpAddr> {
    match ip {
        _ if ip.is_loopback() || ip.is_unspecified() => None,
        IpAddr::V4(ip) if ip.is_link_local() => None,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => None,
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            Some(Ipv4Addr::new(a, b, c, 0).into())
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Some(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn networks_are_remembered_and_the_oldest_of_too_many_is_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("networks.json");
        let mut networks = Networks::open(file.clone());
        assert!(!networks.has(ip("192.168.1.7")));
        for met in ["192.168.1.9", "fd00:1::9"] {
            networks.met(ip(met)).expect("writable");
        }
        let again = Networks::open(file.clone());
        assert!(again.has(ip("192.168.1.7")) && again.has(ip("fd00:1::1:7")));
        assert!(!again.has(ip("192.168.2.7")) && !again.has(ip("fd00:1:0:1::7")));
        for c in 0..MOST {
            networks.met(ip(&format!("10.0.{c}.1"))).expect("writable");
            networks.met(ip("fd00:1::9")).expect("writable");
        }
        let again = Networks::open(file.clone());
        assert!(!again.has(ip("192.168.1.7")) && again.has(ip("fd00:1::7")));
        std::fs::write(&file, b"[").expect("writable");
        assert!(Networks::open(file).met.is_empty());
    }

    #[test]
    fn addresses_that_are_the_same_everywhere_are_of_no_network() {
        let mut networks = Networks::default();
        for everywhere in ["127.0.0.1", "::1", "fe80::1", "169.254.1.1", "0.0.0.0"] {
            networks.met(ip(everywhere)).expect("nothing is written");
            assert!(!networks.has(ip(everywhere)), "{everywhere}");
        }
    }
}
