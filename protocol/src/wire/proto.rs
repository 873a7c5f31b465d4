//! Types that `build.rs` generates from `proto/potluck.proto`, unchecked.
#![allow(missing_docs, unreachable_pub, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/potluck.v1.rs"));
