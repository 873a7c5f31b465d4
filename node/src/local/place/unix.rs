//! The path of a home's socket, and the check of the process at its other end.
//!
//! The socket is in the home, independent of the environment and the working folder. If the path is
//! too long for a socket, Linux uses the opened folder, as `/proc/self/fd/N/node.sock`; other
//! systems put the socket into a private folder of this user under `/tmp`, named by a hash of the
//! home's real path. Another user could have created such a folder first, so it is used only if it
//! belongs to this user and nobody else can enter it.
//!
//! Both ends ask the system for the user of the other process. Hidden states are never sent to
//! another user's process.

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

use crate::home::Home;

/// A connection between a command and a node.
pub type Stream = UnixStream;
/// A node's listening socket.
pub(in crate::local) type Listener = UnixListener;

/// The socket's file name.
const NAME: &str = "node.sock";
/// The longest socket path that every Unix supports.
const MOST_PATH: usize = 100;

/// The other end of a socket belongs to another user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a process of another user (uid {theirs}, and this is uid {ours}) serves it: end that, or set \
     POTLUCK_HOME to a folder of your own"
)]
struct Stranger {
    theirs: u32,
    ours: u32,
}

/// Binds the socket of a home that has no running node. Removes the socket of a node that has
/// ended.
///
/// # Errors
/// The system's I/O error.
pub(in crate::local) fn bind(home: &Home) -> io::Result<UnixListener> {
    at(home.root(), |path| {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path, only_owner)?;
        Ok(listener)
    })
}

/// Connects to this user's process that serves a home's socket; `None` if there is none.
///
/// # Errors
/// The system's I/O error, or the process is another user's.
pub(in crate::local) fn connect(home: &Home) -> io::Result<Option<UnixStream>> {
    match at(home.root(), |path| UnixStream::connect(path)) {
        Ok(stream) => {
            check_other_end(&stream)?;
            Ok(Some(stream))
        }
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
            _ => Err(error),
        },
    }
}

/// Removes the socket of a home.
pub(in crate::local) fn remove(home: &Home) {
    // If this fails, the next node removes it.
    let _ = at(home.root(), |path| std::fs::remove_file(path));
}

/// Checks that the process at the other end belongs to this user.
///
/// # Errors
/// It does not, or the system does not report it.
pub(in crate::local) fn check_other_end(stream: &UnixStream) -> io::Result<()> {
    let (theirs, ours) = (other_uid(stream)?, own_uid()?);
    if theirs == ours {
        return Ok(());
    }
    let stranger = Stranger { theirs, ours };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, stranger))
}

/// This process's user id, as other processes see it.
fn own_uid() -> io::Result<u32> {
    static OWN: OnceLock<u32> = OnceLock::new();
    if let Some(uid) = OWN.get() {
        return Ok(*uid);
    }
    let (one, _other) = UnixStream::pair()?;
    let uid = other_uid(&one)?;
    Ok(*OWN.get_or_init(|| uid))
}

/// The user id of the process at the other end. Tokio handles the differences between systems.
fn other_uid(stream: &UnixStream) -> io::Result<u32> {
    let _in_runtime = runtime()?.enter();
    let same = stream.try_clone()?;
    same.set_nonblocking(true)?;
    let uid = tokio::net::UnixStream::from_std(same).and_then(|same| Ok(same.peer_cred()?.uid()));
    // Both handles share one blocking mode.
    stream.set_nonblocking(false)?;
    uid
}

/// A runtime that runs no tasks: Tokio requires one to create its streams.
fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let runtime = Builder::new_current_thread().enable_io().build()?;
    Ok(RUNTIME.get_or_init(|| runtime))
}

