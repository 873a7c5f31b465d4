//! A network namespace with one Ethernet device whose frames we read and write.
//!
//! Nothing has a name outside this process: a namespace lives as long as a file, a thread or a
//! program in it does, and its device as long as our file of it. However the process ends, the
//! system removes both: the device at once, the namespace when TCP has given up the connections in
//! it that had bytes under way, which takes up to about two minutes.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};

use super::air::hardware_address;
use super::tap::Tap;

/// The name of each station's device, within its namespace.
const DEVICE: &str = "wlan0";

/// Why there is no network namespace.
#[derive(Debug)]
pub(super) enum NoNetwork {
    /// The system does not let this process make namespaces; a user namespace might help.
    NotPermitted,
    /// Anything else, in words.
    Other(String),
}

/// A network namespace.
pub(super) struct Network {
    namespace: File,
}

impl Network {
    /// A new namespace, and the device of this station in it.
    pub(super) fn new(station: usize) -> Result<(Self, Tap), NoNetwork> {
        // A thread of its own: it stays in the namespace for good.
        thread::spawn(move || Self::on_this_thread(station))
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn on_this_thread(station: usize) -> Result<(Self, Tap), NoNetwork> {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| match errno {
            Errno::EPERM => NoNetwork::NotPermitted,
            errno => other("no network namespace can be made")(errno),
        })?;
        let namespace = File::open("/proc/thread-self/ns/net")
            .map_err(other("the network namespace cannot be opened"))?;
        prefer_loss_based_congestion_control()?;
        let device = Tap::new(DEVICE).map_err(other("/dev/net/tun gives no device"))?;
        configure(station)?;
        Ok((Self { namespace }, device))
    }

    /// Moves the calling thread into the namespace, for good.
    ///
    /// # Panics
    /// When the system forbids what it allowed before.
    pub(super) fn enter_for_good(&self) {
        setns(&self.namespace, CloneFlags::CLONE_NEWNET).expect("our own namespace can be entered");
    }

    /// A command that runs this program within the namespace, under its own process id.
    pub(super) fn command(&self, program: &OsStr) -> Command {
        // By way of our process, as the file is closed when the command is executed.
        let (process, file) = (process::id(), self.namespace.as_raw_fd());
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{process}/fd/{file}"))
            .arg("--")
            .arg(program);
        command
    }
}

fn other<E: std::fmt::Display>(words: &'static str) -> impl Fn(E) -> NoNetwork {
    move |error| NoNetwork::Other(format!("{words}: {error}"))
}

/// The address of a station in the one subnet.
pub(super) fn address(station: usize) -> Ipv4Addr {
    let host = u8::try_from(station + 1).expect("there are fewer stations than addresses");
    Ipv4Addr::new(10, 77, 0, host)
}

/// The link-local address of a station.
pub(super) fn link_local_address(station: usize) -> Ipv6Addr {
    let host = u16::try_from(station + 1).expect("there are fewer stations than addresses");
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, host)
}

/// A device's congestion control is inherited from the host. Some hosts have BBR, which spreads a
/// small burst over milliseconds and ignores loss; phones have the ones preferred here.
fn prefer_loss_based_congestion_control() -> Result<(), NoNetwork> {
    const SETTING: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
    let set = |name: &str| fs::write(SETTING, name);
    set("cubic")
        .or_else(|_| set("reno"))
        .map_err(other("the congestion control of TCP cannot be set"))
}

/// Gives the device its addresses, and the way for multicast that a default route would give.
fn configure(station: usize) -> Result<(), NoNetwork> {
    let hardware = hardware_address(station).map(|byte| format!("{byte:02x}"));
    let hardware = hardware.join(":");
    let v4 = address(station);
    let mut lines = format!(
        "link set dev lo up\n\
         link set dev {DEVICE} address {hardware} addrgenmode none\n\
         link set dev {DEVICE} up\n\
         address add {v4}/24 broadcast + dev {DEVICE}\n\
         route add 224.0.0.0/4 dev {DEVICE}\n"
    );
    if Path::new("/proc/sys/net/ipv6").exists() {
        // Without duplicate address detection, which would take a second.
        let v6 = link_local_address(station);
        lines += &format!("address add {v6}/64 dev {DEVICE} nodad\n");
    }
    ip(&lines).map_err(other("the device cannot be configured"))
}

/// Runs these lines of `ip` in the calling thread's namespace.
fn ip(lines: &str) -> io::Result<()> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::other(format!("the command ip (iproute2): {error}")))?;
    // Dropped at once: the end of its input ends it. What it did not read is in its exit status.
    let _ = child
        .stdin
        .take()
        .expect("piped")
        .write_all(lines.as_bytes());
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(words.trim().to_owned()))
}
