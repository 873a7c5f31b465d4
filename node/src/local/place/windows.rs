//! A named pipe that only its user may open.
//!
//! | attacker | is kept out by |
//! |---|---|
//! | another user as a command | the pipe's security descriptor: its owner, and the system |
//! | another machine | the pipe takes local clients only |
//! | another user's process as the node | the pipe's random name, and the secret that the node sends first; both are in a file of the home, and creating a pipe fails if the name exists |
//!
//! Unlike a socket, a pipe cannot be shut down for reading from another thread, so an async runtime
//! reads and writes it and can cancel a wait.

use std::fs;
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use data_encoding::HEXLOWER;
use interprocess::os::windows::named_pipe::tokio::{DuplexPipeStream, PipeListener};
use interprocess::os::windows::named_pipe::{PipeListenerOptions, pipe_mode};
use interprocess::os::windows::security_descriptor::SecurityDescriptor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::{Builder, Handle};
use tokio::sync::Notify;
use widestring::U16CString;

use crate::home::Home;
use crate::private_file;

/// Name of the file with the pipe's name and secret.
const FILE: &str = "node.pipe";
/// Length of the pipe's random name, and of the secret, in bytes.
const BYTES: usize = 16;
/// Full access for the pipe's owner, which is its creator, and for the system; none for anyone
/// else, and no inherited entries.
const OWNER_ONLY: &str = "D:P(A;;GA;;;OW)(A;;GA;;;SY)";
/// How long to wait for the node's secret.
const PATIENCE: Duration = Duration::from_secs(5);

/// A pipe's name and its creator's secret.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    name: [u8; BYTES],
    secret: [u8; BYTES],
}

impl Place {
    fn random() -> io::Result<Self> {
        let mut place = Self {
            name: [0; BYTES],
            secret: [0; BYTES],
        };
        getrandom::fill(&mut place.name).map_err(io::Error::other)?;
        getrandom::fill(&mut place.secret).map_err(io::Error::other)?;
        Ok(place)
    }

    fn file(home: &Home) -> PathBuf {
        home.root().join(FILE)
    }

    /// Reads the place of a home's node; `None` if there is no valid file.
    fn of(home: &Home) -> io::Result<Option<Self>> {
        let Some(bytes) = private_file::read(&Self::file(home), 2 * BYTES)? else {
            return Ok(None);
        };
        let halves = bytes.split_at_checked(BYTES);
        Ok(halves.and_then(|(name, secret)| {
            Some(Self {
                name: name.try_into().ok()?,
                secret: secret.try_into().ok()?,
            })
        }))
    }

    fn keep(&self, home: &Home) -> io::Result<()> {
        private_file::replace(&Self::file(home), &[self.name, self.secret].concat())
    }

    fn path(&self) -> String {
        format!(r"\\.\pipe\potluck-{}", HEXLOWER.encode(&self.name))
    }
}

/// A connection between a command and a node.
#[derive(Debug, Clone)]
pub struct Stream(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    pipe: DuplexPipeStream<pipe_mode::Bytes>,
    is_shut: AtomicBool,
    shut: Notify,
}

impl Stream {
    fn new(pipe: DuplexPipeStream<pipe_mode::Bytes>) -> Self {
        Self(Arc::new(Shared {
            pipe,
            is_shut: AtomicBool::new(false),
            shut: Notify::new(),
        }))
    }

    /// Creates both ends of a connection.
    ///
    /// # Errors
    /// The system's I/O error.
    pub fn pair() -> io::Result<(Self, Self)> {
        let listener = Listener::new(Place::random()?)?;
        let path = listener.place.path();
        block_on(async {
            let (ours, theirs) = tokio::join!(listener.pipe.accept(), open(&path));
            Ok((Self::new(ours?), Self::new(theirs?)))
        })?
    }

