//! What Linux tells in `/sys` and `/proc`.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use potluck_protocol::profile::{Power, Thermal};

use super::{ProcessorTime, SystemSensors, cgroup};

/// The sensors of Linux.
///
/// # Memory
/// `MemAvailable` of `/proc/meminfo`, or what is left under the limits of this process's control groups
/// (a container's, a service's) if that is less.
///
/// # Power
/// Of `/sys/class/power_supply`, the entries whose `type` is `Battery`, but for those of attached
/// devices (`scope` is `Device`) and empty bays (`present` is 0). Without one the device is on mains.
/// The charge is the mean of their `capacity`, or of what is left of `energy_full` or `charge_full`. It
/// charges if a battery's `status` is `Charging`, `Full` or `Not charging`, which systems say when a
/// charger is plugged in but the battery rests, or if any other supply is `online`. A folder that may
/// not be read, as on some phones, or a battery that does not tell its charge is
/// [`Power::Unknown`].
///
/// # Heat
/// The hottest step of all zones in `/sys/class/thermal`, each by its own trip points:
///
/// | step | the zone's temperature |
/// |---|---|
/// | `Critical` | at or above a `hot` point, or at most 5 °C below a `critical` one, where the system shuts down |
/// | `Serious` | at or above a `passive` point, where the system slows the processor |
/// | `Fair` | at most 10 °C below a `passive` point, or 20 °C below a `critical` one |
/// | `Nominal` | else |
///
/// Temperatures and trip points outside of 1 to 200 °C are those of sensors that are not there and
/// points that are not set. Without a zone that tells its temperature and has a point the heat is not
/// known, as in most virtual machines.
///
/// # Processor time
/// The sums of `/proc/self/task/*/schedstat`.
#[derive(Debug, Clone)]
pub struct LinuxSensors {
    root: PathBuf,
}

/// Thousandths of a degree Celsius.
const DEGREE: i64 = 1_000;

impl LinuxSensors {
    /// Those of this device.
    pub fn new() -> Self {
        Self::at("/")
    }

    /// Those of the `sys` and `proc` in this folder.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
}

impl Default for LinuxSensors {
    fn default() -> Self {
        Self::new()
    }
}

impl SystemSensors for LinuxSensors {
    fn processor(&self) -> String {
        let text = fs::read_to_string(self.root.join("proc/cpuinfo")).unwrap_or_default();
        // x86 names the model; ARM gives numbers of maker and core, which differ between big and
        // little cores.
        let names = ["model name", "Hardware", "CPU implementer", "CPU part"];
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        let named = fields.filter(|(name, _)| names.contains(&name.trim()));
        let distinct: BTreeSet<&str> = named.map(|(_, value)| value.trim()).collect();
        if distinct.is_empty() {
            return std::env::consts::ARCH.to_owned();
        }
        distinct.into_iter().collect::<Vec<_>>().join(" ")
    }

