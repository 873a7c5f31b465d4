//! Conversations with a small random model.
