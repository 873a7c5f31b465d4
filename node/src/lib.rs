//! Potluck's node.
mod cancel;
pub mod catalogue;
pub mod home;
pub use cancel::Cancel;
