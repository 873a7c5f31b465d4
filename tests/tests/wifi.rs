//! The emulated Wi-Fi itself, with real sockets. Nothing here asserts that this machine is fast:
//! a frame may always come later than it should, never earlier.
#![cfg(target_os = "linux")]

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use potluck_tests::wifi::{Profile, Station, Wifi, on_wifi};

/// The address group of mDNS.
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long nothing must be heard to say that nothing comes.
const SILENCE: Duration = Duration::from_millis(300);

/// A UDP socket at a station that waits this long for a datagram.
fn udp(station: &Station, patience: Duration) -> UdpSocket {
    station.enter(|| {
        let socket = UdpSocket::bind((station.address(), 0)).expect("its own address");
        let patience = Some(patience);
        socket.set_read_timeout(patience).expect("not zero");
        socket
    })
}

fn local(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().expect("bound")
}

/// Whether what one socket sends reaches the other.
fn reaches(from: &UdpSocket, to: &UdpSocket) -> bool {
    from.send_to(b"here", local(to)).expect("sent");
    match to.recv(&mut [0; 8]) {
        Ok(length) => length == 4,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
        Err(error) => panic!("{error}"),
    }
}

/// A TCP connection: its end at `from`, its end at `to`.
fn connect(from: &Station, to: &Station) -> (TcpStream, TcpStream) {
    let listener = to.enter(|| TcpListener::bind((to.address(), 0)).expect("its own address"));
    let address = listener.local_addr().expect("bound");
    let near = from.enter(|| TcpStream::connect_timeout(&address, PATIENCE).expect("reachable"));
    let (far, _) = listener.accept().expect("connected");
    for end in [&near, &far] {
        end.set_nodelay(true).expect("a TCP socket");
        end.set_read_timeout(Some(PATIENCE)).expect("not zero");
        end.set_write_timeout(Some(PATIENCE)).expect("not zero");
    }
    (near, far)
}

/// The shortest of some round trips of `bytes` over TCP.
fn round_trip(wifi: &Wifi, bytes: usize) -> Duration {
    let (mut near, mut far) = connect(wifi.station(0), wifi.station(1));
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut buffer = vec![0; bytes];
            while far.read_exact(&mut buffer).is_ok() {
                far.write_all(&buffer).expect("the other end waits for it");
            }
        });
        let mut buffer = vec![1; bytes];
        let trips = (0..20).map(|_| {
            let start = Instant::now();
            near.write_all(&buffer).expect("sent");
            near.read_exact(&mut buffer).expect("echoed");
            start.elapsed()
        });
        let shortest = trips.min().expect("there are some");
        drop(near);
        shortest
    })
}

/// Bits that each of these pairs of stations carried over TCP while all of them sent, and for how
/// long they sent: from before the first byte until after the last that is counted.
fn carry(wifi: &Wifi, pairs: &[(usize, usize)], least: Duration) -> (Vec<f64>, Duration) {
    let ends = pairs
        .iter()
        .map(|&(from, to)| connect(wifi.station(from), wifi.station(to)));
    let ends: Vec<_> = ends.collect();
    let start = Instant::now();
    let carried = thread::scope(|scope| {
        let flows = ends.into_iter().map(|(mut near, mut far)| {
            scope.spawn(move || {
                let block = [0; 16 << 10];
                // Ends when the other end is gone.
                while near.write_all(&block).is_ok() {}
            });
            scope.spawn(move || {
                let mut buffer = [0; 64 << 10];
                let mut bytes = 0;
                // On a busy machine it may begin late: it always carries something.
                loop {
                    bytes += far.read(&mut buffer).expect("it keeps coming");
                    if start.elapsed() >= least {
                        return bytes as f64 * 8.0;
                    }
                }
            })
        });
        let flows: Vec<_> = flows.collect();
        let carried = flows
            .into_iter()
            .map(|flow| flow.join().expect("it carried"));
        carried.collect()
    });
    (carried, start.elapsed())
}

#[test]
fn a_round_trip_takes_two_delays_and_four_airtimes_at_least() {
    let profile = Profile::default();
    on_wifi(
        "a_round_trip_takes_two_delays_and_four_airtimes_at_least",
        1,
        2,
        profile,
        |wifi| {
            let bytes = 1_000;
            let least = 2 * profile.delay + 4 * profile.airtime(bytes);
            let took = round_trip(wifi, bytes);
            assert!(took >= least, "{took:?}, at least {least:?}");
            println!("round trip {took:?}, at least {least:?}");
            println!("{:?}", wifi.statistics());

            // The new delay holds for the frames that are sent from now on.
            let slower = Profile {
                delay: 4 * profile.delay,
                ..profile
            };
            wifi.set(slower);
            assert!(round_trip(wifi, bytes) >= 2 * slower.delay);
        },
    );
}

#[test]
fn two_flows_together_get_no_more_than_the_one_air() {
    let profile = Profile::default();
    on_wifi(
        "two_flows_together_get_no_more_than_the_one_air",
        2,
        4,
        profile,
        |wifi| {
            // Every frame is on the air twice.
            let most = profile.rate_bits_per_s as f64 / 2.0;
            for pairs in [&[(0, 1)][..], &[(0, 1), (2, 3)]] {
                let (carried, took) = carry(wifi, pairs, Duration::from_secs(1));
                let rate = carried.iter().sum::<f64>() / took.as_secs_f64();
                println!("{carried:.0?} bits in {took:?}: {rate:.0} bit/s, at most {most:.0}");
                println!("{:?}", wifi.statistics());
                assert!(rate <= most, "{rate} bit/s, at most {most}");
                assert!(carried.iter().all(|&one| one > 0.0), "{carried:?}");
            }
        },
    );
}

