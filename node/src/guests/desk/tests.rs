//! Authentication and limits of guests.

use super::*;
use crate::guests::Limits;

struct Kitchen {
    _folder: tempfile::TempDir,
    home: Home,
}

impl Kitchen {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::at(folder.path());
        Self {
            _folder: folder,
            home,
        }
    }

    fn add(&self, name: &str, change: impl FnOnce(&mut Limits)) -> String {
        let now = SystemTime::now();
        let mut limits = Limits::usual(now);
        change(&mut limits);
        let added = GuestBook::of(&self.home).add(name, limits, now);
        added.expect("added").1.text().to_owned()
    }

    fn desk(&self) -> Arc<Desk> {
        Arc::new(Desk::open(&self.home))
    }
}

fn charge(visit: &Visit, tokens: usize) {
    // As an answer of `tokens` tokens does.
    visit.caller().charge(tokens);
}

#[test]
fn a_guest_is_known_by_its_token_and_gone_at_its_next_request_after_it_was_removed() {
    let kitchen = Kitchen::new();
    let desk = kitchen.desk();
    assert_eq!(desk.admit("pg-x").err(), Some(NotAdmitted::Unknown));
    let token = kitchen.add("Anna", |_| ());
    let visit = desk.admit(&token).expect("known at once");
    assert_eq!(
        (visit.name(), visit.models()),
        ("Anna", &["default".to_owned()][..])
    );
    assert_eq!(desk.admit("").err(), Some(NotAdmitted::Unknown));
    let places = visit.begin(1).expect("a place");
    GuestBook::of(&kitchen.home)
        .remove("Anna")
        .expect("removed");
    assert_eq!(desk.admit(&token).err(), Some(NotAdmitted::Unknown));
    assert!(visit.tab.is_withdrawn(), "its answers end");
    assert_eq!(desk.look(), [News::Removed("Anna".to_owned())]);
    drop(places);
}

#[test]
fn whose_time_is_over_is_refused_and_let_in_again_when_it_is_made_longer() {
    let kitchen = Kitchen::new();
    let desk = kitchen.desk();
    let token = kitchen.add("Anna", |limits| limits.until = Some(1000));
    assert_eq!(desk.admit(&token).err(), Some(NotAdmitted::Over));
    let book = GuestBook::of(&kitchen.home);
    book.set("Anna", |limits| limits.until = None).expect("set");
    let visit = desk.admit(&token).expect("let in");
    assert!(!visit.tab.is_withdrawn());
    book.set("Anna", |limits| limits.until = Some(1000))
        .expect("set");
    let _ = desk.look();
    assert!(visit.tab.is_withdrawn(), "its answers end");
}

#[test]
fn requests_a_minute_and_answers_at_once_are_bounded_with_a_time_to_try_again() {
    let kitchen = Kitchen::new();
    let desk = kitchen.desk();
    let token = kitchen.add("Anna", |limits| {
        (limits.at_once, limits.requests_a_minute) = (2, 3);
    });
    let visit = desk.admit(&token).expect("let in");
    assert_eq!(
        visit.begin(3).err(),
        Some(OverLimit::TooManyAnswers { limit: 2 })
    );
    let two = visit.begin(2).expect("two places");
    let Err(OverLimit::TooManyAtOnce { retry_after, .. }) = visit.begin(1) else {
        panic!("both places are taken");
    };
    assert_eq!(retry_after.as_secs(), 1);
    drop(two);
    let _one = visit.begin(1).expect("a place");
    let _two = visit.begin(1).expect("a place");
    drop(_two);
    let Err(OverLimit::TooOften {
        limit: 3,
        retry_after,
    }) = visit.begin(1)
    else {
        panic!("it asked three times");
    };
    assert!((1..=60).contains(&retry_after.as_secs()), "{retry_after:?}");
    // Another guest has separate limits.
    let other = kitchen.add("Ben", |_| ());
    assert!(desk.admit(&other).expect("let in").begin(1).is_ok());
}

