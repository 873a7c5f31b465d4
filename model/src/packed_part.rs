//! What of a model is packed together, and the version of its layout.

use std::fmt;

/// Changes with the layout: files of another version are made again.
pub(crate) const VERSION: u32 = 1;

/// What is packed together, and exchanged between two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PackedPart {
    /// The matrices of a layer, numbered as in the whole model.
    Layer(usize),
    /// The output matrix.
    Head,
}

impl fmt::Display for PackedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer(layer) => write!(f, "layer {layer}"),
            Self::Head => f.write_str("the head"),
        }
    }
}

impl PackedPart {
    /// The name of its file, which tells the version of the layout: `layer-0003.v1`.
    pub fn file_name(self) -> String {
        match self {
            Self::Layer(layer) => format!("layer-{layer:04}.v{VERSION}"),
            Self::Head => format!("head.v{VERSION}"),
        }
    }
}
