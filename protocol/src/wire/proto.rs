//! What `build.rs` makes of `proto/potluck.proto`: as it came, nothing checked.
#![allow(missing_docs, unreachable_pub, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/potluck.v1.rs"));