#[test]
fn the_days_tokens_are_not_handed_out_again_by_a_restart_or_a_change() {
    let kitchen = Kitchen::new();
    let token = kitchen.add("Anna", |limits| limits.tokens_a_day = 10);
    {
        let desk = kitchen.desk();
        let visit = desk.admit(&token).expect("let in");
        charge(&visit, 9);
        assert!(visit.begin(1).is_ok());
        desk.write();
    }
    let desk = kitchen.desk();
    let visit = desk.admit(&token).expect("let in");
    assert_eq!(visit.tab.left(), 1);
    charge(&visit, 1);
    let Err(OverLimit::Spent {
        limit: 10,
        retry_after,
    }) = visit.begin(1)
    else {
        panic!("nothing is left");
    };
    assert!(retry_after.as_secs() <= 24 * 60 * 60 && retry_after.as_secs() > 0);
    let book = GuestBook::of(&kitchen.home);
    book.set("Anna", |limits| limits.tokens_a_day = 15)
        .expect("set");
    let visit = desk.admit(&token).expect("let in");
    assert_eq!(visit.tab.left(), 5);
}

#[test]
fn nobody_is_let_in_while_the_file_is_damaged_and_nothing_is_forgotten() {
    let kitchen = Kitchen::new();
    let token = kitchen.add("Anna", |limits| limits.tokens_a_day = 10);
    let desk = kitchen.desk();
    let visit = desk.admit(&token).expect("let in");
    charge(&visit, 4);
    desk.write();
    charge(&visit, 1);
    let book = GuestBook::of(&kitchen.home);
    let whole = std::fs::read(book.path()).expect("readable");
    std::fs::write(book.path(), b"{").expect("writable");
    assert_eq!(desk.admit(&token).err(), Some(NotAdmitted::Unknown));
    assert!(matches!(&desk.look()[..], [News::Problem(_)]));
    desk.write();
    std::fs::write(book.path(), whole).expect("writable");
    assert_eq!(desk.admit(&token).expect("let in").tab.left(), 5);
    desk.write();
    assert_eq!(kitchen.desk().admit(&token).expect("let in").tab.left(), 5);
}

#[test]
fn a_file_that_cannot_be_read_now_is_read_again_without_a_change() {
    let kitchen = Kitchen::new();
    let token = kitchen.add("Anna", |_| ());
    let desk = kitchen.desk();
    let path = GuestBook::of(&kitchen.home).path().to_owned();
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).expect("renamed");
    std::fs::create_dir(&path).expect("created");
    assert_eq!(desk.admit(&token).err(), Some(NotAdmitted::Unknown));
    assert_eq!(desk.lock().stamp, None, "the next look reads it");
    std::fs::remove_dir(&path).expect("removed");
    std::fs::rename(&aside, &path).expect("renamed");
    assert!(desk.admit(&token).is_ok());
}

#[test]
fn a_clock_that_was_far_ahead_does_not_keep_new_tokens_from_guests() {
    let kitchen = Kitchen::new();
    let token = kitchen.add("Anna", |limits| limits.tokens_a_day = 10);
    let desk = kitchen.desk();
    let day = |days: u64| SystemTime::now() + Duration::from_secs(days * 24 * 60 * 60);
    let left = |at: SystemTime, charged: usize| {
        desk.follow(&mut desk.lock(), at);
        let visit = desk.admit(&token).expect("let in");
        charge(&visit, charged);
        visit.tab.left()
    };
    assert_eq!(left(day(0), 4), 6);
    // For years to come, and back.
    desk.lock().day += 3000;
    assert_eq!(left(day(0), 1), 5);
    desk.follow(&mut desk.lock(), day(1));
    let state = desk.lock();
    let tab = &state.seats.values().next().expect("Anna").tab;
    assert_eq!(tab.left(), 10);
}

#[test]
fn a_server_that_waited_for_another_counts_what_guests_used_meanwhile() {
    let kitchen = Kitchen::new();
    let token = kitchen.add("Anna", |limits| limits.tokens_a_day = 10);
    let (waits, gives_up) = (kitchen.desk(), kitchen.desk());
    let first = kitchen.desk();
    first.begin();
    charge(&first.admit(&token).expect("let in"), 4);
    drop(first);
    kitchen.add("Ben", |_| ());
    let _ = gives_up.look();
    drop(gives_up);
    waits.begin();
    assert_eq!(waits.admit(&token).expect("let in").tab.left(), 6);
}
