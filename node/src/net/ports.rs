//! The ports on which this device listened last. It uses them again, so that peers find it at the address
//! that they know, also where discovery does not work.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use libp2p::Multiaddr;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;

use crate::private_file;

/// The longest file that is read.
const MOST_BYTES: usize = 1 << 16;
/// Places that are remembered.
const MOST_PLACES: usize = 32;

/// The port that was chosen for each listen address with port 0, kept in a file.
#[derive(Debug)]
pub(super) struct Ports {
    file: PathBuf,
    known: BTreeMap<String, u16>,
    /// The address that each listener was opened for.
    listeners: Vec<(ListenerId, String)>,
}

impl Ports {
    /// Reads the file. A damaged file is ignored: new ports are chosen.
    pub(super) fn open(file: PathBuf) -> Self {
        let bytes = private_file::read(&file, MOST_BYTES).ok().flatten();
        let read = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let read: BTreeMap<String, u16> = read.unwrap_or_default();
        Self {
            file,
            known: read.into_iter().take(MOST_PLACES).collect(),
            listeners: Vec::new(),
        }
    }

    /// The address with the port that was chosen last, if it has port 0 and one was chosen.
    pub(super) fn last(&self, asked: &Multiaddr) -> Option<Multiaddr> {
        if port_of(asked) != Some(0) {
            return None;
        }
        let port = *self.known.get(&asked.to_string())?;
        (port != 0).then(|| with_port(asked, port))
    }

    /// Notes the address that a listener was opened for.
    pub(super) fn listens(&mut self, listener: ListenerId, asked: &Multiaddr) {
        if port_of(asked) == Some(0) {
            self.listeners.push((listener, asked.to_string()));
        }
    }

    /// Notes the port that a listener got.
    ///
    /// # Errors
    /// The port is new and cannot be remembered.
    pub(super) fn note(&mut self, listener: ListenerId, at: &Multiaddr) -> io::Result<()> {
        let mut listeners = self.listeners.iter();
        let asked = listeners.find(|(of, _)| *of == listener);
        let (Some((_, asked)), Some(port)) = (asked, port_of(at)) else {
            return Ok(());
        };
        let is_room = self.known.len() < MOST_PLACES || self.known.contains_key(asked);
        if !is_room || self.known.insert(asked.clone(), port) == Some(port) {
            return Ok(());
        }
        private_file::replace(&self.file, &serde_json::to_vec(&self.known)?)
    }
}

fn port_of(address: &Multiaddr) -> Option<u16> {
    address.iter().find_map(|part| match part {
        Protocol::Tcp(port) => Some(port),
        _ => None,
    })
}

fn with_port(address: &Multiaddr, port: u16) -> Multiaddr {
    let parts = address.iter().map(|part| match part {
        Protocol::Tcp(_) => Protocol::Tcp(port),
        part => part,
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_that_was_found_is_asked_for_the_next_time() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("ports.json");
        let address = |text: &str| -> Multiaddr { text.parse().expect("an address") };
        let any = address("/ip4/0.0.0.0/tcp/0");
        let mut ports = Ports::open(file.clone());
        assert_eq!(ports.last(&any), None);
        let listener = ListenerId::next();
        ports.listens(listener, &any);
        let at = address("/ip4/10.0.0.1/tcp/4711");
        ports.note(listener, &at).expect("writable");
        let chosen = ListenerId::next();
        ports.listens(chosen, &address("/ip4/0.0.0.0/tcp/5000"));
        let at = address("/ip4/10.0.0.1/tcp/5000");
        ports.note(chosen, &at).expect("nothing to write");
        let again = Ports::open(file.clone());
        assert_eq!(again.last(&any), Some(address("/ip4/0.0.0.0/tcp/4711")));
        assert_eq!(again.last(&address("/ip6/::/tcp/0")), None);
        assert_eq!(again.last(&address("/ip4/0.0.0.0/tcp/5000")), None);
        std::fs::write(&file, b"[1]").expect("writable");
        assert_eq!(Ports::open(file).last(&any), None);
    }
}
