//! Default times where a profile gives none.

use crate::units::{Span, Speed};

/// Of a stage on a phone, where nothing was measured.
pub(super) const STAGE_OVERHEAD: Span = Span(150);
/// Half of what a round trip over a stream of libp2p costs beside the way, as measured on the
/// loopback device: 50 µs for four messages' handling.
pub(super) const MESSAGE_OVERHEAD: Span = Span(15);
/// Four threads are woken on the way from the program that asks to its node and back.
pub(super) const REQUESTER_OVERHEAD: Span = Span(100);
/// Of a file with a vocabulary of fifty thousand.
pub(super) const OPENING: Span = Span(3_000);
/// UFS 3.1, as it is used.
pub(super) const LOAD: Speed = Speed::new(1_000_000_000);
