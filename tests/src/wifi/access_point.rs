//! The thread that carries frames between the devices and the air.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::prctl::set_timerslack;
use nix::sys::time::TimeSpec;

use super::air::Air;
use super::tap::Tap;

/// Larger than any frame: the devices segment what is larger than their 1,500 bytes.
const FRAME: usize = 2_048;
/// Frames read from one device before the others and the arrivals have their turn.
const FRAMES_AT_ONCE: usize = 32;

/// The running access point. Dropping it stops it.
pub(super) struct AccessPoint {
    air: Arc<Mutex<Air>>,
    /// Closed to stop the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl AccessPoint {
    pub(super) fn start(air: Air, devices: Vec<Tap>) -> io::Result<Self> {
        let (stopped, stop) = io::pipe()?;
        let air = Arc::new(Mutex::new(air));
        let shared = Arc::clone(&air);
        let thread = thread::Builder::new()
            .name("access point".into())
            .spawn(move || serve(&shared, &devices, &stopped))?;
        Ok(Self {
            air,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The air. While it is held no frame moves, so that what is changed is true at once.
    pub(super) fn air(&self) -> MutexGuard<'_, Air> {
        lock(&self.air)
    }
}

impl Drop for AccessPoint {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // If it panicked, its words were printed and the test saw a network that is dead.
            let _ = thread.join();
        }
    }
}

/// A test that panicked while it held the air left it whole: every change of it is complete.
fn lock(air: &Mutex<Air>) -> MutexGuard<'_, Air> {
    air.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(air: &Mutex<Air>, devices: &[Tap], stopped: &PipeReader) {
    // The system may wake a thread 50 µs late to save power; a frame's airtime is of that size.
    // Refused, it costs accuracy, which the statistics show.
    let _ = set_timerslack(1);
    let start = Instant::now();
    let watched = devices.iter().map(|device| device.as_fd());
    let mut watched: Vec<_> = watched
        .map(|file| PollFd::new(file, PollFlags::POLLIN))
        .collect();
    watched.push(PollFd::new(stopped.as_fd(), PollFlags::POLLIN));
    let mut buffer = [0; FRAME];
    loop {
        let timeout = {
            let mut air = lock(air);
            for (station, device) in devices.iter().enumerate() {
                if watched[station].any().unwrap_or(true) {
                    read(&mut air, station, device, start, &mut buffer);
                }
            }
            let now = start.elapsed();
            air.advance(now);
            while let Some((station, frame)) = air.arrival(now) {
                // A device that is shut down within its namespace takes no frames, like a radio
                // that is off.
                let _ = devices[station].send(&frame);
            }
            air.timeout()
        };
        let timeout = timeout.map(|at| TimeSpec::from(at.saturating_sub(start.elapsed())));
        match ppoll(&mut watched, timeout, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => panic!("the devices cannot be waited for: {errno}"),
        }
        if watched.last().and_then(PollFd::any).unwrap_or(true) {
            return;
        }
    }
}

/// Reads the frames that a device has ready.
fn read(air: &mut Air, station: usize, device: &Tap, start: Instant, buffer: &mut [u8]) {
    for _ in 0..FRAMES_AT_ONCE {
        let Ok(length) = device.receive(buffer) else {
            return;
        };
        let now = start.elapsed();
        air.advance(now);
        air.send(now, station, &buffer[..length]);
    }
}
