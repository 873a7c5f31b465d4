//! Devices of a test that run nodes, pair, and compute together: real processes, each with a home of
//! its own, that share nothing but a network.
//!
//! - `node`: a device and its `potluck up`. `program`: a process of the test's, whose lines are read
//!   as they come and which ends with it. `answer`: what `run --json` says.

mod answer;
mod node;
mod program;

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::Value;

pub use answer::{Answer, Recovery, undisturbed};
pub(crate) use node::measurements;
pub use node::{Invited, Node, Place};
pub use program::Program;

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Paired nodes, all of which run when it starts.
pub struct Circle<'w> {
    nodes: Vec<Node<'w>>,
}

impl<'w> Circle<'w> {
    /// Starts these nodes, pairs all others with the first, and waits until each is connected to
    /// each. The others are told nothing of each other: that is the first one's to do.
    ///
    /// # Panics
    /// When any of that fails.
    pub fn start(mut nodes: Vec<Node<'w>>) -> Self {
        for node in &mut nodes {
            node.up();
        }
        let (first, others) = nodes.split_first().expect("a circle has members");
        for other in others {
            first.pair_with(other);
        }
        let circle = Self { nodes };
        circle.await_connected();
        circle
    }

    /// A member by its name.
    ///
    /// # Panics
    /// When there is none.
    #[track_caller]
    pub fn node(&self, name: &str) -> &Node<'w> {
        let found = self.nodes.iter().find(|node| node.name() == name);
        found.expect("tests name their nodes")
    }

    /// As [`Self::node`].
    #[track_caller]
    pub fn node_mut(&mut self, name: &str) -> &mut Node<'w> {
        let found = self.nodes.iter_mut().find(|node| node.name() == name);
        found.expect("tests name their nodes")
    }

    /// Waits until every node that runs knows all others that run, the way to them and what they
    /// can do.
    ///
    /// # Panics
    /// When that does not come.
    pub fn await_connected(&self) {
        let running = || self.nodes.iter().filter(|node| node.is_up());
        for node in running() {
            let others: Vec<_> = running()
                .filter(|other| other.name() != node.name())
                .map(Node::name)
                .collect();
            let all = |members: &Value| others.iter().all(|name| knows(members, name));
            node.await_members("all are connected", all);
        }
    }
}

/// Whether a node that has these members is connected to one, and knows what it can do.
pub(crate) fn knows(members: &Value, name: &str) -> bool {
    let member = member(members, name);
    member.is_some_and(|member| {
        member["connected"] == true && !member["link"].is_null() && !member["profile"].is_null()
    })
}

/// One of these members, by its name.
pub fn member<'v>(members: &'v Value, name: &str) -> Option<&'v Value> {
    let mut all = members.as_array().into_iter().flatten();
    all.find(|member| member["name"] == name)
}

/// Waits until something is there.
///
/// # Panics
/// When it does not come.
#[track_caller]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    wait_until(what, || look().ok_or("nothing"))
}

/// As [`wait_for`], and says what was there instead.
///
/// # Panics
/// When it does not come.
#[track_caller]
pub(crate) fn wait_until<T, S: fmt::Display>(
    what: &str,
    mut look: impl FnMut() -> Result<T, S>,
) -> T {
    let start = Instant::now();
    loop {
        let instead = match look() {
            Ok(found) => return found,
            Err(instead) => instead,
        };
        assert!(
            start.elapsed() < PATIENCE,
            "waited in vain: {what}; there was {instead:#}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
