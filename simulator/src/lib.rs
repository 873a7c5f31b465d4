//! The simulator: the protocol core in virtual time, for two phones or ten thousand.
//!
//! It will model devices, links and mobility around the very machine that real nodes run, with
//! scripted and random faults, and check safety and liveness. Nothing is implemented yet.
#![forbid(unsafe_code)]
