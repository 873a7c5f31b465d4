//! Guest access for `potluck serve --share`: authentication, joining, and events for the owner.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use super::book::{GuestError, check_name};
use super::desk::{Desk, News, NotAdmitted, Visit};
use super::joining::{Invitation, Joining, NotJoined, Proof};
use super::limits::Limits;
use crate::home::Home;
use crate::private_file;

/// The guests of a running server. Clones share the same state.
#[derive(Clone)]
pub struct Share(Arc<Shared>);

struct Shared {
    desk: Arc<Desk>,
    joining: Mutex<Joining>,
    tell: Mutex<Sender<ShareEvent>>,
}

/// An event for the owner of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShareEvent {
    /// Somebody became a guest.
    Joined {
        /// The guest's name.
        name: String,
        /// The remote address of its connection.
        from: IpAddr,
    },
    /// A guest was removed; its answers have ended.
    Removed {
        /// The guest's name.
        name: String,
    },
    /// [`Share::invitation`] has changed.
    Invites,
    /// Something does not work: the cause and the remedy.
    Problem(String),
}

/// The result of becoming a guest.
pub struct Joined {
    /// The guest's name.
    pub name: String,
    /// The token that it sends as its API key. It is returned only here.
    pub token: String,
    /// What the guest may use.
    pub limits: Limits,
}

impl Share {
    /// The guests of this home, and a channel of events. Nothing is saved before [`Self::begin`].
    ///
    /// # Errors
    /// [`GuestError`].
    pub fn open(home: &Home) -> Result<(Self, Receiver<ShareEvent>), GuestError> {
        let (tell, told) = channel();
        let share = Self(Arc::new(Shared {
            desk: Arc::new(Desk::open(home)),
            joining: Mutex::new(Joining::new(Instant::now())?),
            tell: Mutex::new(tell),
        }));
        // Fail before anything is shared: guests should not be the ones to find a damaged file.
        share.0.desk.book().read()?;
        Ok((share, told))
    }

    fn joining(&self) -> MutexGuard<'_, Joining> {
        self.0
            .joining
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: ShareEvent) {
        let tell = self.0.tell.lock().unwrap_or_else(PoisonError::into_inner);
        // The owner may not be listening.
        let _ = tell.send(event);
    }

    /// Starts serving guests, once no other server of this home runs.
    pub fn begin(&self) {
        self.0.desk.begin();
    }

    /// Authenticates a guest by token. Checks the guest file for changes first.
    ///
    /// # Errors
    /// [`NotAdmitted`].
    pub fn admit(&self, token: &str) -> Result<Visit, NotAdmitted> {
        self.0.desk.admit(token)
    }

    /// The current invitation.
    pub fn invitation(&self) -> Invitation {
        self.joining().invitation().clone()
    }

    /// Adds a guest who proves to have seen the screen. When this returns the guest is on disk, and
    /// the screen shows a new invitation.
    ///
    /// # Errors
    /// [`NotJoined`].
    pub fn join(&self, from: IpAddr, name: &str, proof: &Proof<'_>) -> Result<Joined, NotJoined> {
        // Checked first, so that an invalid name does not count as a guess.
        check_name(name)?;
        let now = Instant::now();
        let mut joining = self.joining();
        let shown = joining.invitation().pin.clone();
        let joined = joining.check(now, from, proof).and_then(|()| {
            let limits = Limits::usual(SystemTime::now());
            let added = self.0.desk.book().add(name, limits, SystemTime::now());
            let (guest, token) = added?;
            Ok(Joined {
                name: guest.name,
                token: token.text().to_owned(),
                limits: guest.limits,
            })
        });
        if joined.is_ok() {
            let _ = joining.renew(now);
        }
        let _ = joining.renew_if_over(now);
        let is_other = joining.invitation().pin != shown;
        drop(joining);
        if let Ok(joined) = &joined {
            tracing::info!(from = %from.to_canonical(), "a guest joined");
            let name = joined.name.clone();
            let from = from.to_canonical();
            self.tell(ShareEvent::Joined { name, from });
        }
        if is_other {
            self.tell(ShareEvent::Invites);
        }
        joined
    }

    /// Checks the guest file and the clock, and saves guests' usage. Call it often, from a thread
    /// that may block on the disk.
    pub fn look(&self) {
        for news in self.0.desk.look() {
            self.tell(match news {
                News::Removed(name) => ShareEvent::Removed { name },
                News::Problem(words) => ShareEvent::Problem(words),
            });
        }
        let renewed = self.joining().renew_if_over(Instant::now());
        match renewed {
            Ok(false) => {}
            Ok(true) => self.tell(ShareEvent::Invites),
            Err(error) => self.tell(ShareEvent::Problem(error.to_string())),
        }
    }

    /// Saves guests' usage when the server ends.
    pub fn write(&self) {
        self.0.desk.write();
    }
}

fn url_file(home: &Home) -> PathBuf {
    home.root().join("shared-at")
}

/// The URL at which a server of this home last shared its API.
pub fn shared_url(home: &Home) -> Option<String> {
    let bytes = private_file::read(&url_file(home), 1024).ok().flatten()?;
    let url = String::from_utf8(bytes).ok()?;
    let is_one = url.starts_with("https://") && url.bytes().all(|byte| byte.is_ascii_graphic());
    is_one.then_some(url)
}

/// Records the URL at which the server shares its API; `None` when it stops.
///
/// # Errors
/// Errors of the file system.
pub fn remember_url(home: &Home, url: Option<&str>) -> io::Result<()> {
    match url {
        Some(url) => private_file::replace(&url_file(home), url.as_bytes()),
        None => fs::remove_file(url_file(home)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_joins_has_a_token_and_the_screen_shows_another_pin() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::at(folder.path());
        let (share, told) = Share::open(&home).expect("it opens");
        let from = IpAddr::from([192, 168, 1, 7]);
        let shown = share.invitation();
        let joined = share.join(from, "Anna", &Proof::Pin(&shown.pin));
        let Ok(Joined { name, token, .. }) = joined else {
            panic!("it is the PIN");
        };
        assert_eq!(share.admit(&token).expect("a guest").name(), name);
        let event = told.try_recv();
        assert_eq!(event, Ok(ShareEvent::Joined { name, from }));
        assert_eq!(told.try_recv(), Ok(ShareEvent::Invites));
        // The invitation was for one guest.
        for proof in [Proof::Pin(&shown.pin), Proof::Key(&shown.key)] {
            let again = share.join(from, "Ben", &proof);
            assert!(matches!(again, Err(NotJoined::Wrong)));
        }
        // A taken name does not use up the invitation.
        let shown = share.invitation();
        for name in ["anna", "", "a\tb"] {
            let refused = share.join(from, name, &Proof::Key(&shown.key));
            assert!(matches!(refused, Err(NotJoined::Guest(_))), "{name:?}");
        }
        assert!(share.join(from, "Ben", &Proof::Key(&shown.key)).is_ok());
    }

    #[test]
    fn a_name_that_is_taken_is_told_only_to_those_who_see_the_screen() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (share, _told) = Share::open(&Home::at(folder.path())).expect("it opens");
        let from = IpAddr::from([192, 168, 1, 7]);
        let pin = share.invitation().pin;
        assert!(share.join(from, "Anna", &Proof::Pin(&pin)).is_ok());
        let refused = share.join(from, "Anna", &Proof::Key("guess"));
        assert!(matches!(refused, Err(NotJoined::Wrong)));
    }
}
