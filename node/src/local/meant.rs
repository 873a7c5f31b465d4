//! Resolves the device that a person names, and whether it can leave its circle.

use potluck_protocol::PeerId;

use super::views::Names;

/// Resolves a device by its name, its PeerId, or `self`.
pub(super) fn device(names: &Names, text: &str) -> Option<PeerId> {
    if text == "self" {
        return Some(names.this_device);
    }
    if let Ok(peer) = text.parse() {
        return names.members.contains_key(&peer).then_some(peer);
    }
    let mut named = names.members.iter().filter(|(_, name)| *name == text);
    match (named.next(), named.next()) {
        (Some((peer, _)), None) => Some(*peer),
        // If two devices share a name, only their ids are unambiguous.
        _ => None,
    }
}

/// Explains why a text names no device.
pub(super) fn why_nobody(names: &Names, text: &str) -> String {
    match names.members.values().filter(|name| *name == text).count() {
        0 => format!("no device is called {text:?}: `potluck peers` lists names and ids"),
        _ => {
            format!("several devices are called {text:?}: give the id, as `potluck peers` lists it")
        }
    }
}

/// Why this device cannot leave its circle, if it cannot. Devices that it admitted may still be
/// removed.
pub(super) fn why_not_to_leave(names: &Names, with_admitted: bool) -> Option<String> {
    if !names.has_this_device() && !with_admitted {
        return Some(
            "this device is in no circle: `potluck circle new` begins one, and `potluck pair` joins \
             another's"
                .to_owned(),
        );
    }
    (names.members.len() == 1 && names.has_this_device()).then(|| {
        "this device is alone in its circle, so there is none to leave: `potluck circle new` begins \
         another"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(byte: u8) -> PeerId {
        PeerId::from_public_key([byte; 32])
    }

    /// The names as device 1 knows them.
    fn names(members: &[(u8, &str)]) -> Names {
        let members = members.iter();
        Names {
            this_device: peer(1),
            members: members
                .map(|&(b, name)| (peer(b), name.to_owned()))
                .collect(),
        }
    }

    #[test]
    fn a_device_is_meant_by_its_name_or_id_if_that_is_clear() {
        let names = names(&[
            (1, "kitchen"),
            (2, "tablet"),
            (3, "tablet"),
            // Only a different implementation could have this name.
            (5, "self"),
        ]);
        let meant = |text: &str| device(&names, text);
        assert_eq!(meant("self"), Some(peer(1)));
        assert_eq!(meant("kitchen"), Some(peer(1)));
        assert_eq!(meant("tablet"), None);
        assert_eq!(meant(&peer(3).to_string()), Some(peer(3)));
        assert_eq!(meant(&peer(4).to_string()), None);
        assert_eq!(meant(&peer(5).to_string()), Some(peer(5)));
        assert_eq!(meant("garage"), None);
        assert!(why_nobody(&names, "tablet").starts_with("several devices are called \"tablet\""));
        assert!(why_nobody(&names, "garage").starts_with("no device is called \"garage\""));
    }

    #[test]
    fn this_device_leaves_only_a_circle_that_it_is_in_with_others() {
        let why = |members: &[(u8, &str)], admitted| why_not_to_leave(&names(members), admitted);
        assert_eq!(why(&[(1, "a"), (2, "b")], false), None);
        let alone = why(&[(1, "a")], false);
        assert!(alone.is_some_and(|why| why.contains("alone in its circle")));
        let removed = [(2, "b"), (3, "c")];
        assert!(why(&removed, false).is_some_and(|why| why.contains("in no circle")));
        assert_eq!(why(&removed, true), None);
    }
}
