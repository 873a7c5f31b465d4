//! The API for guests: where it is, under which certificate, and who they are.

use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::Receiver;

use super::certificate::{Certificate, CertificateError};
use super::nearby::Nearby;
use super::server::{Listening, StartError};
use crate::device::host_name;
use crate::guests::{GuestError, Share, ShareEvent};
use crate::home::Home;
use crate::net::reachable_addresses;

/// A port for guests that is not served yet.
pub struct Shared {
    pub(super) listening: Listening,
    /// What is known of it.
    pub at: SharedAt,
}

/// What is known of an API for guests, while it is served, too. Clones are the same.
#[derive(Clone)]
pub struct SharedAt {
    address: SocketAddr,
    certificate: Certificate,
    share: Share,
    /// Names that its owner gave.
    named: Vec<String>,
}

/// The API cannot be shared.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// The port.
    #[error(transparent)]
    Port(#[from] StartError),
    /// The certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The guests.
    #[error(transparent)]
    Guests(#[from] GuestError),
}

impl Shared {
    /// That of a home, on this address or a port that is known for it, with more names of this device.
    /// What happens comes by the receiver.
    ///
    /// # Errors
    /// [`ShareError`].
    pub fn open(
        home: &Home,
        address: Option<SocketAddr>,
        named: &[String],
    ) -> Result<(Self, Receiver<ShareEvent>), ShareError> {
        // Before anything else: the port may be another's.
        let listening = Listening::shared(address)?;
        let (share, told) = Share::open(home)?;
        let address = listening.address();
        let certificate = Certificate::of(home, &names(address, named))?;
        let at = SharedAt {
            address,
            certificate,
            share,
            named: named.to_vec(),
        };
        Ok((Self { listening, at }, told))
    }
}

impl SharedAt {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Under which certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Who its guests are.
    pub fn share(&self) -> &Share {
        &self.share
    }

    /// Names of this device that its guests may use.
    pub(super) fn hosts(&self) -> Vec<String> {
        let mut all = own_names();
        all.extend(self.named.iter().map(|name| name.to_ascii_lowercase()));
        all.push(Nearby::host_name(self.certificate.fingerprint()));
        all
    }

    /// Addresses at which guests reach it now, the likeliest first: `https://192.168.1.5:11436`.
    pub fn urls(&self) -> Vec<String> {
        let port = self.address.port();
        let mut all = addresses(self.address);
        all.sort_by_key(|address| address.is_ipv6());
        if all.is_empty() {
            all.push(self.address.ip());
        }
        let url = |ip: IpAddr| format!("https://{}", SocketAddr::new(ip, port));
        all.into_iter().map(url).collect()
    }

    /// Has the certificate name what this device is reached by now; whether that is something else than
    /// before.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn follow_addresses(&self) -> Result<bool, CertificateError> {
        let names = names(self.address, &self.named);
        self.certificate.renew_for(&names)
    }
}

/// The addresses of a port.
fn addresses(at: SocketAddr) -> Vec<IpAddr> {
    let mut all = match at.ip().is_unspecified() {
        true => reachable_addresses(),
        false => vec![at.ip()],
    };
    all.retain(|ip| at.is_ipv6() || ip.is_ipv4());
    all
}

/// What the system calls this device, in the local network, too.
fn own_names() -> Vec<String> {
    let name = host_name().map(|name| name.to_ascii_lowercase());
    let name = name.filter(|name| !name.is_empty() && name != "localhost");
    let local = name.as_ref().filter(|name| !name.contains('.'));
    let local = local.map(|name| format!("{name}.local"));
    name.into_iter().chain(local).collect()
}

/// What a certificate has to name.
fn names(at: SocketAddr, named: &[String]) -> Vec<String> {
    let mut all: Vec<_> = addresses(at).iter().map(ToString::to_string).collect();
    all.extend(own_names());
    all.extend_from_slice(named);
    if at.ip().is_unspecified() || at.ip().is_loopback() {
        all.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_the_addresses_that_reach_it() {
        let one = "192.168.1.5:1".parse().expect("an address");
        assert_eq!(addresses(one), [IpAddr::from([192, 168, 1, 5])]);
        let four = "0.0.0.0:1".parse().expect("an address");
        assert!(
            addresses(four)
                .iter()
                .all(|ip| ip.is_ipv4() && !ip.is_loopback())
        );
        let named = ["kitchen.example".to_owned()];
        let all = names("[::1]:1".parse().expect("an address"), &named);
        for name in ["::1", "localhost", "kitchen.example"] {
            assert!(all.iter().any(|known| known == name), "{name} in {all:?}");
        }
        assert!(!names(one, &[]).contains(&"localhost".to_owned()));
    }
}
