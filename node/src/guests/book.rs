//! The guest file of a home.
//!
//! Commands and a running server may change it concurrently. Each change takes a lock and replaces
//! the file as a whole. Readers detect changes by the file's [`Stamp`].

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::limits::Limits;
use super::unix;
use crate::device::random;
use crate::home::Home;
use crate::private_file;

/// The most guests of a home.
const MOST_GUESTS: usize = 64;
/// The largest file that is read, in bytes.
const MOST_BYTES: usize = 1 << 20;
/// The longest name, in characters.
const LONGEST_NAME: usize = 32;
/// The version of the file format.
const VERSION: u32 = 1;

/// A guest as stored in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// A unique id; never reused.
    pub id: u64,
    /// The guest's name; unique within the home.
    pub name: String,
    /// The SHA-256 of its token, in hexadecimal.
    token_sha256: String,
    /// When the guest was added, in seconds since 1970.
    pub since: u64,
    /// What the guest may use.
    pub limits: Limits,
}

impl Guest {
    /// Whether this is the guest's token. It compares hashes, so timing reveals nothing about the
    /// token.
    pub(super) fn has_token(&self, hash: &TokenHash) -> bool {
        self.token_sha256 == hash.0
    }

    /// Whether `other` is the same guest with the same token.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.id == other.id && self.token_sha256 == other.token_sha256
    }
}

/// The hash of a token, for comparison.
pub(super) struct TokenHash(String);

impl TokenHash {
    pub(super) fn of(token: &str) -> Self {
        Self(HEXLOWER.encode(&Sha256::digest(token.as_bytes())))
    }
}

/// A newly generated token. It is shown once and not stored.
pub struct NewToken(String);

impl NewToken {
    /// The prefix of every token.
    pub const PREFIX: &str = "pg-";

    fn new() -> Result<Self, GuestError> {
        let bytes: [u8; 32] = random().map_err(|_| GuestError::Random)?;
        let text = BASE64URL_NOPAD.encode(&bytes);
        Ok(Self(format!("{}{text}", Self::PREFIX)))
    }

    /// The token text, which the guest sends as its API key.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// Why guests cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// A file operation failed.
    #[error("cannot use {}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file is damaged or has an unknown version.
    #[error(
        "{} is damaged, so no guest is let in: restore it from a backup, or remove it and add guests anew",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The name is not valid.
    #[error(
        "a guest's name has 1 to {LONGEST_NAME} characters, with none that cannot be seen and no space at \
         either end"
    )]
    Name,
    /// Another guest already has this name.
    #[error("a guest is called \"{name}\" already: choose another name")]
    Taken {
        /// The name.
        name: String,
    },
    /// The home has the maximum number of guests.
    #[error(
        "there are {MOST_GUESTS} guests already: `potluck guests remove` one that is not needed"
    )]
    Full,
    /// No guest has this name.
    #[error("no guest is called \"{name}\": `potluck guests` lists them")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The system has no random numbers.
    #[error("cannot make a token")]
    Random,
}

/// The guest file of a home.
#[derive(Debug, Clone)]
pub struct GuestBook {
    path: PathBuf,
}

/// Identifies a version of the file. Replacing the file gives it another inode number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    number: u64,
}

#[derive(Serialize, Deserialize)]
struct Content {
    version: u32,
    /// The id of the next guest.
    next: u64,
    guests: Vec<Guest>,
}

impl Content {
    /// Whether this is of a known version, and each guest has an id of its own that no later guest
    /// gets: running answers and used tokens are known by it.
    fn is_whole(&self) -> bool {
        let ids: BTreeSet<_> = self.guests.iter().map(|guest| guest.id).collect();
        let is_next = ids.last().is_none_or(|&last| last < self.next);
        self.version == VERSION && ids.len() == self.guests.len() && is_next && self.next < u64::MAX
    }
}

