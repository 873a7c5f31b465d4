//! Any bytes are refused as a log, a batch and a digest, or come back as they were.

use std::sync::LazyLock;

use potluck_protocol::circle::{Circle, DeviceName, Digest, Identity};
use potluck_protocol::pairing::Introduction;

static CIRCLE: LazyLock<Circle> = LazyLock::new(|| {
    let [anna, ben] = [1, 2].map(|seed| Identity::from_seed(&[seed; 32]));
    let name = DeviceName::new("device").expect("a name");
    let mut circle = Circle::found(&anna, &name, [0; 16]);
    circle.admit(&anna, ben.peer_id(), &name).expect("admitted");
    circle.revoke(&ben, anna.peer_id()).expect("revoked");
    circle
});

/// Panics on an input that violates the property.
pub(super) fn check(bytes: &[u8]) {
    if let Ok(circle) = Circle::from_log(bytes) {
        // An entry that is there twice counts once.
        let log = circle.to_log();
        assert!(log.len() <= bytes.len());
        assert_eq!(Circle::from_log(&log).expect("a log").to_log(), log);
    }
    for merge in [Circle::merge, Circle::merge_log] {
        let mut circle = CIRCLE.clone();
        match merge(&mut circle, bytes) {
            Ok(merged) if merged.added == 0 => assert_eq!(circle.to_log(), CIRCLE.to_log()),
            Ok(_) => assert!(Circle::from_log(&circle.to_log()).is_ok()),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    if let Ok(digest) = Digest::from_bytes(bytes) {
        assert_eq!(digest.to_bytes(), bytes);
        for batch in CIRCLE.batches_for(&digest) {
            assert_eq!(CIRCLE.clone().merge(&batch).expect("a batch").added, 0);
        }
    }
    if let Ok(introduction) = Introduction::from_bytes(bytes) {
        assert!(bytes.starts_with(&introduction.to_bytes()));
    }
}
