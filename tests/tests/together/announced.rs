//! What devices say to all of their network, and what strangers there, bridges and cuts do to those who
//! are paired or pair. All of it on an emulated Wi-Fi.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use potluck_protocol::pairing::Invitation;
use potluck_tests::circle::{Invited, Node, member, wait_for};
use potluck_tests::mdns::{Packet, Stranger};
use potluck_tests::wifi::{Profile, Station, on_wifi};

use crate::hops::shell;

/// How long nothing must be said of a device to say that nothing is: it looks at what is to be said four
/// times a second.
const QUIET: Duration = Duration::from_millis(1_500);
/// More strangers than there are places for addresses.
const STRANGERS: u16 = 256;

fn at<'w>(name: &str, station: &'w Station) -> Node<'w> {
    Node::at(name, Box::new(|binary| station.command(binary)))
}

/// Waits until each of two nodes is connected to the other.
fn await_connected(nodes: [&Node<'_>; 2]) {
    for (node, other) in [(nodes[0], nodes[1]), (nodes[1], nodes[0])] {
        node.await_members("the other is connected", |members| {
            member(members, other.name()).is_some_and(|other| other["connected"] == true)
        });
    }
}

/// Nobody says this id, though they are asked.
#[track_caller]
fn is_not_named(stranger: &Stranger, node: &Node<'_>) {
    // What was allowed until now may still be on its way.
    thread::sleep(Duration::from_millis(500));
    let heard = stranger.ask(QUIET);
    let named = heard.iter().find(|packet| packet.names(node.peer_id()));
    assert!(named.is_none(), "{named:?}");
}

/// Gives a station an address in another network.
fn move_to(station: &Station, address: &str) {
    let lines = format!(
        "ip -4 address flush dev wlan0
         ip address add {address}/24 dev wlan0
         ip route add 224.0.0.0/4 dev wlan0"
    );
    shell(station, &lines);
}

#[test]
fn an_id_is_said_only_where_a_member_was_met_or_an_invitation_is_open_or_by_choice() {
    let test = "announced::\
                an_id_is_said_only_where_a_member_was_met_or_an_invitation_is_open_or_by_choice";
    on_wifi(test, 31, 4, Profile::default(), |wifi| {
        let stranger = Stranger::at(wifi.station(3));
        let mut laptop = at("laptop", wifi.station(0));
        laptop.up();
        // It looks for others, and does not say who it is.
        let heard = stranger.ask(QUIET);
        let laptops = |packet: &&_| packet_is_of(packet, wifi.station(0));
        assert!(heard.iter().filter(laptops).any(|packet| packet.asks()));
        is_not_named(&stranger, &laptop);
        let Invited { program, .. } = laptop.invite();
        stranger.ask_until_named(laptop.peer_id());
        program.signal("INT");
        let _ = program.end();
        is_not_named(&stranger, &laptop);

        let mut kitchen = at("kitchen", wifi.station(1));
        kitchen.up();
        laptop.pair_with(&kitchen);
        await_connected([&laptop, &kitchen]);
        stranger.ask_until_named(kitchen.peer_id());
        // Where they met each is expected, though the other is away.
        let _ = kitchen.end_by("INT");
        let _ = laptop.end_by("INT");
        laptop.up();
        stranger.ask_until_named(laptop.peer_id());
        // In another network nobody is, and the owner hears what to do.
        move_to(wifi.station(0), "10.78.0.1");
        is_not_named(&stranger, &laptop);
        let told = laptop.program_mut().told("does not announce itself here");
        assert!(told.contains("potluck up --mdns"), "{told}");

        let mut tablet = at("tablet", wifi.station(2)).with(&["--mdns"]);
        tablet.up();
        stranger.ask_until_named(tablet.peer_id());
        assert_the_flag_is_of_the_node(&tablet, &laptop);
    });
}

fn packet_is_of(packet: &Packet, station: &Station) -> bool {
    packet.from == station.address()
}

/// A command that is told `--mdns` does not change a node that was not.
#[track_caller]
fn assert_the_flag_is_of_the_node(with: &Node<'_>, without: &Node<'_>) {
    let pair = ["pair", "--json", "--admit", "--mdns"];
    let _ = without.potluck(&pair).failure(2, &["--mdns"]);
    let refused = without.potluck(&["pair", "--json", "--admit", "--mdns", "--no-mdns"]);
    let _ = refused.failure(2, &["--no-mdns"]);
    let mut pairs = with.start(&pair);
    assert!(pairs.json()["invitation"].is_string());
}

#[test]
fn devices_that_hear_many_strangers_pair_and_are_connected() {
    let test = "announced::devices_that_hear_many_strangers_pair_and_are_connected";
    on_wifi(test, 32, 3, Profile::default(), |wifi| {
        let mut nodes = [("laptop", 0), ("kitchen", 1)]
            .map(|(name, number)| at(name, wifi.station(number)).with(&["-vvv"]));
        for node in &mut nodes {
            node.up();
        }
        let stranger = Stranger::at(wifi.station(2));
        all_are_heard(&stranger, &mut nodes);
        let [laptop, kitchen] = &mut nodes;
        laptop.pair_with(kitchen);
        await_connected([laptop, kitchen]);
        // And found again among them, when neither is where the other knows it.
        let _ = kitchen.end_by("INT");
        move_to(wifi.station(0), "10.77.0.98");
        move_to(wifi.station(1), "10.77.0.99");
        kitchen.up();
        await_connected([laptop, kitchen]);
    });
}

/// Says all strangers' ids until both nodes have heard each of them.
fn all_are_heard(stranger: &Stranger, nodes: &mut [Node<'_>; 2]) {
    let all: Vec<_> = (0..STRANGERS)
        .map(|number| stranger.announcement(number))
        .collect();
    let is_heard = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_heard.load(Ordering::Relaxed) {
                for packet in &all {
                    stranger.say(packet);
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for node in nodes {
                for _ in 0..STRANGERS {
                    let _ = node
                        .program_mut()
                        .told("a device that is not paired was found");
                }
            }
        }));
        is_heard.store(true, Ordering::Relaxed);
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Leaves a station with nothing but nine bridges to programs of the device, as Docker makes them.
fn with_bridges_only(station: &Station) {
    let lines = "ip -4 address flush dev wlan0
         for i in 1 2 3 4 5 6 7 8 9; do
           # A system that makes no bridges has these addresses, too.
           ip link add br$i type bridge 2>/dev/null && ip link set br$i up && on=br$i || on=lo
           ip address add 172.2$i.0.1/16 dev $on
         done";
    shell(station, lines);
}

/// An invitation that has the address of a station, of which a node hears soon.
fn invitation_to(node: &Node<'_>, station: &Station) -> Invited {
    let lan = format!("/ip4/{}/tcp/", station.address());
    wait_for("its network is seen", || {
        let invited = node.invite();
        let invitation: Invitation = invited.text.parse().expect("an invitation");
        let mut addresses = invitation.addresses().iter();
        match addresses.position(|address| address.as_str().starts_with(&lan)) {
            Some(place) => {
                assert_eq!(place, 0, "{:?}", invitation.addresses());
                Some(invited)
            }
            None => {
                invited.program.signal("INT");
                let _ = invited.program.end();
                None
            }
        }
    })
}

#[test]
fn nine_bridges_do_not_hide_a_device_that_invites_and_not_reaching_it_is_one_sentence() {
    let test = "announced::\
                nine_bridges_do_not_hide_a_device_that_invites_and_not_reaching_it_is_one_sentence";
    on_wifi(test, 33, 2, Profile::default(), |wifi| {
        // By the invitation alone.
        let [mut laptop, mut kitchen] = [("laptop", 0), ("kitchen", 1)]
            .map(|(name, number)| at(name, wifi.station(number)).with(&["--no-mdns"]));
        // The nodes hear of the bridges first.
        for (number, node) in [&mut laptop, &mut kitchen].into_iter().enumerate() {
            let station = wifi.station(number);
            with_bridges_only(station);
            node.up();
            move_to(station, &station.address().to_string());
        }
        let invited = invitation_to(&laptop, wifi.station(0));

        wifi.cut(0, 1);
        let output = kitchen.join(&invited.text).failure(1, &["cannot reach"]);
        let lines: Vec<_> = output.stderr.lines().collect();
        let said = lines.last().expect("it says why");
        println!("{said}");
        assert!(said.len() < 250 && lines.len() < 3, "{lines:?}");
        let is_sentence = !said.contains(". ") && said.matches(';').count() < 2;
        assert!(is_sentence && !said.contains("/tcp/"), "{said}");

        wifi.heal(0, 1);
        let joined = kitchen.join(&invited.text).success();
        assert_eq!(joined.last_json()["paired"]["name"], "laptop");
        let _ = invited.program.end().success();
        await_connected([&laptop, &kitchen]);
    });
}