impl GuestBook {
    /// The guest file of this home.
    pub fn of(home: &Home) -> Self {
        Self {
            path: home.root().join("guests.json"),
        }
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All guests in the order in which they were added.
    ///
    /// # Errors
    /// [`GuestError::File`], [`GuestError::Damaged`].
    pub fn read(&self) -> Result<Vec<Guest>, GuestError> {
        Ok(self.content()?.guests)
    }

    /// Adds a guest.
    ///
    /// # Errors
    /// [`GuestError`]. The file is then unchanged.
    pub fn add(
        &self,
        name: &str,
        limits: Limits,
        now: SystemTime,
    ) -> Result<(Guest, NewToken), GuestError> {
        check_name(name)?;
        let token = NewToken::new()?;
        let TokenHash(token_sha256) = TokenHash::of(token.text());
        let guest = self.change(|content| {
            if content.guests.iter().any(|guest| is_called(guest, name)) {
                let name = name.to_owned();
                return Err(GuestError::Taken { name });
            }
            if content.guests.len() >= MOST_GUESTS {
                return Err(GuestError::Full);
            }
            let guest = Guest {
                id: content.next,
                name: name.to_owned(),
                token_sha256,
                since: unix(now),
                limits,
            };
            content.next += 1;
            content.guests.push(guest.clone());
            Ok(guest)
        })?;
        Ok((guest, token))
    }

    /// Changes a guest's limits.
    ///
    /// # Errors
    /// [`GuestError`].
    pub fn set(&self, name: &str, change: impl FnOnce(&mut Limits)) -> Result<Guest, GuestError> {
        self.change(|content| {
            let guest = find(&mut content.guests, name)?;
            change(&mut content.guests[guest].limits);
            Ok(content.guests[guest].clone())
        })
    }

    /// Removes a guest and so invalidates its token.
    ///
    /// # Errors
    /// [`GuestError`].
    pub fn remove(&self, name: &str) -> Result<Guest, GuestError> {
        self.change(|content| {
            let guest = find(&mut content.guests, name)?;
            Ok(content.guests.remove(guest))
        })
    }

    /// The current version of the file; `None` if it does not exist.
    pub(super) fn stamp(&self) -> Option<Stamp> {
        let metadata = fs::metadata(&self.path).ok()?;
        Some(Stamp {
            modified: metadata.modified().ok(),
            length: metadata.len(),
            #[cfg(unix)]
            number: std::os::unix::fs::MetadataExt::ino(&metadata),
            #[cfg(not(unix))]
            number: 0,
        })
    }

    fn content(&self) -> Result<Content, GuestError> {
        let bytes = private_file::read(&self.path, MOST_BYTES).map_err(failed(&self.path))?;
        let Some(bytes) = bytes else {
            return Ok(Content {
                version: VERSION,
                next: 1,
                guests: Vec::new(),
            });
        };
        let content: Option<Content> = serde_json::from_slice(&bytes).ok();
        let content = content.filter(Content::is_whole);
        content.ok_or_else(|| GuestError::Damaged {
            path: self.path.clone(),
        })
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut Content) -> Result<T, GuestError>,
    ) -> Result<T, GuestError> {
        let _lock = self.lock()?;
        let mut content = self.content()?;
        let changed = change(&mut content)?;
        let bytes = serde_json::to_vec(&content).map_err(io::Error::from);
        let written = bytes.and_then(|bytes| private_file::replace(&self.path, &bytes));
        written.map_err(failed(&self.path))?;
        Ok(changed)
    }

