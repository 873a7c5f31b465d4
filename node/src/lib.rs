//! Potluck node.