#[test]
fn a_cut_silences_two_stations_until_it_heals() {
    on_wifi(
        "a_cut_silences_two_stations_until_it_heals",
        3,
        3,
        Profile::default(),
        |wifi| {
            let [a, b, c] = [0, 1, 2].map(|number| udp(wifi.station(number), SILENCE));
            let patient = |socket: &UdpSocket| {
                socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
            };
            let impatient = |socket: &UdpSocket| {
                socket.set_read_timeout(Some(SILENCE)).expect("not zero");
            };
            for socket in [&a, &b, &c] {
                patient(socket);
            }
            assert!(reaches(&a, &b) && reaches(&b, &a) && reaches(&a, &c));

            wifi.cut(0, 1);
            impatient(&b);
            assert!(!reaches(&a, &b));
            assert!(reaches(&a, &c), "the others hear each other");
            wifi.heal(0, 1);
            patient(&b);
            assert!(reaches(&a, &b) && reaches(&b, &a));

            wifi.take_away(2);
            impatient(&c);
            assert!(!reaches(&a, &c));
            assert!(reaches(&a, &b));
            wifi.bring_back(2);
            patient(&c);
            assert!(reaches(&a, &c));
            assert!(wifi.statistics().cut >= 2);
        },
    );
}

#[test]
fn a_stream_survives_loss_with_its_bytes_in_order() {
    let profile = Profile {
        jitter: Duration::from_millis(2),
        loss: 0.02,
        ..Profile::default()
    };
    on_wifi(
        "a_stream_survives_loss_with_its_bytes_in_order",
        4,
        2,
        profile,
        |wifi| {
            let (mut near, mut far) = connect(wifi.station(0), wifi.station(1));
            let sent: Vec<u8> = (0..400_000_u32).map(|i| (i % 251) as u8).collect();
            let mut received = Vec::new();
            thread::scope(|scope| {
                scope.spawn(|| {
                    near.write_all(&sent).expect("sent");
                    drop(near);
                });
                far.read_to_end(&mut received).expect("received");
            });
            assert!(received == sent, "{} bytes", received.len());
            assert!(wifi.statistics().stalled > 0, "{:?}", wifi.statistics());
        },
    );
}

#[test]
fn multicast_and_ipv6_reach_the_others() {
    on_wifi(
        "multicast_and_ipv6_reach_the_others",
        5,
        3,
        Profile::default(),
        |wifi| {
            let listeners = [1, 2].map(|number| {
                wifi.station(number).enter(|| {
                    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5353)).expect("free");
                    // By the route for multicast, as a program that knows no devices does it.
                    let joined = socket.join_multicast_v4(&GROUP, &Ipv4Addr::UNSPECIFIED);
                    joined.expect("there is a way for multicast");
                    socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
                    socket
                })
            });
            let asker = udp(wifi.station(0), PATIENCE);
            asker.send_to(b"who?", (GROUP, 5353)).expect("sent");
            for listener in &listeners {
                let mut buffer = [0; 8];
                let (length, from) = listener.recv_from(&mut buffer).expect("heard");
                assert_eq!((&buffer[..length], from), (&b"who?"[..], local(&asker)));
            }

            if !std::path::Path::new("/proc/sys/net/ipv6").exists() {
                return;
            }
            let bind = |number: usize| {
                let station = wifi.station(number);
                station.enter(|| {
                    // A station has the loopback device, 1, and its own, 2.
                    let own = SocketAddrV6::new(station.link_local_address(), 0, 0, 2);
                    let socket = UdpSocket::bind(own).expect("its own address");
                    socket.set_read_timeout(Some(PATIENCE)).expect("not zero");
                    socket
                })
            };
            assert!(reaches(&bind(0), &bind(1)));
        },
    );
}

#[test]
fn programs_and_threads_are_at_their_station_only() {
    on_wifi(
        "programs_and_threads_are_at_their_station_only",
        6,
        2,
        Profile::default(),
        |wifi| {
            let namespace = || std::fs::read_link("/proc/thread-self/ns/net").expect("readable");
            let outside = namespace();
            for station in wifi.stations() {
                let inside = station.enter(namespace);
                assert_ne!(inside, outside);
                let output = station
                    .command("readlink")
                    .arg("/proc/self/ns/net")
                    .output()
                    .expect("it runs");
                let printed = String::from_utf8_lossy(&output.stdout);
                assert_eq!(printed.trim(), inside.to_string_lossy());
                // Its id is the program's, so that a test ends the right one.
                let mut child = station.command("sleep").arg("60").spawn().expect("it runs");
                let name = format!("/proc/{}/comm", child.id());
                let start = Instant::now();
                while std::fs::read_to_string(&name).expect("it runs").trim() != "sleep" {
                    assert!(start.elapsed() < PATIENCE, "it is never executed");
                    thread::sleep(Duration::from_millis(5));
                }
                child.kill().expect("it runs");
                child.wait().expect("it was ours");
            }
            assert_eq!(namespace(), outside);
        },
    );
}