    /// Waits until no other process is changing the file.
    fn lock(&self) -> Result<File, GuestError> {
        let path = self.path.with_extension("lock");
        if let Some(folder) = path.parent() {
            private_file::create_folder(folder).map_err(failed(folder))?;
        }
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        let file = options.open(&path).map_err(failed(&path))?;
        match file.lock() {
            // Some network file systems do not support locks. The file is still replaced
            // atomically.
            Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(failed(&path)(error)),
            _ => Ok(file),
        }
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> GuestError {
    let path = path.to_owned();
    move |source| GuestError::File { path, source }
}

/// Compares names without regard to case.
fn is_called(guest: &Guest, name: &str) -> bool {
    guest.name.to_lowercase() == name.to_lowercase()
}

fn find(guests: &mut [Guest], name: &str) -> Result<usize, GuestError> {
    let found = guests.iter().position(|guest| is_called(guest, name));
    found.ok_or_else(|| GuestError::Unknown {
        name: name.to_owned(),
    })
}

/// Checks that a name is valid.
pub(super) fn check_name(name: &str) -> Result<(), GuestError> {
    let is_seen = |c: char| !c.is_control() && !is_invisible(c);
    let is_name = (1..=LONGEST_NAME).contains(&name.chars().count())
        && name.trim() == name
        && name.chars().all(is_seen);
    match is_name {
        true => Ok(()),
        false => Err(GuestError::Name),
    }
}

/// Whether the character is invisible or changes how the text around it is displayed, so that two
/// names would look the same. Selectors of emoji are let through.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> (tempfile::TempDir, GuestBook) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let book = GuestBook::of(&Home::at(folder.path().join("home")));
        (folder, book)
    }

    fn add(book: &GuestBook, name: &str) -> Result<(Guest, NewToken), GuestError> {
        let now = SystemTime::now();
        book.add(name, Limits::usual(now), now)
    }

    #[test]
    fn the_file_has_no_token_and_only_its_owner_reads_it() {
        let (_folder, book) = book();
        assert!(book.read().expect("nobody yet").is_empty());
        let (anna, token) = add(&book, "Anna").expect("added");
        assert!(token.text().len() > 40 && token.text().starts_with("pg-"));
        assert!(anna.has_token(&TokenHash::of(token.text())));
        assert!(!anna.has_token(&TokenHash::of("pg-")));
        let text = fs::read_to_string(book.path()).expect("readable");
        assert!(!text.contains(&token.text()[3..]), "{text}");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(book.path())
                .expect("there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn names_are_unique_and_ids_are_never_used_again() {
        let (_folder, book) = book();
        let (anna, _) = add(&book, "Anna").expect("added");
        assert!(matches!(add(&book, "anna"), Err(GuestError::Taken { .. })));
        book.remove("ANNA").expect("removed");
        assert!(matches!(
            book.remove("Anna"),
            Err(GuestError::Unknown { .. })
        ));
        let (again, _) = add(&book, "Anna").expect("added");
        assert!(again.id > anna.id && !again.is_same(&anna));
        for wrong in [
            "",
            " a",
            "a ",
            "a\nb",
            "\u{202e}a",
            "Anna\u{3164}",
            "\u{e0041}a",
            &"a".repeat(33),
        ] {
            assert!(
                matches!(add(&book, wrong), Err(GuestError::Name)),
                "{wrong:?}"
            );
        }
        for n in 0..MOST_GUESTS - 1 {
            add(&book, &format!("guest {n}")).expect("added");
        }
        assert!(matches!(add(&book, "one more"), Err(GuestError::Full)));
    }

    #[test]
    fn whoever_follows_the_file_sees_each_change_and_damage_is_told() {
        let (_folder, book) = book();
        assert_eq!(book.stamp(), None);
        add(&book, "Anna").expect("added");
        let first = book.stamp();
        let changed = book.set("Anna", |limits| limits.tokens_a_day = 5);
        assert_eq!(changed.expect("there").limits.tokens_a_day, 5);
        assert_ne!(book.stamp(), first);
        assert_eq!(book.read().expect("readable")[0].limits.tokens_a_day, 5);
        let text = fs::read_to_string(book.path()).expect("readable");
        let twice = text.replace(
            "[{",
            &text[text.find("[{").expect("Anna")..].replace("}]}", "},{"),
        );
        for damaged in [
            "{",
            "{}",
            r#"{"version":2,"next":1,"guests":[]}"#,
            r#"{"version":1,"next":18446744073709551615,"guests":[]}"#,
            &text.replace("\"next\":2", "\"next\":1"),
            &twice,
        ] {
            fs::write(book.path(), damaged).expect("writable");
            assert!(matches!(book.read(), Err(GuestError::Damaged { .. })));
            assert!(matches!(add(&book, "B"), Err(GuestError::Damaged { .. })));
        }
    }
}
