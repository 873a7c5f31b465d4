//! An Ethernet device whose other end is a file: what the namespace sends is read from it, what is
//! written to it the namespace receives. The one system call here that no safe library of the
//! workspace makes is why this file may use `unsafe`.

use std::ffi::{c_int, c_short};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use nix::libc::{IFF_NO_PI, IFF_TAP, O_NONBLOCK};

/// Where such devices come from.
pub(super) const SOURCE: &str = "/dev/net/tun";

/// `struct ifreq` of `linux/if.h` as TUNSETIFF uses it: name, flags, and the rest of its union.
/// 40 bytes, which is its size on 64-bit systems; on 32-bit ones it is smaller.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: c_short,
    rest: [u8; 22],
}

mod request {
    use super::{InterfaceRequest, c_int};

    // TUNSETIFF of `linux/if_tun.h`, whose number says `int` though it takes a `struct ifreq`.
    nix::ioctl_write_ptr_bad!(
        set_interface,
        nix::request_code_write!(b'T', 202, size_of::<c_int>()),
        InterfaceRequest
    );
}

/// The device. It is gone when this is dropped.
pub(super) struct Tap {
    file: File,
}

impl Tap {
    /// A device of this name in the calling thread's network namespace.
    pub(super) fn new(name: &str) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(O_NONBLOCK)
            .open(SOURCE)?;
        let mut interface = InterfaceRequest {
            name: [0; 16],
            flags: c_short::try_from(IFF_TAP | IFF_NO_PI).map_err(io::Error::other)?,
            rest: [0; 22],
        };
        // The last byte stays zero and ends the name.
        let room = interface.name.len() - 1;
        let Some(to) = interface.name[..room].get_mut(..name.len()) else {
            return Err(io::Error::other("a device's name has at most 15 bytes"));
        };
        to.copy_from_slice(name.as_bytes());
        // SAFETY: the file is open, and the system reads and writes one `struct ifreq` at the
        // pointer, which is valid, exclusive, initialised, and as large or larger.
        unsafe { request::set_interface(file.as_raw_fd(), &raw mut interface) }?;
        Ok(Self { file })
    }

    /// Reads a frame that the namespace has sent; the error `WouldBlock` if there is none.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buffer)
    }

    /// Lets the namespace receive a frame.
    pub(super) fn send(&self, frame: &[u8]) -> io::Result<()> {
        // Never in part: a write is a frame.
        (&self.file).write(frame).map(drop)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
