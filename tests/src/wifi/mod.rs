//! An emulated Wi-Fi: stations that share nothing but one access point.
//!
//! Each station is a network namespace with one Ethernet device, `wlan0`. A thread of the test
//! reads what the stations send and hands it on as one access point would that all of them share:
//! late, paced, queued, sometimes lost, or not at all where the test has cut the way. Real programs
//! run on it unchanged, over IPv4, IPv6 and multicast.
//!
//! ```text
//! program ── wlan0 (TAP) ── up ──┐ queues          ┌── delay, jitter, stalls ── wlan0 ── program
//!                                └── one air ── down ┘
//! ```
//!
//! - `profile`: what it is like. `air`: what happens to a frame, in virtual time. `access_point`:
//!   the thread between the air and the devices. `network`: namespaces. `tap`: their devices.
//!   `available`: where it can run. `statistics`: what became of the frames.
//!
//! It needs Linux with `/dev/net/tun` and the commands `ip` and `nsenter`, and either the right to
//! make network namespaces or user namespaces; see [`on_wifi`]. Nothing of it has a name in the
//! system or outlives the test's process, however that ends.

mod access_point;
mod air;
mod available;
mod network;
mod profile;
mod statistics;
#[allow(unsafe_code)]
mod tap;

use std::ffi::OsStr;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::panic;
use std::process::Command;
use std::thread;

use access_point::AccessPoint;
use air::Air;
use network::Network;

pub use available::{Unavailable, on_wifi};
pub use profile::Profile;
pub use statistics::Statistics;

/// An access point and its stations. Dropping it ends the network; what still runs at a station
/// runs on, and hears nobody.
pub struct Wifi {
    // First, so that it stops before its devices' namespaces go.
    access_point: AccessPoint,
    stations: Vec<Station>,
}

/// A station of a [`Wifi`]: where a device of the test is in the network.
pub struct Station {
    number: usize,
    network: Network,
}

impl Wifi {
    /// The most stations of one Wi-Fi: the hosts of its subnet.
    pub const MOST_STATIONS: usize = 254;

    /// Stations that hear each other through one access point. Jitter and loss follow from the
    /// seed and the order of the frames, which in real time differs from run to run.
    ///
    /// # Errors
    /// When this machine or this user's rights do not allow it, in words to skip a test with.
    /// [`on_wifi`] does that.
    ///
    /// # Panics
    /// When there are too many stations or the profile's loss or rate makes no sense.
    #[track_caller]
    pub fn new(seed: u64, stations: usize, profile: Profile) -> Result<Self, Unavailable> {
        assert!(
            stations <= Self::MOST_STATIONS,
            "{stations} stations, at most {}",
            Self::MOST_STATIONS
        );
        profile.check();
        available::check()?;
        let mut devices = Vec::with_capacity(stations);
        let mut joined = Vec::with_capacity(stations);
        for number in 0..stations {
            let (network, device) = Network::new(number)?;
            devices.push(device);
            joined.push(Station { number, network });
        }
        let access_point = AccessPoint::start(Air::new(seed, stations, profile), devices)
            .map_err(|error| Unavailable::new(format!("no access point: {error}")))?;
        Ok(Self {
            access_point,
            stations: joined,
        })
    }

    /// All stations.
    pub fn stations(&self) -> &[Station] {
        &self.stations
    }

    /// A station by its number, from 0.
    ///
    /// # Panics
    /// When there is no such station.
    #[track_caller]
    pub fn station(&self, number: usize) -> &Station {
        &self.stations[number]
    }

    /// Changes what the network is like for the frames from now on.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[track_caller]
    pub fn set(&self, profile: Profile) {
        profile.check();
        self.access_point.air().set(profile);
    }

    /// From the return of this on, these two stations do not hear each other; frames on their way
    /// between them are lost. Both still hear everyone else.
    ///
    /// # Panics
    /// When there is no such station.
    #[track_caller]
    pub fn cut(&self, a: usize, b: usize) {
        let [a, b] = [a, b].map(|number| self.station(number).number);
        self.access_point.air().cut(a, b);
    }

    /// Undoes [`Self::cut`]. A station that is away stays so.
    ///
    /// # Panics
    /// When there is no such station.
    #[track_caller]
    pub fn heal(&self, a: usize, b: usize) {
        let [a, b] = [a, b].map(|number| self.station(number).number);
        self.access_point.air().heal(a, b);
    }

    /// Takes a station out of range: from the return of this on, it hears nobody and nobody hears
    /// it. Its device notices nothing.
    ///
    /// # Panics
    /// When there is no such station.
    #[track_caller]
    pub fn take_away(&self, station: usize) {
        let number = self.station(station).number;
        self.access_point.air().leave(number);
    }

    /// Undoes [`Self::take_away`]. Cuts between two stations stay.
    ///
    /// # Panics
    /// When there is no such station.
    #[track_caller]
    pub fn bring_back(&self, station: usize) {
        let number = self.station(station).number;
        self.access_point.air().come_back(number);
    }

    /// What became of the frames until now.
    pub fn statistics(&self) -> Statistics {
        self.access_point.air().statistics
    }
}

impl Station {
    /// Its IPv4 address: `10.77.0.1` for the first station, and so on.
    pub fn address(&self) -> Ipv4Addr {
        network::address(self.number)
    }

    /// Its IPv6 address: `fe80::1` for the first station, and so on; where the host has IPv6.
    pub fn link_local_address(&self) -> Ipv6Addr {
        network::link_local_address(self.number)
    }

    /// A command that runs a program at this station, in the test's folder and environment. Its
    /// process id is the program's own. Start it while the [`Wifi`] lives, and end it: unlike the
    /// network, a program does not end with the test.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.network.command(program.as_ref())
    }

    /// Runs a part of the test at this station: the sockets that it opens, the threads and the
    /// programs that it starts belong to the station and stay with it.
    ///
    /// # Panics
    /// As the closure does.
    pub fn enter<R: Send>(&self, body: impl FnOnce() -> R + Send) -> R {
        // On a thread of its own, which never comes back into the test's network.
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.network.enter_for_good();
                body()
            });
            inside
                .join()
                .unwrap_or_else(|panic| panic::resume_unwind(panic))
        })
    }
}
