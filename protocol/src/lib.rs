//! The protocol core that paired devices speak: pairing, placement, sessions, recovery.
//!
//! It will be one sans-IO state machine (`handle_input`, `handle_timeout`, `poll_output`,
//! `poll_timeout`), driven alike by the node's sockets and by the simulator's virtual time. It has
//! no clock, randomness, threads, sockets or unordered iteration, and never will. Nothing is
//! implemented yet.
#![forbid(unsafe_code)]
