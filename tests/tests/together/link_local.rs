//! Devices that have nothing but link-local addresses of IPv6, as two that a cable connects.

use std::path::Path;

use potluck_tests::circle::{Circle, Node};
use potluck_tests::wifi::{Profile, Station, on_wifi};

use crate::hops::shell;
use crate::wifi::stations;
use crate::{Model, SAMPLED, alone, asked};

/// Leaves a station with link-local addresses, of its own interface and of another, which is the one that
/// the system takes for multicast. At that one nobody is.
fn with_links_only(station: &Station) {
    let lines = "ip -4 address flush dev wlan0
         if ip link add name other type bridge 2>/dev/null; then
           ip link set other up
           ip address add fe80::77/64 dev other nodad
           ip -6 route add multicast ff02::fb/128 dev other table local metric 1
         fi";
    shell(station, lines);
}

#[test]
fn devices_with_nothing_but_link_local_addresses_pair_compute_and_find_each_other_again() {
    let test = "link_local::devices_with_nothing_but_link_local_addresses_pair_compute_and_find_each_\
                other_again";
    on_wifi(test, 41, 2, Profile::default(), |wifi| {
        if !Path::new("/proc/sys/net/ipv6").exists() {
            return;
        }
        with_links_only(wifi.station(0));
        shell(wifi.station(1), "ip -4 address flush dev wlan0");
        let model = Model::quick();
        let nodes = stations(wifi, &["laptop", "kitchen"], &model.path).into_iter();
        // Of link-local networks nobody knows which is which.
        let nodes: Vec<Node<'_>> = nodes.map(|node| node.with(&["--mdns"])).collect();
        let mut circle = Circle::start(nodes);
        let question = model.question(10, &SAMPLED);
        let who = ["--placement", "kitchen:0..12"];
        let answer = circle.node("laptop").answer(&asked(&question, &who));
        assert_eq!(answer.tokens, alone(&question).tokens);
        assert_eq!(answer.stages(), ["kitchen:0..12"]);
        // Neither is where the other knows it.
        for name in ["laptop", "kitchen"] {
            let _ = circle.node_mut(name).end_by("INT");
        }
        for (number, address) in [(0, "fe80::a1"), (1, "fe80::a2")] {
            let lines = format!(
                "ip -6 address flush dev wlan0
                 ip address add {address}/64 dev wlan0 nodad"
            );
            shell(wifi.station(number), &lines);
        }
        for name in ["kitchen", "laptop"] {
            circle.node_mut(name).up();
        }
        circle.await_connected();
    });
}