    fn available_memory(&self) -> Option<u64> {
        // proc_meminfo(5): in kB, since Linux 3.14.
        let text = fs::read_to_string(self.root.join("proc/meminfo")).unwrap_or_default();
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix("MemAvailable:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
        let of_system = kilobytes.and_then(|kilobytes: u64| kilobytes.checked_mul(1024));
        let of_groups = cgroup::available_memory(&self.root);
        of_system.into_iter().chain(of_groups).min()
    }

    fn power(&self) -> Power {
        let supplies = match entries(&self.root.join("sys/class/power_supply")) {
            Ok(supplies) => supplies,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Power::Mains,
            Err(_) => return Power::Unknown,
        };
        power_of(&supplies)
    }

    fn thermal(&self) -> Option<Thermal> {
        let zones = entries(&self.root.join("sys/class/thermal")).unwrap_or_default();
        let zones = zones.iter().filter(|zone| {
            let name = zone.file_name().unwrap_or_default();
            name.to_string_lossy().starts_with("thermal_zone")
        });
        zones.filter_map(|zone| thermal_of(zone)).max()
    }

    fn processor_time(&self) -> Option<ProcessorTime> {
        let threads = entries(&self.root.join("proc/self/task")).ok()?;
        // Documentation/scheduler/sched-stats: nanoseconds on a processor, nanoseconds waiting for one.
        let times = threads.iter().filter_map(|thread| {
            let stat = text(thread, "schedstat")?;
            let mut numbers = stat.split(' ').map(str::parse);
            let mut next = || numbers.next()?.ok().map(Duration::from_nanos);
            Some((next()?, next()?))
        });
        times.fold(None, |sum, (ran, waited)| {
            let sum: ProcessorTime = sum.unwrap_or_default();
            Some(ProcessorTime {
                ran: sum.ran.saturating_add(ran),
                waited: sum.waited.saturating_add(waited),
            })
        })
    }

    fn load(&self) -> Option<f64> {
        let text = text(&self.root, "proc/loadavg")?;
        text.split(' ').next()?.parse().ok()
    }
}

fn power_of(supplies: &[PathBuf]) -> Power {
    let is = |supply: &Path, file: &str, word: &str| {
        text(supply, file).is_some_and(|text| text.eq_ignore_ascii_case(word))
    };
    let is_battery = |supply: &Path| is(supply, "type", "Battery");
    let batteries = supplies.iter().filter(|supply| {
        is_battery(supply) && !is(supply, "scope", "Device") && !is(supply, "present", "0")
    });
    let batteries: Vec<_> = batteries.collect();
    if batteries.is_empty() {
        return Power::Mains;
    }
    let charges: Option<Vec<u64>> = batteries.iter().map(|battery| charge_of(battery)).collect();
    let Some(charges) = charges else {
        return Power::Unknown;
    };
    let mean = charges.iter().sum::<u64>() / charges.len() as u64;
    let plugged = ["Charging", "Full", "Not charging"];
    let plugged = |battery: &&PathBuf| plugged.iter().any(|word| is(battery, "status", word));
    let online = |supply: &PathBuf| !is_battery(supply) && is(supply, "online", "1");
    Power::Battery {
        percent: u8::try_from(mean).unwrap_or(100).min(100),
        charging: batteries.iter().any(plugged) || supplies.iter().any(online),
    }
}

/// A battery's charge, 0 to 100.
fn charge_of(battery: &Path) -> Option<u64> {
    let number = |file: &str| number(battery, file).and_then(|n| u64::try_from(n).ok());
    let share = |what: &str| {
        let (now, full) = (
            number(&format!("{what}_now"))?,
            number(&format!("{what}_full"))?,
        );
        now.saturating_mul(100).checked_div(full)
    };
    let charge = number("capacity").or_else(|| share("energy"));
    charge
        .or_else(|| share("charge"))
        .map(|percent| percent.min(100))
}

/// How hot a zone is; `None` if it does not tell, or not what is hot for it.
fn thermal_of(zone: &Path) -> Option<Thermal> {
    let plausible = |temperature: &i64| (DEGREE..=200 * DEGREE).contains(temperature);
    let temperature = number(zone, "temp").filter(plausible)?;
    let mut thermal = None;
    // Points are numbered without gaps; none has more than a dozen.
    for point in 0..64 {
        let Some(kind) = text(zone, &format!("trip_point_{point}_type")) else {
            break;
        };
        let at = number(zone, &format!("trip_point_{point}_temp")).filter(plausible);
        let below = at.map(|at| at - temperature);
        let step = match (kind.as_str(), below) {
            ("hot", Some(..=0)) => Thermal::Critical,
            ("critical", Some(below)) if below <= 5 * DEGREE => Thermal::Critical,
            ("critical", Some(below)) if below <= 20 * DEGREE => Thermal::Fair,
            ("passive", Some(..=0)) => Thermal::Serious,
            ("passive", Some(below)) if below <= 10 * DEGREE => Thermal::Fair,
            ("hot" | "critical" | "passive", Some(_)) => Thermal::Nominal,
            // `active` points start fans.
            _ => continue,
        };
        thermal = thermal.max(Some(step));
    }
    thermal
}

/// The entries of a folder, in order of their names.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut entries = entries.collect::<io::Result<Vec<_>>>()?;
    entries.sort();
    Ok(entries)
}

/// A file's text without the line's end; `None` if it cannot be read.
fn text(folder: &Path, file: &str) -> Option<String> {
    let text = fs::read_to_string(folder.join(file)).ok()?;
    Some(text.trim().to_owned())
}

fn number(folder: &Path, file: &str) -> Option<i64> {
    text(folder, file)?.parse().ok()
}
