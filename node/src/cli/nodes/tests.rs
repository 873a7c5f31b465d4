//! Tests of the options that a running node was started with.

use super::*;

#[test]
fn what_a_running_node_was_not_told_is_found() {
    let address = |port| format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("one");
    let args = NodeArgs {
        listen: vec![address(1)],
        no_mdns: true,
        mdns: false,
        peer: vec![address(2)],
        memory: Some(5),
        quiet: false,
        packed: None,
    };
    let stored = |quota| {
        let home = Home::at("nowhere");
        NodeArgs {
            packed: Some(PackedStore::of(&home, quota, |_| ())),
            ..args.clone()
        }
    };
    let same = args.settings(Some(2));
    assert_eq!(args.unknown_to(Some(2), &same), None);
    assert_eq!(args.unknown_to(None, &same), None);
    assert_eq!(args.unknown_to(Some(1), &same), Some("--threads"));
    let other = |change: fn(&mut NodeSettings)| {
        let mut other = same.clone();
        change(&mut other);
        args.unknown_to(Some(2), &other)
    };
    assert_eq!(other(|node| node.listen.clear()), Some("--listen"));
    assert_eq!(other(|node| node.no_mdns = false), Some("--no-mdns"));
    assert_eq!(other(|node| node.peers.clear()), Some("--peer"));
    assert_eq!(other(|node| node.memory = None), Some("--memory"));
    assert_eq!(other(|node| node.threads = None), Some("--threads"));
    // Weights that the other command's node packs.
    assert_eq!(other(|node| node.no_pack = false), Some("--no-pack"));
    let small = stored(Some(7));
    assert_eq!(small.unknown_to(Some(2), &small.settings(Some(2))), None);
    assert_eq!(small.unknown_to(Some(2), &same), Some("--packed"));
    assert_eq!(stored(None).unknown_to(Some(2), &same), None);
}
