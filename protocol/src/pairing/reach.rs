//! Which of a device's addresses go into an invitation, and in which order.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Address;

/// How likely it is that others reach an address, the most likely first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// In a private network, and a source address of the system's routes.
    Routed,
    /// In a private network.
    Private,
    /// On the internet, or of an unknown kind.
    Public,
    /// IPv6 link-local. A device on that link dials it through each of its interfaces.
    Link,
    /// The first address of a private network, while the system sends from another: usually a bridge to
    /// virtual machines or containers of the same device.
    Bridge,
    /// Behind a carrier's translation (RFC 6598, RFC 7335), or chosen for want of another (RFC 3927).
    Carrier,
    /// Loopback: only this device can reach it.
    Itself,
}

/// At most `most` of the addresses, the most likely first. `routed` are the source addresses of the
/// system's routes. Within a kind, the first address of each family and subnet comes before others of
/// that subnet, and IPv4 and IPv6 take turns. IPv6 link-local addresses are used only if there is no
/// better one, loopback addresses only if there is nothing else.
pub fn by_reach(addresses: Vec<Address>, routed: &[IpAddr], most: usize) -> Vec<Address> {
    let of = |address: &Address| address.ip().map_or(Reach::Public, |ip| reach(ip, routed));
    let mut ranked = addresses;
    ranked.sort_by_key(of);
    let best = ranked.first().map_or(Reach::Itself, of);
    ranked.retain(|address| match of(address) {
        Reach::Link => best == Reach::Link,
        Reach::Itself => best == Reach::Itself,
        Reach::Routed | Reach::Private | Reach::Public | Reach::Bridge | Reach::Carrier => true,
    });
    let mut subnets = BTreeSet::new();
    let mut turns = [0_usize; 2];
    // Sorting is stable: of equals the one that came first stays first.
    ranked.sort_by_cached_key(|address| {
        let ip = address.ip();
        let is_again = ip.is_some_and(|ip| !subnets.insert(subnet(ip)));
        let turn = &mut turns[usize::from(ip.is_some_and(|ip| ip.is_ipv6()))];
        *turn += 1;
        (of(address), is_again, *turn)
    });
    ranked.truncate(most);
    ranked
}

fn reach(ip: IpAddr, routed: &[IpAddr]) -> Reach {
    let is_routed = routed.contains(&ip);
    match ip {
        _ if ip.is_loopback() => Reach::Itself,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Reach::Link,
        IpAddr::V4(ip) if ip.is_link_local() || is_translated(ip) => Reach::Carrier,
        IpAddr::V4(ip) if !ip.is_private() => Reach::Public,
        IpAddr::V6(ip) if !ip.is_unique_local() => Reach::Public,
        _ if is_routed => Reach::Routed,
        IpAddr::V4(ip) if ip.octets()[3] == 1 => Reach::Bridge,
        IpAddr::V4(_) | IpAddr::V6(_) => Reach::Private,
    }
}

fn is_translated(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    (a == 100 && b & 0xc0 == 64) || (a, b, c) == (192, 0, 0)
}

/// The subnet that an address is usually in.
fn subnet(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            Ipv4Addr::new(a, b, c, 0).into()
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(texts: &[&str], routed: &[&str], most: usize) -> Vec<String> {
        let addresses = texts.iter().map(|text| Address::new(text).expect("one"));
        let routed: Vec<IpAddr> = routed.iter().map(|ip| ip.parse().expect("one")).collect();
        let told = by_reach(addresses.collect(), &routed, most).into_iter();
        told.map(|address| address.to_string()).collect()
    }

    #[test]
    fn nine_bridges_do_not_hide_the_network_that_others_are_in() {
        let bridges: Vec<_> = (0..9)
            .map(|i| format!("/ip4/172.{}.0.1/tcp/7", 17 + i))
            .collect();
        let lan = "/ip4/192.168.1.23/tcp/7";
        for routed in [&["192.168.1.23"][..], &[]] {
            let all: Vec<_> = bridges.iter().map(String::as_str).chain([lan]).collect();
            let told = told(&all, routed, 8);
            assert_eq!((told.len(), told[0].as_str()), (8, lan));
        }
        // A network of its own making, as a phone that shares its way: the system sends from there.
        let own = "/ip4/192.168.43.1/tcp/7";
        let all: Vec<_> = bridges.iter().map(String::as_str).chain([own]).collect();
        assert_eq!(told(&all, &["192.168.43.1"], 8)[0], own);
    }

    #[test]
    fn cellular_ways_come_last_and_families_take_turns() {
        let all = [
            "/ip4/127.0.0.1/tcp/7",
            "/ip4/100.70.1.2/tcp/7",
            "/ip4/192.0.0.4/tcp/7",
            "/ip4/10.1.2.3/tcp/7",
            "/ip4/10.1.2.4/tcp/7",
            "/ip6/fe80::1/tcp/7",
            "/ip6/fd00::5/tcp/7",
            "/ip6/2001:db8::5/tcp/7",
        ];
        let expected = [
            "/ip4/10.1.2.3/tcp/7",
            "/ip6/fd00::5/tcp/7",
            "/ip4/10.1.2.4/tcp/7",
            "/ip6/2001:db8::5/tcp/7",
            "/ip4/100.70.1.2/tcp/7",
            "/ip4/192.0.0.4/tcp/7",
        ];
        assert_eq!(told(&all, &["100.70.1.2"], 8), expected);
    }

    #[test]
    fn a_device_that_has_nothing_but_its_link_tells_that() {
        let (link, other) = ("/ip6/fe80::1/tcp/7", "/ip6/fe80::2/tcp/7");
        let all = ["/ip4/172.17.0.1/tcp/7", "/ip4/127.0.0.1/tcp/7", other, link];
        let expected = [other, link, "/ip4/172.17.0.1/tcp/7"];
        assert_eq!(told(&all, &[], 8), expected);
        for better in ["/ip4/192.168.1.2/tcp/7", "/ip6/2001:db8::5/tcp/7"] {
            assert_eq!(told(&[link, better], &[], 8), [better]);
        }
    }

    #[test]
    fn where_a_device_reaches_itself_is_told_only_for_want_of_others() {
        let alone = ["/ip4/127.0.0.1/tcp/7", "/ip6/::1/tcp/7"];
        assert_eq!(told(&alone, &[], 8), alone);
        assert_eq!(told(&["/dns4/kitchen.local/tcp/7"], &[], 8).len(), 1);
        assert!(told(&[], &[], 8).is_empty());
    }
}
