//! Multicast DNS at a station of the emulated Wi-Fi, as libp2p speaks it: what devices say to all of
//! their network, and what strangers there say to them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use libp2p::identity::Keypair;
use socket2::{Domain, Socket, Type};

use crate::circle::PATIENCE;
use crate::wifi::Station;

const PORT: u16 = 5353;
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
/// The number of a station's own interface; the loopback is 1.
const INTERFACE: u32 = 2;
/// How often a question is asked, at least.
const AGAIN: Duration = Duration::from_millis(100);
/// How long a socket is listened to at a time.
const MOMENT: Duration = Duration::from_millis(20);
/// More than a packet of a network has.
const MOST_BYTES: usize = 9_000;

/// Kinds of records, their class, and how long they hold.
const POINTER: u16 = 12;
const TEXT: u16 = 16;
const INTERNET: u16 = 1;
const HOLDS_S: u32 = 360;
const SERVICE: [&str; 3] = ["_p2p", "_udp", "local"];

/// What somebody said to all.
#[derive(Debug)]
pub struct Packet {
    /// Who.
    pub from: IpAddr,
    bytes: Vec<u8>,
}

impl Packet {
    /// Whether it asks who is there.
    pub fn asks(&self) -> bool {
        // The first bit of the flags says that it is an answer.
        self.bytes.get(2).is_some_and(|flags| flags & 0x80 == 0)
    }

    /// Whether it has these words in it.
    pub fn names(&self, words: &str) -> bool {
        let mut windows = self.bytes.windows(words.len());
        windows.any(|window| window == words.as_bytes())
    }
}

/// Whoever listens and talks at a station, over IPv4 and, where the system has it, IPv6.
pub struct Stranger {
    /// Each with its group.
    sockets: Vec<(UdpSocket, SocketAddr)>,
    address: Ipv4Addr,
}

impl Stranger {
    /// One at a station where nothing else listens.
    ///
    /// # Panics
    /// When it cannot.
    pub fn at(station: &Station) -> Self {
        let address = station.address();
        let sockets = station.enter(|| {
            let four = bound(Ipv4Addr::UNSPECIFIED.into());
            let joined = four.join_multicast_v4(&GROUP, &address);
            joined.expect("its own interface");
            let mut sockets = vec![(four, SocketAddr::from((GROUP, PORT)))];
            if Path::new("/proc/sys/net/ipv6").exists() {
                let six = bound(Ipv6Addr::UNSPECIFIED.into());
                let joined = six.join_multicast_v6(&GROUP_6, INTERFACE);
                joined.expect("its own interface");
                let group = SocketAddrV6::new(GROUP_6, PORT, 0, INTERFACE);
                sockets.push((six, group.into()));
            }
            sockets
        });
        Self { sockets, address }
    }

    /// Says this to all, over IPv4.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub fn say(&self, packet: &[u8]) {
        let (socket, group) = &self.sockets[0];
        socket.send_to(packet, group).expect("there is a way");
    }

    /// Asks all who they are, and hears what is said in this time.
    ///
    /// # Panics
    /// When it cannot.
    pub fn ask(&self, time: Duration) -> Vec<Packet> {
        let (start, mut heard) = (Instant::now(), Vec::new());
        while start.elapsed() < time {
            self.ask_once(&mut heard);
        }
        heard
    }

    /// Asks until somebody names this.
    ///
    /// # Panics
    /// When nobody does.
    pub fn ask_until_named(&self, words: &str) {
        let (start, mut heard) = (Instant::now(), Vec::new());
        while !heard.iter().any(|packet: &Packet| packet.names(words)) {
            let many = heard.len();
            assert!(start.elapsed() < PATIENCE, "nobody named it: {many} heard");
            self.ask_once(&mut heard);
        }
    }

    fn ask_once(&self, heard: &mut Vec<Packet>) {
        for (socket, group) in &self.sockets {
            socket.send_to(&question(), group).expect("there is a way");
        }
        let asked = Instant::now();
        while asked.elapsed() < AGAIN {
            for (socket, _) in &self.sockets {
                let mut bytes = vec![0; MOST_BYTES];
                match socket.recv_from(&mut bytes) {
                    Ok((length, from)) => {
                        bytes.truncate(length);
                        let from = from.ip();
                        heard.push(Packet { from, bytes });
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => panic!("nothing can be heard: {error}"),
                }
            }
        }
    }

    /// What a device of this number says to all that listens here: an id that no device of a test has.
    ///
    /// # Panics
    /// Never: any bytes are a key.
    pub fn announcement(&self, number: u16) -> Vec<u8> {
        let mut seed = [0xa5; 32];
        seed[..2].copy_from_slice(&number.to_le_bytes());
        let key = Keypair::ed25519_from_bytes(&mut seed).expect("any bytes are a key");
        let peer = key.public().to_peer_id();
        let text = format!(
            "dnsaddr=/ip4/{}/tcp/{}/p2p/{peer}",
            self.address,
            10_000 + number
        );
        let name = name(&[&format!("stranger{number}"), "_p2p", "_udp", "local"]);
        let mut packet = header(0x8400, [0, 1, 0, 1]);
        packet.extend(record(&name_of_service(), POINTER, &name));
        let length = u8::try_from(text.len()).expect("it is short");
        let text = [&[length], text.as_bytes()].concat();
        packet.extend(record(&name, TEXT, &text));
        packet
    }
}

/// A socket that takes what is said to groups of one of the two protocols, and not its own words.
fn bound(any: IpAddr) -> UdpSocket {
    let place = SocketAddr::new(any, PORT);
    let socket = Socket::new(Domain::for_address(place), Type::DGRAM, None).expect("a socket");
    let set = if place.is_ipv6() {
        let only = socket.set_only_v6(true);
        only.and_then(|()| socket.set_multicast_if_v6(INTERFACE))
            .and_then(|()| socket.set_multicast_loop_v6(false))
    } else {
        socket.set_multicast_loop_v4(false)
    };
    set.expect("settings that there are");
    let timeout = socket.set_read_timeout(Some(MOMENT));
    timeout.expect("not zero");
    socket.bind(&place.into()).expect("nobody else listens");
    socket.into()
}

/// `id · flags · how many questions, answers, authorities, additions`
fn header(flags: u16, counts: [u16; 4]) -> Vec<u8> {
    let fields = [0, flags].into_iter().chain(counts);
    fields.flat_map(u16::to_be_bytes).collect()
}

/// `length · letters` of each part, then 0.
fn name(parts: &[&str]) -> Vec<u8> {
    let mut name = Vec::new();
    for part in parts {
        name.push(u8::try_from(part.len()).expect("it is short"));
        name.extend_from_slice(part.as_bytes());
    }
    name.push(0);
    name
}

fn name_of_service() -> Vec<u8> {
    name(&SERVICE)
}

/// `name · kind · class · seconds · length · what`
fn record(name: &[u8], kind: u16, what: &[u8]) -> Vec<u8> {
    let length = u16::try_from(what.len()).expect("it is short");
    let [kind, class, length] = [kind, INTERNET, length].map(u16::to_be_bytes);
    [name, &kind, &class, &HOLDS_S.to_be_bytes(), &length, what].concat()
}

fn question() -> Vec<u8> {
    let mut packet = header(0, [1, 0, 0, 0]);
    packet.extend(name_of_service());
    packet.extend(POINTER.to_be_bytes());
    packet.extend(INTERNET.to_be_bytes());
    packet
}