/// Calls `with` with a path of the folder's socket that is short enough.
fn at<T>(folder: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = folder.join(NAME);
    if path.as_os_str().len() <= MOST_PATH {
        with(&path)
    } else {
        around(folder, with)
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn around<T>(folder: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    use std::os::fd::AsRawFd as _;

    let opened = std::fs::File::open(folder)?;
    with(Path::new(&format!(
        "/proc/self/fd/{}/{NAME}",
        opened.as_raw_fd()
    )))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn around<T>(folder: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let real = folder.canonicalize()?;
    let private = elsewhere::folder(Path::new("/tmp"), own_uid()?)?;
    with(&private.join(elsewhere::name(&real)))
}

/// A private folder of this user for sockets.
#[cfg(any(test, not(any(target_os = "linux", target_os = "android"))))]
mod elsewhere {
    use std::ffi::OsStr;
    use std::fs;
    use std::io;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
    use std::path::{Path, PathBuf};

    #[derive(Debug, thiserror::Error)]
    #[error(
        "{} is not a folder of this user's that nobody else may enter: remove it, or set POTLUCK_HOME \
         to a shorter path", path.display()
    )]
    struct NotOurs {
        path: PathBuf,
    }

    /// This user's folder in `within`, created if it does not exist.
    pub(super) fn folder(within: &Path, uid: u32) -> io::Result<PathBuf> {
        let path = within.join(format!("potluck-{uid}"));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        // Inspect a symbolic link itself, not its target.
        let found = fs::symlink_metadata(&path)?;
        if found.is_dir() && found.uid() == uid && found.mode() & 0o077 == 0 {
            return Ok(path);
        }
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            NotOurs { path },
        ))
    }

    /// The file name of a home's socket there.
    pub(super) fn name(home: &Path) -> String {
        let path: &OsStr = home.as_os_str();
        let hash = blake3::hash(path.as_bytes()).to_hex();
        format!("{}.sock", &hash[..32])
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn temporary() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    #[test]
    fn a_socket_is_found_however_long_its_path_is() {
        let temporary = temporary();
        let long = temporary.path().join("l".repeat(90)).join("home");
        for root in [temporary.path().join("short"), long] {
            fs::create_dir_all(&root).expect("writable");
            let home = Home::at(&root);
            assert!(connect(&home).expect("looked for").is_none());
            let listener = bind(&home).expect("bound");
            assert!(connect(&home).expect("looked for").is_some());
            drop(listener);
            assert!(connect(&home).expect("looked for").is_none(), "left behind");
            let _again = bind(&home).expect("bound");
            let mode = fs::metadata(root.join(NAME)).expect("there").permissions();
            assert_eq!(mode.mode() & 0o777, 0o600);
            remove(&home);
            assert!(!root.join(NAME).exists());
        }
    }

    #[test]
    fn the_other_end_is_known() {
        let (one, _other) = UnixStream::pair().expect("a pair");
        check_other_end(&one).expect("it is ours");
        let temporary = temporary();
        let made = fs::metadata(temporary.path()).expect("there");
        let uid = std::os::unix::fs::MetadataExt::uid(&made);
        assert_eq!(own_uid().expect("told"), uid);
        // The stream still blocks.
        one.set_read_timeout(Some(std::time::Duration::from_millis(1)))
            .expect("not zero");
        let began = std::time::Instant::now();
        let read = io::Read::read(&mut &one, &mut [0]);
        assert!(read.is_err() && began.elapsed() >= std::time::Duration::from_millis(1));
    }

    #[test]
    fn a_folder_elsewhere_is_refused_if_it_is_not_this_users_alone() {
        let uid = own_uid().expect("told");
        let within = temporary();
        let path = elsewhere::folder(within.path(), uid).expect("made");
        assert_eq!(elsewhere::folder(within.path(), uid).expect("again"), path);
        let refused = || {
            let error = elsewhere::folder(within.path(), uid).expect_err("refused");
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            assert!(error.to_string().contains("POTLUCK_HOME"), "{error}");
        };
        let open = |mode| {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(&path, mode).expect("ours");
        };
        for mode in [0o777, 0o750, 0o701] {
            open(mode);
            refused();
        }
        open(0o700);
        elsewhere::folder(within.path(), uid).expect("ours alone");
        if uid == 0 {
            std::os::unix::fs::chown(&path, Some(65_534), None).expect("root may");
            refused();
        } else {
            println!("not tried: a folder of another user, as this is not root");
        }
        fs::remove_dir(&path).expect("empty");
        symlink(within.path(), &path).expect("made");
        refused();
        fs::remove_file(&path).expect("a link");
        fs::write(&path, "").expect("made");
        refused();
    }

    #[test]
    fn homes_elsewhere_have_names_of_their_own_that_stay() {
        let name = |path| elsewhere::name(Path::new(path));
        assert_eq!(name("/a"), name("/a"));
        assert_ne!(name("/a"), name("/b"));
        assert_eq!(name("/a").len(), 32 + ".sock".len());
    }
}
