//! A device that serves programs with the devices that it is paired with.

use std::ops::Deref;
use std::path::Path;

use crate::circle::{Node, Program, knows, wait_until};
use crate::{Device, Output, Served, model_path};

/// A device that serves, and the nodes of other devices that help it. All have the default model.
pub struct ServedCircle {
    served: Served,
    helpers: Vec<Node<'static>>,
}

impl Deref for ServedCircle {
    type Target = Served;

    fn deref(&self) -> &Served {
        &self.served
    }
}

impl ServedCircle {
    /// Starts a device that serves with these options, and helpers of these names, each of which may take
    /// so much memory; pairs them, and waits until they are connected.
    ///
    /// # Panics
    /// When any of that fails.
    pub fn start(helpers: &[&str], memory: &str, options: &[&str]) -> Self {
        let model = model_path("smollm2:135m");
        let device = Device::with_model("smollm2:135m");
        let options: Vec<_> = ["--threads", "1"].iter().chain(options).copied().collect();
        let served = Served::start(device, &options);
        let helper = |name: &&str| Self::helper(name, &model).with(&["--memory", memory]);
        let mut circle = Self {
            served,
            helpers: helpers.iter().map(helper).collect(),
        };
        for at in 0..circle.helpers.len() {
            circle.helpers[at].up();
            circle.pair_with(&circle.helpers[at]);
        }
        circle.await_connected();
        circle
    }

    fn helper(name: &str, model: &Path) -> Node<'static> {
        Node::new(name).with_model(model)
    }

    fn pair_with(&self, other: &Node<'_>) {
        let arguments = ["pair", "--json", "--admit", "--name", "laptop"];
        let command = self.served.device().command(arguments);
        let mut program = Program::start("pair", command);
        let invitation = program.json()["invitation"].clone();
        let _ = other
            .join(invitation.as_str().expect("an invitation"))
            .success();
        let _ = program.end().success();
    }

    /// Waits until all helpers that run are connected, and what they can do is known.
    ///
    /// # Panics
    /// When that does not come.
    pub fn await_connected(&self) {
        wait_until("all helpers are connected", || {
            let told = self
                .served
                .device()
                .potluck(["peers", "--json"])
                .success()
                .json();
            let running = self.helpers.iter().filter(|helper| helper.is_up());
            let mut names = running.map(Node::name);
            match names.all(|name| knows(&told["members"], name)) {
                true => Ok(()),
                false => Err(told),
            }
        });
    }

    /// A helper by its name.
    ///
    /// # Panics
    /// When there is none.
    pub fn helper_mut(&mut self, name: &str) -> &mut Node<'static> {
        let found = self.helpers.iter_mut().find(|node| node.name() == name);
        found.expect("tests name their nodes")
    }

    /// Waits for the end of the device that serves.
    pub fn end(self) -> Output {
        let Self { served, helpers } = self;
        let output = served.end();
        drop(helpers);
        output
    }

    /// Starts a helper again that was killed, and waits until it is connected.
    ///
    /// # Panics
    /// When it does not come.
    pub fn revive(&mut self, name: &str) {
        self.helper_mut(name).up();
        self.await_connected();
    }
}
