//! The socket in the home, and the right to serve it.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::node::LocalNode;
use super::place::{self, Listener, Stream};
use super::right::{Claim, Right};
use super::server::Service;
use crate::home::Home;
use crate::private_file;

/// Most commands served at once.
const MOST_COMMANDS: usize = 64;

/// This process's right to be the one node of a home, until this is dropped. The system releases it
/// when the process ends.
#[derive(Debug)]
pub struct Socket(Right);

/// This process cannot be the home's node.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another process is the node.
    #[error(
        "another potluck runs in this home: end it first, or set POTLUCK_HOME to another folder"
    )]
    Running,
    /// A file or the socket failed.
    #[error("cannot use {}", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

fn socket_failed(home: &Home) -> impl FnOnce(io::Error) -> ServeError {
    let path = home.root().join("node.sock");
    move |source| ServeError::File { path, source }
}

impl Socket {
    /// Claims the right to be the node of a home.
    ///
    /// # Errors
    /// [`ServeError::Running`] if another process has it.
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
        let claim = Claim::new(home.clone(), lock);
        Ok(Self(Right::new(claim)))
    }

    /// Serves commands of this user on threads of their own, until this is dropped. If `gives_way`,
    /// a command may [ask](super::Request::GiveWay) the node to end so that it can be the home's
    /// node.
    ///
    /// # Errors
    /// The socket cannot be created.
    pub fn serve(&self, local: LocalNode, gives_way: bool) -> Result<(), ServeError> {
        let mut claim = self.0.lock();
        let Some(claim) = claim.as_mut() else {
            return Err(ServeError::Running);
        };
        let failed = |source| socket_failed(&claim.home)(source);
        let listener = place::bind(&claim.home).map_err(failed)?;
        let goes_on = Arc::new(AtomicBool::new(true));
        let right = gives_way.then(|| self.0.clone());
        let served = Arc::clone(&goes_on);
        thread::Builder::new()
            .name("potluck-local".to_owned())
            .spawn(move || accept(&listener, &local, right.as_ref(), &served))
            .map_err(failed)?;
        claim.served = Some(goes_on);
        Ok(())
    }

    /// Connects to the node of a home; `None` if none runs.
    ///
    /// # Errors
    /// The socket exists and is unusable, or belongs to another user.
    pub fn connect(home: &Home) -> Result<Option<Stream>, ServeError> {
        place::connect(home).map_err(socket_failed(home))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

fn accept(listener: &Listener, local: &LocalNode, right: Option<&Right>, goes_on: &AtomicBool) {
    let served = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if !goes_on.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else {
            thread::sleep(std::time::Duration::from_millis(10));
            continue;
        };
        if let Err(error) = place::check_other_end(&stream) {
            tracing::warn!(why = %error, "a command is refused");
            continue;
        }
        if served.fetch_add(1, Ordering::Relaxed) >= MOST_COMMANDS {
            served.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(
                at_most = MOST_COMMANDS,
                "a command is refused: too many are served"
            );
            continue;
        }
        let (local, counted) = (local.clone(), Arc::clone(&served));
        let right = right.cloned();
        let spawned = thread::Builder::new()
            .name("potluck-command".to_owned())
            .spawn(move || {
                // An error ends only this connection.
                let _ = Service::serve(local, stream, right);
                counted.fetch_sub(1, Ordering::Relaxed);
            });
        if spawned.is_err() {
            served.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
