//! The socket in the home, and who may serve it.

use std::fs::{self, File, TryLockError};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::server::{LocalNode, Service};
use crate::home::Home;
use crate::private_file;

/// The longest path that sockets have on every Unix.
const MOST_PATH: usize = 100;
/// Commands that are served at once.
const MOST_COMMANDS: usize = 64;

/// This process's right to be the one node of a home. The system takes it back with the process.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    _lock: File,
}

/// A home's node cannot be this one.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another process is.
    #[error(
        "another potluck runs in this home: end it first, or set POTLUCK_HOME to another folder"
    )]
    Running,
    /// A file or the socket.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Where a home's socket is: in it, or, where its path is too long for a socket, in a folder of the
/// owner's among temporary files.
fn path_of(home: &Home) -> PathBuf {
    let path = home.root().join("node.sock");
    if path.as_os_str().len() <= MOST_PATH {
        return path;
    }
    let mut hasher = DefaultHasher::new();
    let root = home.root();
    root.canonicalize()
        .unwrap_or_else(|_| root.into())
        .hash(&mut hasher);
    let name = format!("potluck-{:016x}", hasher.finish());
    std::env::temp_dir().join(name).join("node.sock")
}

impl Socket {
    /// Becomes the node of a home.
    ///
    /// # Errors
    /// [`ServeError::Running`] if another process is.
    pub fn claim(home: &Home) -> Result<Self, ServeError> {
        let path = home.root().join("node.lock");
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| ServeError::File { path, source }
        };
        private_file::create_folder(home.root()).map_err(failed(home.root()))?;
        let lock = File::options().create(true).append(true).open(&path);
        let lock = lock.map_err(failed(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ServeError::Running),
            Err(TryLockError::Error(source)) => return Err(failed(&path)(source)),
        }
        Ok(Self {
            path: path_of(home),
            _lock: lock,
        })
    }

    /// Serves commands on threads of their own, for as long as this process runs.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn serve(&self, local: LocalNode) -> Result<(), ServeError> {
        let failed = |source| ServeError::File {
            path: self.path.clone(),
            source,
        };
        if let Some(folder) = self.path.parent() {
            private_file::create_folder(folder).map_err(failed)?;
        }
        // Of a process that is gone, as the lock shows.
        let _ = fs::remove_file(&self.path);
        let listener = UnixListener::bind(&self.path).map_err(failed)?;
        let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&self.path, only_owner).map_err(failed)?;
        thread::Builder::new()
            .name("potluck-local".to_owned())
            .spawn(move || accept(&listener, &local))
            .map(drop)
            .map_err(failed)
    }

    /// A connection to the node of a home; `None` if none runs.
    pub fn connect(home: &Home) -> Option<UnixStream> {
        UnixStream::connect(path_of(home)).ok()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The next node removes what stays.
        let _ = fs::remove_file(&self.path);
    }
}

fn accept(listener: &UnixListener, local: &LocalNode) {
    let served = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            thread::sleep(std::time::Duration::from_millis(10));
            continue;
        };
        if served.fetch_add(1, Ordering::Relaxed) >= MOST_COMMANDS {
            served.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let (local, counted) = (local.clone(), Arc::clone(&served));
        let spawned = thread::Builder::new()
            .name("potluck-command".to_owned())
            .spawn(move || {
                // What ends a connection ends the command.
                let _ = Service::serve(local, stream);
                counted.fetch_sub(1, Ordering::Relaxed);
            });
        if spawned.is_err() {
            served.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
