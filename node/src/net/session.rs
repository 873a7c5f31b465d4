//! Handles of a running node: a session over its peers, and the owner's own work beside it.

use std::sync::mpsc::Receiver;

use potluck_protocol::SessionId;
use potluck_protocol::machine::{Request, StartError};
use potluck_protocol::session::{SessionEvent, SubmitError};
use potluck_protocol::wire::Answer;

use super::node::Node;
use super::report::NodeError;

impl Node {
    /// Marks this device's owner as busy until the result is dropped. Steps for other devices wait
    /// longer meanwhile.
    ///
    /// # Errors
    /// The node has stopped.
    pub fn owner_work(&self) -> Result<OwnerWork, NodeError> {
        self.ask(|driver| driver.owner_computes(true))?;
        Ok(OwnerWork(self.clone()))
    }

    /// Begins a session, whose events the receiver gets.
    ///
    /// # Errors
    /// The node has stopped; the inner result says why the session cannot begin.
    pub fn start_session(
        &self,
        request: Request,
    ) -> Result<Result<(NodeSession, Receiver<SessionEvent>), StartError>, NodeError> {
        let id = request.id;
        let (tell, events) = std::sync::mpsc::channel();
        let started = self.ask(move |driver| {
            let now = driver.now();
            driver.machine.start(now, request)?;
            driver.add_session(id, tell);
            Ok(())
        })?;
        let session = NodeSession {
            node: self.clone(),
            id,
        };
        Ok(started.map(|()| (session, events)))
    }
}

/// Work of this device's owner beside the node; it ends when this is dropped.
pub struct OwnerWork(pub(super) Node);

impl Drop for OwnerWork {
    fn drop(&mut self) {
        // A stopped node has nothing to be told.
        let _ = self.0.ask(|driver| driver.owner_computes(false));
    }
}

/// A session over the circle's devices. Dropping it frees its stages.
pub struct NodeSession {
    pub(super) node: Node,
    pub(super) id: SessionId,
}

impl NodeSession {
    /// Sends hidden states, `[rows, d_model]` in little-endian `f32`, through all layers.
    ///
    /// # Errors
    /// The node has stopped; the inner result says why the rows cannot be sent now.
    pub fn submit(
        &self,
        start_position: u32,
        rows: u32,
        answer: Answer,
        hidden: Vec<u8>,
    ) -> Result<Result<(), SubmitError>, NodeError> {
        let id = self.id;
        self.node.ask(move |driver| {
            let now = driver.now();
            driver
                .machine
                .submit(now, id, start_position, rows, answer, hidden)
        })
    }

    /// Drops the positions from `position` on; [`SessionEvent::RolledBack`] follows.
    ///
    /// # Errors
    /// The node has stopped.
    pub fn roll_back(&self, position: u32) -> Result<(), NodeError> {
        let id = self.id;
        self.node.ask(move |driver| {
            let now = driver.now();
            driver.machine.roll_back(now, id, position);
        })
    }
}

impl Drop for NodeSession {
    fn drop(&mut self) {
        let id = self.id;
        // A stopped node has no sessions.
        let _ = self.node.ask(move |driver| driver.finish(id));
    }
}
