//! Devices that have nothing but link-local addresses of IPv6, as two that a cable connects.

use std::path::Path;

use potluck_tests::circle::Circle;
use potluck_tests::wifi::{Profile, on_wifi};

use crate::hops::shell;
use crate::wifi::stations;
use crate::{Model, SAMPLED, alone, asked};

#[test]
fn devices_with_nothing_but_link_local_addresses_pair_and_compute() {
    let test = "link_local::devices_with_nothing_but_link_local_addresses_pair_and_compute";
    on_wifi(test, 41, 2, Profile::default(), |wifi| {
        if !Path::new("/proc/sys/net/ipv6").exists() {
            return;
        }
        for station in wifi.stations() {
            // On another interface nobody answers.
            let lines = "ip -4 address flush dev wlan0
                 if ip link add name other type bridge 2>/dev/null; then
                   ip link set other up
                   ip address add fe80::77/64 dev other nodad
                 fi";
            shell(station, lines);
        }
        let model = Model::quick();
        let circle = Circle::start(stations(wifi, &["laptop", "kitchen"], &model.path));
        let question = model.question(10, &SAMPLED);
        let who = ["--placement", "kitchen:0..12"];
        let answer = circle.node("laptop").answer(&asked(&question, &who));
        assert_eq!(answer.tokens, alone(&question).tokens);
        assert_eq!(answer.stages(), ["kitchen:0..12"]);
    });
}
