//! What `serve --share` says to all of its network, on an emulated Wi-Fi.

use std::time::Duration;

use potluck_tests::circle::{Node, Program};
use potluck_tests::mdns::Stranger;
use potluck_tests::wifi::{Profile, on_wifi};

use crate::Model;

const SERVICE: &str = "_potluck-api";
/// How long nothing must be said to say that nothing is: it is said within two seconds of the start.
const QUIET: Duration = Duration::from_secs(3);

#[test]
fn a_shared_api_is_announced_while_it_is_shared_and_not_on_loopback_or_against_the_owners_wish() {
    let test = "shared::\
                a_shared_api_is_announced_while_it_is_shared_and_not_on_loopback_or_against_the_owners_wish";
    on_wifi(test, 47, 2, Profile::default(), |wifi| {
        let stranger = Stranger::at(wifi.station(1));
        let station = wifi.station(0);
        let kitchen = Node::at("kitchen", Box::new(|binary| station.command(binary)));
        let model = Model::quick().path.to_str().expect("UTF-8");
        let serve = |options: &[&str]| -> (Program, String) {
            let always = ["serve", "--http", "127.0.0.1:0", "--json", "--model", model];
            let mut program = kitchen.start(&[&always, options].concat());
            let ready = program.json();
            let fingerprint = ready["share"]["fingerprint"].as_str();
            (program, fingerprint.unwrap_or_default().to_owned())
        };
        for silent in [
            &[][..],
            &["--share", "--no-mdns"],
            &["--share", "--share-at", "127.0.0.1:0"],
        ] {
            let (program, _) = serve(silent);
            let heard = stranger.ask(QUIET);
            assert!(
                !heard.iter().any(|packet| packet.names(SERVICE)),
                "{silent:?}"
            );
            program.signal("TERM");
            let _ = program.end();
        }
        let (program, fingerprint) = serve(&["--share"]);
        assert_eq!(fingerprint.len(), 64);
        stranger.ask_until_named(SERVICE);
        stranger.ask_until_named(&format!("fingerprint={fingerprint}"));
        program.signal("TERM");
        let _ = program.end();
        // Its farewell may still be on its way.
        let _ = stranger.ask(Duration::from_millis(500));
        let heard = stranger.ask(QUIET);
        assert!(
            !heard.iter().any(|packet| packet.names(SERVICE)),
            "it is shared no more"
        );
    });
}
