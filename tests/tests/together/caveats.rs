//! What stands behind a device's figures is said where they are used.

use std::fs;

use potluck_tests::circle::Node;
use serde_json::Value;

use crate::Model;

/// A node that remembers that it was measured while it was busy, or not.
fn measured(while_busy: bool) -> Node<'static> {
    let mut node = Node::new("laptop");
    let path = node.home().join("measurements.json");
    let text = fs::read(&path).expect("it was measured");
    let mut measured: Value = serde_json::from_slice(&text).expect("JSON");
    measured["measured_while_busy"] = while_busy.into();
    fs::write(&path, measured.to_string()).expect("written");
    node.up();
    node
}

#[test]
fn a_plan_says_that_rates_were_measured_while_the_device_was_busy() {
    let model = Model::quick().path.to_str().expect("a path of text");
    for while_busy in [true, false] {
        let node = measured(while_busy);
        let plan = node.potluck(&["plan", model, "--json"]).success().json();
        let caveats = &plan["caveats"];
        assert_eq!(caveats["measured_while_busy"], while_busy, "{plan}");
        let told = node.potluck(&["plan", model]).success().stdout;
        let words = "measured while this device was busy: rates may be too low";
        assert_eq!(told.contains(words), while_busy, "{told}");
        // Heat is told of, or it is told that it is not known.
        let not_known = caveats["heat_not_known"] == true;
        assert_eq!(told.contains("heat: not known"), not_known, "{told}");
    }
}
