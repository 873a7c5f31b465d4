//! What a program holds of a running node: a conversation, and its own work beside the node.

use std::sync::mpsc::Receiver;

use potluck_protocol::SessionId;
use potluck_protocol::machine::{Request, StartError};
use potluck_protocol::session::{SessionEvent, SubmitError};
use potluck_protocol::wire::Answer;

use super::node::Node;
use super::report::NodeError;

impl Node {
    /// This device's owner computes something beside the node until this is dropped: others for whom
    /// stages are computed here wait more.
    ///
    /// # Errors
    /// It has stopped.
    pub fn owner_work(&self) -> Result<OwnerWork, NodeError> {
        self.ask(|driver| driver.owner_computes(true))?;
        Ok(OwnerWork(self.clone()))
    }

    /// Begins a conversation; the receiver is told what comes of it.
    ///
    /// # Errors
    /// It has stopped; in the inner result, why it cannot begin.
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

/// Something that is computed for this device's owner beside the node.
pub struct OwnerWork(pub(super) Node);

impl Drop for OwnerWork {
    fn drop(&mut self) {
        // A node that has stopped computes for nobody.
        let _ = self.0.ask(|driver| driver.owner_computes(false));
    }
}

/// A conversation over the circle's devices. Dropping it frees its stages.
pub struct NodeSession {
    pub(super) node: Node,
    pub(super) id: SessionId,
}

impl NodeSession {
    /// Sends rows through all layers.
    ///
    /// # Errors
    /// The node has stopped; in the inner result, why the rows cannot go now.
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

    /// Drops the positions from `position` on: [`SessionEvent::RolledBack`] comes.
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
        // One that has stopped has no sessions.
        let _ = self.node.ask(move |driver| driver.finish(id));
    }
}
