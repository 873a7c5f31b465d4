//! Which device a person means, and what can be done with it.

use potluck_protocol::PeerId;

use super::views::Names;

/// The device that a person means: by its name, its PeerId, or `self`.
pub(super) fn device(names: &Names, me: PeerId, text: &str) -> Option<PeerId> {
    if text == "self" {
        return Some(me);
    }
    if let Ok(peer) = text.parse() {
        return names.contains_key(&peer).then_some(peer);
    }
    let mut named = names.iter().filter(|(_, name)| *name == text);
    match (named.next(), named.next()) {
        (Some((peer, _)), None) => Some(*peer),
        // Two devices of one name are told apart by their ids.
        _ => None,
    }
}

/// Why no device is meant by what a person wrote.
pub(super) fn why_nobody(names: &Names, text: &str) -> String {
    match names.values().filter(|name| *name == text).count() {
        0 => format!("no device is called {text:?}: `potluck peers` lists names and ids"),
        _ => {
            format!("several devices are called {text:?}: give the id, as `potluck peers` lists it")
        }
    }
}

/// Why this device cannot leave its circle, if it cannot. Those that it let in may still be removed.
pub(super) fn why_not_to_leave(names: &Names, me: PeerId, with_admitted: bool) -> Option<String> {
    if !names.contains_key(&me) && !with_admitted {
        return Some(
            "this device is in no circle: `potluck circle new` begins one, and `potluck pair` joins \
             another's"
                .to_owned(),
        );
    }
    (names.len() == 1 && names.contains_key(&me)).then(|| {
        "this device is alone in its circle, so there is none to leave: `potluck circle new` begins \
         another"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_device_is_meant_by_its_name_or_id_if_that_is_clear() {
        let peer = |byte| PeerId::from_public_key([byte; 32]);
        let mut names: Names = BTreeMap::new();
        names.insert(peer(1), "kitchen".to_owned());
        names.insert(peer(2), "tablet".to_owned());
        names.insert(peer(3), "tablet".to_owned());
        // As only a device of another program calls itself.
        names.insert(peer(5), "self".to_owned());
        let meant = |text: &str| device(&names, peer(1), text);
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
        let peer = |byte| PeerId::from_public_key([byte; 32]);
        let names = |bytes: &[u8]| bytes.iter().map(|&b| (peer(b), b.to_string())).collect();
        let why = |bytes: &[u8], admitted| why_not_to_leave(&names(bytes), peer(1), admitted);
        assert_eq!(why(&[1, 2], false), None);
        assert!(why(&[1], false).is_some_and(|why| why.contains("alone in its circle")));
        assert!(why(&[2, 3], false).is_some_and(|why| why.contains("in no circle")));
        assert_eq!(why(&[2, 3], true), None);
    }
}
