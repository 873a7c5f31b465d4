//! Where an inviter can be reached: multiaddr texts, the usual ones in few bytes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::invitation_error::InvitationError;
use crate::reader::Reader;

const TEXT: u8 = 0;
const IP4_TCP: u8 = 1;
const IP6_TCP: u8 = 2;

/// The text of a multiaddr (<https://multiformats.io/multiaddr/>): it begins with `/`, and has 2 to
/// [`Address::MAX_BYTES`] visible ASCII characters. Whoever dials it parses the rest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(String);

impl Address {
    /// The longest address.
    pub const MAX_BYTES: usize = 128;

    /// Checks an address.
    ///
    /// # Errors
    /// [`InvitationError::BadAddress`].
    pub fn new(text: &str) -> Result<Self, InvitationError> {
        let has_len = (2..=Self::MAX_BYTES).contains(&text.len());
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if has_len && is_visible && text.starts_with('/') {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvitationError::BadAddress)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The internet address that it begins with, if any.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        let mut parts = self.0[1..].split('/');
        match (parts.next()?, parts.next()?) {
            ("ip4", ip) => ip.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            ("ip6", ip) => ip.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    }

    /// `/ip4/A/tcp/P` takes 7 bytes, `/ip6/A/tcp/P` 19, any other text its own and two.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self.compact() {
            Some(Compact::Ip4(ip, port)) => {
                out.push(IP4_TCP);
                out.extend_from_slice(&ip.octets());
                out.extend_from_slice(&port.to_le_bytes());
            }
            Some(Compact::Ip6(ip, port)) => {
                out.push(IP6_TCP);
                out.extend_from_slice(&ip.octets());
                out.extend_from_slice(&port.to_le_bytes());
            }
            None => {
                out.push(TEXT);
                out.push(u8::try_from(self.0.len()).expect("at most 128 bytes"));
                out.extend_from_slice(self.0.as_bytes());
            }
        }
    }

    /// Reads what [`write`](Self::write) wrote, and nothing else.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        match reader.u8()? {
            IP4_TCP => {
                let ip = Ipv4Addr::from(reader.array::<4>()?);
                Some(Self(Compact::Ip4(ip, reader.u16()?).to_string()))
            }
            IP6_TCP => {
                let ip = Ipv6Addr::from(reader.array::<16>()?);
                Some(Self(Compact::Ip6(ip, reader.u16()?).to_string()))
            }
            TEXT => {
                let len = usize::from(reader.u8()?);
                let address = Self::new(str::from_utf8(reader.take(len)?).ok()?).ok()?;
                address.compact().is_none().then_some(address)
            }
            _ => None,
        }
    }

    /// The short form, if it gives exactly this text back.
    fn compact(&self) -> Option<Compact> {
        let mut parts = self.0[1..].split('/');
        let (family, ip) = (parts.next()?, parts.next()?);
        let ("tcp", port, None) = (parts.next()?, parts.next()?, parts.next()) else {
            return None;
        };
        let port = port.parse().ok()?;
        let compact = match family {
            "ip4" => Compact::Ip4(ip.parse().ok()?, port),
            "ip6" => Compact::Ip6(ip.parse().ok()?, port),
            _ => return None,
        };
        (compact.to_string() == self.0).then_some(compact)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

enum Compact {
    Ip4(Ipv4Addr, u16),
    Ip6(Ipv6Addr, u16),
}

impl fmt::Display for Compact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip4(ip, port) => write!(f, "/ip4/{ip}/tcp/{port}"),
            Self::Ip6(ip, port) => write!(f, "/ip6/{ip}/tcp/{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_addresses_are_short_and_all_come_back() {
        let addresses = [
            ("/ip4/192.168.1.23/tcp/40123", 7),
            ("/ip6/fe80::1/tcp/1", 19),
            ("/ip6/::ffff:1.2.3.4/tcp/1", 19),
            ("/ip4/192.168.1.23/udp/40123/quic-v1", 37),
            ("/ip4/192.168.1.023/tcp/40123", 30),
            ("/ip4/1.2.3.4/tcp/+5", 21),
            ("/ip6/FE80::1/tcp/1", 20),
            ("/dns4/kitchen.local/tcp/40123", 31),
        ];
        for (text, len) in addresses {
            let address = Address::new(text).expect("an address");
            let mut bytes = Vec::new();
            address.write(&mut bytes);
            assert_eq!(bytes.len(), len, "{text}");
            let mut reader = Reader::new(&bytes);
            assert_eq!(Address::read(&mut reader), Some(address));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn one_form_for_each_address() {
        let mut bytes = vec![TEXT, 20];
        bytes.extend_from_slice(b"/ip4/127.0.0.1/tcp/1");
        assert_eq!(Address::read(&mut Reader::new(&bytes)), None);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let long = format!("/{}", "a".repeat(128));
        for text in ["", "/", "ip4/1.2.3.4", "/ip4/ 1", "/ip4/é", &long] {
            assert_eq!(Address::new(text), Err(InvitationError::BadAddress));
        }
    }
}
