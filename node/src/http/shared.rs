//! The API for guests: its address, its certificate and its guests.

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
    /// The shared API's address, certificate and guests.
    pub at: SharedAt,
}

/// A shared API's address, certificate and guests, also while it is served. Clones share one state.
#[derive(Clone)]
pub struct SharedAt {
    address: SocketAddr,
    certificate: Certificate,
    share: Share,
    /// Names given by the owner.
    named: Vec<String>,
}

/// The API cannot be shared.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// Opening the port failed.
    #[error(transparent)]
    Port(#[from] StartError),
    /// The certificate is unavailable.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The guest list is unavailable.
    #[error(transparent)]
    Guests(#[from] GuestError),
}

impl Shared {
    /// Opens the shared API of a home on this address or the default port; `named` are additional
    /// names of this device. The receiver yields guest events.
    ///
    /// # Errors
    /// [`ShareError`].
    pub fn open(
        home: &Home,
        address: Option<SocketAddr>,
        named: &[String],
    ) -> Result<(Self, Receiver<ShareEvent>), ShareError> {
        // Bind before creating anything, because another process may own the port.
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
    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The guests.
    pub fn share(&self) -> &Share {
        &self.share
    }

    /// The host names that guests may use.
    pub(super) fn hosts(&self) -> Vec<String> {
        let mut all = own_names();
        all.extend(self.named.iter().map(|name| name.to_ascii_lowercase()));
        all.push(Nearby::host_name(self.certificate.fingerprint()));
        all
    }

    /// URLs at which guests reach it now, the likeliest first: `https://192.168.1.5:11436`.
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

    /// Updates the certificate to the device's current names and addresses. Returns whether they
    /// changed.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn follow_addresses(&self) -> Result<bool, CertificateError> {
        let names = names(self.address, &self.named);
        self.certificate.renew_for(&names)
    }
}

/// The addresses at which a port is reachable.
fn addresses(at: SocketAddr) -> Vec<IpAddr> {
    let mut all = match at.ip().is_unspecified() {
        true => reachable_addresses(),
        false => vec![at.ip()],
    };
    all.retain(|ip| at.is_ipv6() || ip.is_ipv4());
    all
}

/// This device's host names, also in the local network.
fn own_names() -> Vec<String> {
    let name = host_name().map(|name| name.to_ascii_lowercase());
    let name = name.filter(|name| !name.is_empty() && name != "localhost");
    let local = name.as_ref().filter(|name| !name.contains('.'));
    let local = local.map(|name| format!("{name}.local"));
    name.into_iter().chain(local).collect()
}

/// The names that the certificate must contain.
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
