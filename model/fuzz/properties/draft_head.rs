//! Any bytes are refused as a draft head, or describe one that is bound to a model file.

use potluck_model::HeadFile;

/// Panics on an input that violates the property.
pub(super) fn check(input: &[u8]) {
    let Ok(head) = HeadFile::parse(input.to_vec()) else {
        return;
    };
    assert_eq!(head.base_sha256().len(), 64);
    assert!(head.base_bytes() > 0);
    assert!(head.check_base(head.base_sha256()).is_ok());
    assert!(head.check_base("another").is_err());
}
