//! Logs as devices store them: with an entry twice, or from when the bounds were others.

use super::*;

/// The bytes of a log of these entries, whatever they are.
fn log_of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Vec<u8> {
    let mut log = vec![1];
    for entry in entries {
        gossip::write_entry(&mut log, &entry.to_bytes());
    }
    log
}

/// More of the entries that `act` gives than are taken today, each by the founder after the one
/// before it, as an earlier version wrote them after the founding.
fn earlier(count: u32, act: impl Fn(u32) -> Act) -> Vec<Entry> {
    let founder = circle_of(1);
    let mut entries: Vec<_> = founder.entries().cloned().collect();
    for sequence in 1..=count {
        let parent = entries.last().expect("entries").hash();
        let entry = Entry::sign(&identity(0), sequence, vec![parent], act(sequence));
        entries.push(entry);
    }
    entries
}

#[test]
fn an_expulsion_that_is_repeated_is_written_once() {
    let mut a = circle_of(3);
    let first = a.expel(&identity(0), peer(2)).expect("a member");
    let count = a.entries().len();
    let log = a.to_log();
    assert_eq!(a.expel(&identity(0), peer(2)), Ok(first));
    assert_eq!((a.entries().len(), a.to_log()), (count, log));
    // Others read what it says of it, and all that is written after it.
    let digest = a.digest();
    assert_eq!(Digest::from_bytes(&digest.to_bytes()), Ok(digest));
    admit(&mut a, 0, 4);
    for read in [Circle::from_log, Circle::from_peers_log] {
        let read = read(&a.to_log()).expect("a log");
        assert_eq!(members(&read), [0, 1, 4]);
    }
    let mut b = circle_of(3);
    assert_eq!(tell(&a, &mut b).refused, []);
    assert_eq!(members(&b), [0, 1, 4]);
    // Who was let in anew is expelled anew.
    admit(&mut a, 1, 2);
    let again = a.expel(&identity(0), peer(2)).expect("a member");
    assert!(again != first && members(&a) == [0, 1, 4]);
}

#[test]
fn an_entry_that_a_log_has_twice_counts_once() {
    let mut a = circle_of(3);
    a.expel(&identity(0), peer(2)).expect("a member");
    let twice: Vec<_> = a.entries().flat_map(|entry| [entry, entry]).collect();
    let log = log_of(twice);
    for read in [Circle::from_log, Circle::from_peers_log] {
        let read = read(&log).expect("a log");
        assert_eq!(read.to_log(), a.to_log());
        let digest = read.digest();
        assert_eq!(Digest::from_bytes(&digest.to_bytes()), Ok(digest));
    }
    let mut b = circle_of(3);
    let merged = b.merge_log(&log).expect("a log");
    assert_eq!((merged.added, merged.known), (1, 7));
}

#[test]
fn a_log_from_before_the_bounds_is_read_by_who_stored_it_and_by_nobody_else() {
    let names = earlier(40, |n| Act::Rename {
        name: name(&format!("name {n}")),
    });
    // One device that comes and goes.
    let admissions = earlier(300, |n| {
        let peer = peer(1);
        if n % 2 == 0 {
            return Act::Revoke { peer };
        }
        let name = name("guest");
        Act::Admit { peer, name }
    });
    for (entries, refused) in [
        (names, EntryError::TooManyNames),
        (admissions, EntryError::AuthorFull),
    ] {
        let log = log_of(&entries);
        let mut read = Circle::from_log(&log).expect("this device's own");
        assert_eq!((read.to_log(), members(&read)), (log.clone(), vec![0]));
        let why = Circle::from_peers_log(&log).expect_err("too many");
        assert!(
            matches!(why, LogError::Entry { why, .. } if why == refused),
            "{why}"
        );
        // Nothing more of what there is too much of, all else as ever.
        let more = match refused {
            EntryError::TooManyNames => read.rename(&identity(0), &name("more")),
            _ => read.admit(&identity(0), peer(201), &name("more")),
        };
        assert_eq!(more, Err(refused));
        revoke(&mut read, 0, 0);
    }
}

/// A circle of 64, of which all but the founder renamed themselves so often.
fn crowded(names: u32) -> Vec<Entry> {
    let mut entries: Vec<_> = circle_of(64).entries().cloned().collect();
    let crowd = entries.last().expect("entries").hash();
    for device in 1..64 {
        let mut parent = crowd;
        for sequence in 0..names {
            let name = name("x");
            let act = Act::Rename { name };
            let entry = Entry::sign(&identity(device), sequence, vec![parent], act);
            parent = entry.hash();
            entries.push(entry);
        }
    }
    entries
}

#[test]
fn in_a_stored_log_without_the_room_that_is_reserved_devices_are_still_expelled() {
    let entries = crowded(15);
    assert!(entries.len() < MAX_ENTRIES - 4);
    assert!(entries.len() + 64 * RESERVED_REVOCATIONS > MAX_ENTRIES);
    let log = log_of(&entries);
    assert!(Circle::from_peers_log(&log).is_err());
    let mut read = Circle::from_log(&log).expect("this device's own");
    let full = read.rename(&identity(0), &name("more"));
    assert_eq!(full, Err(EntryError::LogFull));
    for device in 1..=4 {
        let expelled = read.expel(&identity(0), peer(device));
        expelled.expect("a member");
    }
    let again = Circle::from_log(&read.to_log()).expect("a log");
    assert_eq!([read.member_count(), again.member_count()], [60; 2]);
}

#[test]
fn a_stored_log_has_no_more_entries_than_any() {
    let entries = crowded(16);
    assert!(entries.len() > MAX_ENTRIES);
    let refused = LogError::Entry {
        place: MAX_ENTRIES,
        why: EntryError::LogFull,
    };
    assert_eq!(Circle::from_log(&log_of(&entries)).err(), Some(refused));
}