    /// Another handle of the same connection.
    ///
    /// # Errors
    /// None: the signature matches that of a socket.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(self.clone())
    }

    /// Shuts down the connection for all handles of this process.
    ///
    /// # Errors
    /// None: the signature matches that of a socket.
    pub fn shutdown(&self, _how: Shutdown) -> io::Result<()> {
        self.0.is_shut.store(true, Ordering::SeqCst);
        self.0.shut.notify_waiters();
        Ok(())
    }

    /// Waits for `work`; `None` if the connection is shut down first.
    fn unless_shut<T>(&self, work: impl Future<Output = io::Result<T>>) -> io::Result<Option<T>> {
        block_on(async {
            let shut = self.0.shut.notified();
            tokio::pin!(shut);
            // From here on wake-ups are registered: an earlier shutdown is seen below, a later one
            // wakes this.
            shut.as_mut().enable();
            if self.0.is_shut.load(Ordering::SeqCst) {
                return Ok(None);
            }
            tokio::select! {
                done = work => done.map(Some),
                () = shut => Ok(None),
            }
        })?
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut pipe = &self.0.pipe;
        Ok(self.unless_shut(pipe.read(into))?.unwrap_or(0))
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pipe = &self.0.pipe;
        let written = self.unless_shut(pipe.write(bytes))?;
        written.ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    /// Written data is already with the system; waiting until the other end has read it would take
    /// too long.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A node's listening pipe.
#[derive(Debug)]
pub(in crate::local) struct Listener {
    place: Place,
    pipe: PipeListener<pipe_mode::Bytes, pipe_mode::Bytes>,
}

impl Listener {
    /// Fails if a pipe of this name exists.
    fn new(place: Place) -> io::Result<Self> {
        let wide = |text: &str| U16CString::from_str(text).map_err(io::Error::other);
        let owner_only = SecurityDescriptor::deserialize(&wide(OWNER_ONLY)?)?;
        let _in_runtime = runtime()?.enter();
        let pipe = PipeListenerOptions::new()
            .path(wide(&place.path())?)
            .security_descriptor(Some(owner_only))
            .create_tokio_duplex::<pipe_mode::Bytes>()?;
        Ok(Self { place, pipe })
    }

    /// Waits for the next command and sends it the secret.
    fn accept(&self) -> io::Result<Stream> {
        let mut stream = Stream::new(block_on(self.pipe.accept())??);
        stream.write_all(&self.place.secret)?;
        Ok(stream)
    }

    pub(in crate::local) fn incoming(&self) -> impl Iterator<Item = io::Result<Stream>> {
        std::iter::repeat_with(|| self.accept())
    }
}

/// Creates the pipe of a home that has no running node.
///
/// # Errors
/// The system's I/O error.
pub(in crate::local) fn bind(home: &Home) -> io::Result<Listener> {
    let place = Place::random()?;
    let listener = Listener::new(place.clone())?;
    place.keep(home)?;
    Ok(listener)
}

/// Connects to this user's process that serves a home's pipe; `None` if there is none.
///
/// # Errors
/// The system's I/O error, or the pipe's name belongs to something else.
pub(in crate::local) fn connect(home: &Home) -> io::Result<Option<Stream>> {
    let Some(place) = Place::of(home)? else {
        return Ok(None);
    };
    let stream = match block_on(open(&place.path()))? {
        Ok(pipe) => Stream::new(pipe),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let said = block_on(async {
        let mut said = [0; BYTES];
        let mut pipe = &stream.0.pipe;
        let read = tokio::time::timeout(PATIENCE, pipe.read_exact(&mut said)).await;
        read.map_err(io::Error::other)??;
        io::Result::Ok(said)
    })??;
    if said == place.secret {
        return Ok(Some(stream));
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        "the pipe of this home's node is another program's",
    ))
}

async fn open(path: &str) -> io::Result<DuplexPipeStream<pipe_mode::Bytes>> {
    DuplexPipeStream::connect_by_path(path).await
}

/// Removes the file with a home's pipe name. The pipe itself ends with its process.
pub(in crate::local) fn remove(home: &Home) {
    // If this fails, the next node overwrites it.
    let _ = fs::remove_file(Place::file(home));
}

/// Does nothing: the pipe's security descriptor already limits it to this user.
///
/// # Errors
/// None: the signature matches that of a socket.
pub(in crate::local) fn check_other_end(_stream: &Stream) -> io::Result<()> {
    Ok(())
}

/// Runs `work` to completion on this thread; the runtime's own thread does the I/O.
fn block_on<T>(work: impl Future<Output = T>) -> io::Result<T> {
    Ok(runtime()?.block_on(work))
}

/// A runtime whose thread lives as long as the process.
fn runtime() -> io::Result<&'static Handle> {
    static RUNTIME: OnceLock<Handle> = OnceLock::new();
    if let Some(handle) = RUNTIME.get() {
        return Ok(handle);
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name("potluck-pipes".to_owned())
        .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(RUNTIME.get_or_init(|| handle))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_read_and_write_at_once_and_end() {
        let (mut one, mut other) = Stream::pair().expect("a pair");
        let mut reader = other.try_clone().expect("shared");
        let waiting = thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        });
        other.write_all(b"while it is read").expect("open");
        let mut there = [0; 16];
        one.read_exact(&mut there).expect("written");
        one.write_all(b"back").expect("open");
        one.shutdown(Shutdown::Both).expect("none");
        drop(one);
        let all = waiting.join().expect("no panic").expect("an end");
        assert_eq!((&there, &all[..]), (b"while it is read", &b"back"[..]));
    }

    #[test]
    fn a_node_is_found_by_its_home_and_only_while_it_is_there() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let home = Home::at(temporary.path());
        assert!(connect(&home).expect("looked for").is_none());
        let listener = bind(&home).expect("bound");
        let accepting = thread::spawn(move || (listener.accept(), listener));
        assert!(connect(&home).expect("looked for").is_some());
        let (accepted, listener) = accepting.join().expect("no panic");
        drop((accepted, listener));
        assert!(connect(&home).expect("looked for").is_none(), "left behind");
        remove(&home);
        assert_eq!(Place::of(&home).expect("readable"), None);
    }

    #[test]
    fn a_program_that_does_not_know_the_secret_is_refused() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let home = Home::at(temporary.path());
        let place = Place::random().expect("random");
        place.keep(&home).expect("writable");
        let other = Place {
            secret: [7; BYTES],
            ..place
        };
        let listener = Listener::new(other).expect("bound");
        let accepting = thread::spawn(move || listener.accept());
        let error = connect(&home).expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let _ = accepting.join();
    }
}
