//! Ids of tool calls.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Nine letters and digits: some templates accept no other call ids.
const LENGTH: usize = 9;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62⁹
const IDS: u64 = 62_u64.pow(LENGTH as u32);
/// Odd and not a multiple of 31, so multiplying by it permutes the ids.
const STRIDE: u64 = 6_364_136_223_846_793;

static GIVEN: AtomicU64 = AtomicU64::new(0);
static START: OnceLock<u64> = OnceLock::new();

/// An id that is unique on this node, and almost certainly among all nodes.
pub(super) fn next() -> String {
    // The standard library's hash keys are random; nothing here needs secrecy.
    let start = *START.get_or_init(|| RandomState::new().hash_one(0));
    id(start, GIVEN.fetch_add(1, Ordering::Relaxed))
}

fn id(start: u64, number: u64) -> String {
    let place = u128::from(start) + u128::from(number) * u128::from(STRIDE);
    let mut place = place % u128::from(IDS);
    let mut id = [0; LENGTH];
    for digit in &mut id {
        *digit = DIGITS[(place % 62) as usize];
        place /= 62;
    }
    id.map(char::from).iter().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_different_and_nine_letters_or_digits() {
        assert!(STRIDE % 2 == 1 && !STRIDE.is_multiple_of(31));
        let ids: HashSet<_> = (0..10_000).map(|number| id(u64::MAX, number)).collect();
        assert_eq!(ids.len(), 10_000);
        let usual = |id: &String| id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric());
        assert!(ids.iter().all(usual));
        assert_ne!(next(), next());
    }
}
