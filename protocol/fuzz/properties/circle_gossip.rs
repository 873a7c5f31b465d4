//! Whatever members, honest or not, write, say and damage on the way, all agree in the end.
//!
//! Two bytes of the input are a step: what and to whom, and a detail.

use potluck_protocol::circle::{Circle, DeviceName, Identity};

const DEVICES: usize = 5;

/// Panics on an input that violates the property.
pub(super) fn check(steps: &[u8]) {
    let identities: [_; DEVICES] = std::array::from_fn(|i| Identity::from_seed(&[i as u8 + 1; 32]));
    let name = DeviceName::new("device").expect("a name");
    let mut founded = Circle::found(&identities[0], &name, [0; 16]);
    for identity in &identities[1..3] {
        let admitted = founded.admit(&identities[0], identity.peer_id(), &name);
        admitted.expect("there is room");
    }
    let mut circles = vec![founded; DEVICES];

    for step in steps.chunks_exact(2).take(100) {
        let who = usize::from(step[0] >> 2) % DEVICES;
        let other = usize::from(step[1]) % DEVICES;
        let peer = identities[other].peer_id();
        // What makes no sense is refused.
        match step[0] & 3 {
            0 => drop(circles[who].admit(&identities[who], peer, &name)),
            1 if step[1] >= 128 => drop(circles[who].expel(&identities[who], peer)),
            1 => drop(circles[who].revoke(&identities[who], peer)),
            2 => drop(circles[who].rename(&identities[who], &name)),
            _ => {
                let digest = circles[who].digest();
                for mut batch in circles[other].batches_for(&digest) {
                    if step[1] >= 128 {
                        let at = usize::from(step[1]) * 31 % batch.len();
                        batch[at] ^= step[0];
                    }
                    let _ = circles[who].merge(&batch);
                }
            }
        }
    }

    let mut all = circles[0].clone();
    for circle in &circles[1..] {
        all.merge_log(&circle.to_log()).expect("a log");
    }
    for mut circle in circles {
        circle.merge_log(&all.to_log()).expect("a log");
        assert!(circle.members().eq(all.members()));
        assert_eq!(circle.entries().len(), all.entries().len());
        let stored = Circle::from_log(&circle.to_log()).expect("a log");
        assert!(stored.members().eq(all.members()));
    }
}
