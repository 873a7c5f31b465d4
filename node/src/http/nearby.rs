//! Discovery of a shared API in the local network: DNS-SD over multicast DNS (RFC 6762, 6763).
//!
//! The API is announced only while it is shared, and never on loopback. The announced fingerprint
//! never changes, so anyone who listens in several networks can recognise the device. For the same
//! reason the node's own id is announced only where it is expected, and this fingerprint only where
//! the owner shares.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mdns_sd::{IfKind, ServiceDaemon, ServiceInfo};

/// The DNS-SD service type.
const SERVICE: &str = "_potluck-api._tcp.local.";
/// Time allowed for announcing the end of the service.
const GOODBYE: Duration = Duration::from_millis(300);
/// Longest DNS label, in bytes.
const LONGEST_LABEL: usize = 63;

/// An announcement. Dropping it withdraws the service.
pub struct Nearby {
    daemon: ServiceDaemon,
    name: String,
}

impl Nearby {
    /// The host name announced for a device with this fingerprint. No other program on the device
    /// announces it.
    pub fn host_name(fingerprint: &str) -> String {
        let short: String = fingerprint.chars().take(12).collect();
        format!("potluck-{short}.local")
    }

    /// Announces the API at this address under the device's name. `None` if no other device could
    /// reach the address.
    ///
    /// # Errors
    /// Why it is not announced, in words.
    pub fn announce(
        address: SocketAddr,
        device: &str,
        fingerprint: &str,
    ) -> Result<Option<Self>, String> {
        if address.ip().is_loopback() {
            return Ok(None);
        }
        let info = service(address, device, fingerprint)?;
        let name = info.get_fullname().to_owned();
        let words = |error: mdns_sd::Error| error.to_string();
        let daemon = ServiceDaemon::new().map_err(words)?;
        for loopback in [IfKind::LoopbackV4, IfKind::LoopbackV6] {
            daemon.disable_interface(loopback).map_err(words)?;
        }
        daemon.register(info).map_err(words)?;
        Ok(Some(Self { daemon, name }))
    }
}

impl Drop for Nearby {
    fn drop(&mut self) {
        if let Ok(done) = self.daemon.unregister(&self.name) {
            let _ = done.recv_timeout(GOODBYE);
        }
        let _ = self.daemon.shutdown();
    }
}

fn service(address: SocketAddr, device: &str, fingerprint: &str) -> Result<ServiceInfo, String> {
    let host = format!("{}.", Nearby::host_name(fingerprint));
    let properties = [
        ("path", "/v1"),
        ("join", "/join"),
        ("fingerprint", fingerprint),
    ];
    // All of the device's addresses, or only the one that it listens on.
    let is_all = address.ip().is_unspecified();
    let ips: Vec<IpAddr> = match is_all {
        true => Vec::new(),
        false => vec![address.ip()],
    };
    let (label, port) = (label(device), address.port());
    let info = ServiceInfo::new(SERVICE, &label, &host, &ips[..], port, &properties[..]);
    let mut info = info.map_err(|error| error.to_string())?;
    if is_all {
        return Ok(info.enable_addr_auto());
    }
    info.set_interfaces(ips.into_iter().map(IfKind::Addr).collect());
    Ok(info)
}

/// A name, truncated to the length of a label.
fn label(name: &str) -> String {
    let mut label = String::new();
    for c in name.chars() {
        if label.len() + c.len_utf8() > LONGEST_LABEL {
            break;
        }
        label.push(c);
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_announcement_says_where_and_under_which_key() {
        let fingerprint = "ab".repeat(32);
        let at = "192.168.1.5:11436".parse().expect("an address");
        let info = service(at, "Anna's kitchen", &fingerprint).expect("it can be announced");
        assert_eq!(info.get_type(), SERVICE);
        assert_eq!(info.get_hostname(), "potluck-abababababab.local.");
        assert_eq!(info.get_port(), 11436);
        assert_eq!(info.get_property_val_str("path"), Some("/v1"));
        assert_eq!(
            info.get_property_val_str("fingerprint"),
            Some(&fingerprint[..])
        );
        assert!(!info.is_addr_auto() && info.get_addresses().len() == 1);
        let all = "[::]:11436".parse().expect("an address");
        assert!(
            service(all, "x", &fingerprint)
                .expect("it can")
                .is_addr_auto()
        );
        assert_eq!(label(&"ä".repeat(50)).len(), 62);
    }

    #[test]
    fn loopback_is_not_announced() {
        for address in ["127.0.0.1:1", "[::1]:1"] {
            let address = address.parse().expect("an address");
            assert!(matches!(Nearby::announce(address, "x", "00"), Ok(None)));
        }
    }
}
