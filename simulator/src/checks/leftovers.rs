//! Devices free what they hold of a session that has ended or moved to others.

use super::Finding;

/// How long that may take, in microseconds: a peer that disappeared is noticed after 15 s, and
/// what it asked for stays for 30 s.
const WITHIN: u64 = 60_000_000;

/// What a host holds of a session that does not go over it any more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leftover {
    pub(crate) host: u32,
    pub(crate) session: usize,
    pub(crate) requester: u32,
    /// When it ended, or was placed elsewhere.
    pub(crate) since: u64,
}

/// What is held, where its device and requester were last disturbed then. Each is found once.
#[derive(Debug, Default)]
pub(super) struct Leftovers(Vec<(u32, usize)>);

impl Leftovers {
    pub(super) fn check(
        &mut self,
        now: u64,
        disturbed_at: u64,
        leftover: &Leftover,
    ) -> Option<Finding> {
        let named = (leftover.host, leftover.session);
        let held = now.saturating_sub(disturbed_at.max(leftover.since));
        if held <= WITHIN || self.0.contains(&named) {
            return None;
        }
        self.0.push(named);
        let words = format!(
            "it still holds its stage {} s after the session ended or was placed elsewhere",
            held / 1_000_000
        );
        let finding = Finding::of_device("leftovers", leftover.host, words);
        Some(Finding {
            session: Some(leftover.session),
            ..finding
        })
    }
}
