//! Becoming a guest by PIN or key.
//!
//! The PIN is meant for typing. The code on the screen contains a 128-bit key, in the part of the
//! URL that browsers do not send to the server. Both are valid for one guest and for a short time.
//!
//! | what | bound | when reached |
//! |---|---|---|
//! | a PIN | 8 digits, 15 minutes, one guest | new PIN and key |
//! | wrong guesses of one PIN | 5 | new PIN and key |
//! | wrong guesses from one address (IPv6: its /64) | 5 in 10 minutes | the address has to wait, or send the right key |
//! | wrong PINs from all addresses | 30 in an hour | no PIN is accepted for the rest of the hour; keys still are |
//!
//! Guessing all day therefore gives 720 tries at 100,000,000 numbers. A key cannot be guessed at all,
//! so the right one lets in whoever guessed before, and all who share an address with them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;

use super::book::GuestError;
use crate::device::random;

const PIN_DIGITS: usize = 8;
const LIFETIME: Duration = Duration::from_secs(15 * 60);
const WRONG_OF_PIN: u32 = 5;
const OF_ADDRESS: Bound = Bound {
    most: 5,
    within: Duration::from_secs(10 * 60),
};
const OF_ALL: Bound = Bound {
    most: 30,
    within: Duration::from_secs(60 * 60),
};
/// The most addresses remembered. The least recent one is forgotten first; the bound on all
/// addresses still applies.
const MOST_ADDRESSES: usize = 256;

/// Proof that somebody has seen the screen.
pub enum Proof<'a> {
    /// The number on the screen, with or without spaces.
    Pin(&'a str),
    /// The key in the code on the screen.
    Key(&'a str),
}

/// Why somebody could not become a guest.
#[derive(Debug, thiserror::Error)]
pub enum NotJoined {
    /// The PIN or key is not the current one.
    #[error(
        "this is not what the screen shows now: look again, a PIN is valid for a few minutes and for one guest"
    )]
    Wrong,
    /// There were too many wrong guesses.
    #[error("there were too many wrong guesses: try again in {} min", retry_after.as_secs().div_ceil(60))]
    TooMany {
        /// Time until the next try is allowed.
        retry_after: Duration,
    },
    /// The guest could not be added.
    #[error(transparent)]
    Guest(#[from] GuestError),
}

/// A PIN and key for becoming a guest.
#[derive(Clone)]
pub struct Invitation {
    /// The PIN, for typing.
    pub pin: String,
    /// The key, for scanning.
    pub key: String,
    /// When both expire.
    pub until: Instant,
}

impl Invitation {
    /// Generates an invitation.
    fn new(now: Instant) -> Result<Self, GuestError> {
        let key: [u8; 16] = random().map_err(|_| GuestError::Random)?;
        Ok(Self {
            pin: new_pin()?,
            key: BASE64URL_NOPAD.encode(&key),
            until: now + LIFETIME,
        })
    }

    /// The PIN in two groups, for reading.
    pub fn spaced_pin(&self) -> String {
        let (first, last) = self.pin.split_at(PIN_DIGITS / 2);
        format!("{first} {last}")
    }
}

/// A uniformly random PIN.
fn new_pin() -> Result<String, GuestError> {
    let all = 10_u64.pow(PIN_DIGITS as u32);
    loop {
        let bytes: [u8; 8] = random().map_err(|_| GuestError::Random)?;
        let number = u64::from_le_bytes(bytes);
        // Reject the last, incomplete range: it would make small numbers more likely.
        if number < u64::MAX - u64::MAX % all {
            return Ok(format!("{:0PIN_DIGITS$}", number % all));
        }
    }
}

/// A limit on events within a period.
struct Bound {
    most: u32,
    within: Duration,
}

/// Wrong guesses since a point in time.
#[derive(Clone, Copy)]
struct Wrong {
    since: Instant,
    count: u32,
}

impl Bound {
    /// The remaining wait, if the bound is reached.
    fn wait(&self, wrong: &Wrong, now: Instant) -> Option<Duration> {
        let over = (wrong.since + self.within).checked_duration_since(now)?;
        (wrong.count >= self.most && !over.is_zero()).then_some(over)
    }

