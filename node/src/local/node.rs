//! The node that a home's commands use.

use super::message::NodeSettings;
use super::views::Names;
use crate::manifest::{KnownFiles, ManifestCache};
use crate::net::{Node, NodeError};

/// A node and the model files of its home.
#[derive(Clone)]
pub struct LocalNode {
    /// The node.
    pub node: Node,
    /// The files that its stages may use.
    pub files: KnownFiles,
    /// Cached manifests of model files.
    pub manifests: ManifestCache,
    /// The settings it was started with.
    pub settings: NodeSettings,
}

impl LocalNode {
    /// The names of the circle's devices.
    pub(super) fn names(&self) -> Result<Names, NodeError> {
        let members = self.node.members()?.into_iter();
        let members = members.map(|(member, _)| (member.peer, member.name.as_str().to_owned()));
        Ok(Names {
            this_device: self.node.peer_id(),
            members: members.collect(),
        })
    }
}
