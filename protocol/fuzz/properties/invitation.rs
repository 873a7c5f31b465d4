//! Any text is refused as an invitation, or has one form; with a right checksum, too.

use blake2::{Blake2s256, Digest};
use potluck_protocol::pairing::{Invitation, InvitationError};

/// Panics on an input that violates the property.
pub(super) fn check(input: &[u8]) {
    let with_prefix = str::from_utf8(input).map(|text| format!("POTLUCK:{text}"));
    for text in [str::from_utf8(input).map(String::from), with_prefix] {
        match text.map(|text| text.parse::<Invitation>()) {
            Ok(Ok(invitation)) => comes_back(&invitation),
            Ok(Err(error)) => assert!(!error.to_string().is_empty()),
            Err(_) => {}
        }
    }
    let text = with_checksum(input);
    match text.parse::<Invitation>() {
        Ok(invitation) => {
            comes_back(&invitation);
            assert_eq!(invitation.to_string(), text);
        }
        Err(InvitationError::TooLong) => assert!(text.len() > Invitation::MAX_TEXT_BYTES),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn comes_back(invitation: &Invitation) {
    assert!(invitation.addresses().len() <= Invitation::MAX_ADDRESSES);
    assert_eq!(invitation.to_string().parse(), Ok(invitation.clone()));
}

fn with_checksum(body: &[u8]) -> String {
    let hash = Blake2s256::new()
        .chain_update(b"potluck invitation\0")
        .chain_update(body)
        .finalize();
    let bits: Vec<bool> = [body, &hash[..4]]
        .concat()
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
        .collect();
    let letters = bits.chunks(5).map(|five| {
        let value = (0..5).fold(0, |value, i| {
            2 * value + usize::from(five.get(i) == Some(&true))
        });
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"[value])
    });
    format!("POTLUCK:{}", letters.collect::<String>())
}