    fn add(&self, wrong: &mut Wrong, now: Instant) {
        if now.saturating_duration_since(wrong.since) >= self.within {
            *wrong = Wrong {
                since: now,
                count: 0,
            };
        }
        wrong.count += 1;
    }
}

/// The current invitation and the wrong guesses so far.
pub(super) struct Joining {
    invitation: Invitation,
    wrong: u32,
    of_all: Wrong,
    of_address: BTreeMap<IpAddr, Wrong>,
}

impl Joining {
    pub(super) fn new(now: Instant) -> Result<Self, GuestError> {
        Ok(Self {
            invitation: Invitation::new(now)?,
            wrong: 0,
            of_all: Wrong {
                since: now,
                count: 0,
            },
            of_address: BTreeMap::new(),
        })
    }

    pub(super) fn invitation(&self) -> &Invitation {
        &self.invitation
    }

    /// Replaces the invitation if it has expired or was guessed too often; returns whether it did.
    pub(super) fn renew_if_over(&mut self, now: Instant) -> Result<bool, GuestError> {
        let is_over = now >= self.invitation.until || self.wrong >= WRONG_OF_PIN;
        if is_over {
            self.renew(now)?;
        }
        Ok(is_over)
    }

    /// Replaces the invitation.
    pub(super) fn renew(&mut self, now: Instant) -> Result<(), GuestError> {
        self.invitation = Invitation::new(now)?;
        self.wrong = 0;
        Ok(())
    }

    /// Checks a proof from this address, within the bounds on wrong guesses.
    pub(super) fn check(
        &mut self,
        now: Instant,
        from: IpAddr,
        proof: &Proof<'_>,
    ) -> Result<(), NotJoined> {
        self.renew_if_over(now)?;
        let from = group(from);
        let refused = |retry_after| Err(NotJoined::TooMany { retry_after });
        // Compares hashes: in constant time, and of equal length.
        let same = |given: &str, meant: &str| {
            blake3::hash(given.as_bytes()) == blake3::hash(meant.as_bytes())
        };
        if let Proof::Key(key) = proof
            && same(key, &self.invitation.key)
        {
            return Ok(());
        }
        let own = self.of_address.get(&from);
        if let Some(wait) = own.and_then(|wrong| OF_ADDRESS.wait(wrong, now)) {
            return refused(wait);
        }
        let is_right = match proof {
            Proof::Key(_) => false,
            Proof::Pin(pin) => {
                if let Some(wait) = OF_ALL.wait(&self.of_all, now) {
                    return refused(wait);
                }
                let is_digit = |c: &char| !c.is_whitespace() && *c != '-';
                same(
                    &pin.chars().filter(is_digit).collect::<String>(),
                    &self.invitation.pin,
                )
            }
        };
        if is_right {
            return Ok(());
        }
        self.note_wrong(now, from, proof);
        Err(NotJoined::Wrong)
    }

    fn note_wrong(&mut self, now: Instant, from: IpAddr, proof: &Proof<'_>) {
        if let Proof::Pin(_) = proof {
            self.wrong += 1;
            OF_ALL.add(&mut self.of_all, now);
        }
        let known = self.of_address.contains_key(&from);
        if !known && self.of_address.len() >= MOST_ADDRESSES {
            let oldest = self.of_address.iter().min_by_key(|(_, wrong)| wrong.since);
            if let Some(oldest) = oldest.map(|(&address, _)| address) {
                self.of_address.remove(&oldest);
            }
        }
        let new = Wrong {
            since: now,
            count: 0,
        };
        OF_ADDRESS.add(self.of_address.entry(from).or_insert(new), now);
    }
}

/// The group of addresses that a single device can choose from freely.
fn group(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(n: u8) -> IpAddr {
        [192, 168, 1, n].into()
    }

    fn wrong(joining: &Joining) -> &'static str {
        match joining.invitation.pin == "00000000" {
            true => "00000001",
            false => "00000000",
        }
    }

    fn pin(joining: &mut Joining, now: Instant, from: IpAddr, pin: &str) -> &'static str {
        told(joining.check(now, from, &Proof::Pin(pin)))
    }

    fn told(checked: Result<(), NotJoined>) -> &'static str {
        match checked {
            Ok(()) => "right",
            Err(NotJoined::Wrong) => "wrong",
            Err(NotJoined::TooMany { .. }) => "too many",
            Err(NotJoined::Guest(_)) => "failed",
        }
    }

    #[test]
    fn a_pin_or_a_key_lets_in_as_it_is_on_the_screen_and_not_when_its_time_is_over() {
        let now = Instant::now();
        let mut joining = Joining::new(now).expect("random numbers");
        let shown = joining.invitation().clone();
        assert_eq!(shown.pin.len(), PIN_DIGITS);
        assert!(shown.key.len() >= 21);
        assert_eq!(pin(&mut joining, now, at(1), &shown.spaced_pin()), "right");
        assert_eq!(
            told(joining.check(now, at(1), &Proof::Key(&shown.key))),
            "right"
        );
        for wrong in ["", &shown.pin[1..], &shown.key] {
            assert_eq!(pin(&mut joining, now, at(1), wrong), "wrong");
        }
        assert_eq!(
            told(joining.check(now, at(2), &Proof::Key(&shown.pin))),
            "wrong"
        );
        let later = now + LIFETIME;
        assert_eq!(pin(&mut joining, later, at(3), &shown.pin), "wrong");
        assert_ne!(joining.invitation().key, shown.key);
    }

    #[test]
    fn a_pin_that_was_guessed_at_too_often_is_replaced() {
        let now = Instant::now();
        let mut joining = Joining::new(now).expect("random numbers");
        let shown = joining.invitation().clone();
        for n in 0..5 {
            let guess = wrong(&joining);
            assert_eq!(pin(&mut joining, now, at(n), guess), "wrong");
        }
        assert_eq!(pin(&mut joining, now, at(9), &shown.pin), "wrong");
    }

    #[test]
    fn wrong_guesses_are_bounded_by_address_and_for_all() {
        let now = Instant::now();
        let mut joining = Joining::new(now).expect("random numbers");
        for n in 0..5 {
            // All of these are addresses of one device.
            let from = IpAddr::from([0xfd00, 1, 2, 3, 4, 5, 6, n]);
            let guess = wrong(&joining);
            assert_eq!(pin(&mut joining, now, from, guess), "wrong");
        }
        let same = IpAddr::from([0xfd00, 1, 2, 3, 9, 9, 9, 9]);
        let right = joining.invitation().pin.clone();
        assert_eq!(pin(&mut joining, now, same, &right), "too many");
        // A key is not guessed, so whoever has scanned the code does not wait.
        let key = joining.invitation().key.clone();
        assert_eq!(told(joining.check(now, same, &Proof::Key(&key))), "right");
        let guess = joining.check(now, same, &Proof::Key("guess"));
        assert_eq!(told(guess), "too many");
        let refused = joining.check(now + MINUTE, same, &Proof::Pin(&right));
        let Err(NotJoined::TooMany { retry_after }) = refused else {
            panic!("it waits");
        };
        assert_eq!(retry_after, OF_ADDRESS.within - MINUTE);
        for n in 0..25 {
            let guess = wrong(&joining);
            assert_eq!(pin(&mut joining, now, at(n), guess), "wrong");
        }
        joining.renew_if_over(now).expect("random numbers");
        let shown = joining.invitation().clone();
        assert_eq!(pin(&mut joining, now, at(99), &shown.pin), "too many");
        // With the key from the code, joining still works.
        assert_eq!(
            told(joining.check(now, at(99), &Proof::Key(&shown.key))),
            "right"
        );
        let later = now + OF_ALL.within;
        joining.renew_if_over(later).expect("random numbers");
        let shown = joining.invitation().clone();
        assert_eq!(pin(&mut joining, later, at(99), &shown.pin), "right");
        assert_eq!(pin(&mut joining, later, same, &shown.pin), "right");
    }

    #[test]
    fn addresses_that_are_remembered_are_bounded() {
        let now = Instant::now();
        let mut joining = Joining::new(now).expect("random numbers");
        for n in 0..1000_u32 {
            let from = IpAddr::from([10, 0, (n >> 8) as u8, n as u8]);
            let _ = joining.check(now, from, &Proof::Key("x"));
        }
        assert_eq!(joining.of_address.len(), MOST_ADDRESSES);
    }
}
