//! What macOS tells through its own programs.
//!
//! | | program | what of it |
//! |---|---|---|
//! | processor | `sysctl -n machdep.cpu.brand_string` | all |
//! | memory | `vm_stat`, `sysctl -n hw.memsize` | pages that nobody uses or that are cached files |
//! | memory, if those cannot be read | `memory_pressure -Q` | the free percentage |
//! | power | `pmset -g batt` | source, charge |
//! | heat | `pmset -g therm` | warning levels, the processor's limits |
//! | load | `sysctl -n vm.loadavg` | the first number |
//!
//! What these print is parsed alike on every system, so that its tests run everywhere. What a program
//! does not print, or not within [`PATIENCE`], is not known.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use potluck_protocol::profile::{Power, Thermal};

use super::{ProcessorTime, SystemSensors};

/// How long a program may take. They take milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked at.
const POLL: Duration = Duration::from_millis(2);
/// The most that is read of what it prints.
const MOST_BYTES: u64 = 64 << 10;

/// What a program prints with these arguments; `None` if it fails.
type Print = fn(&str, &[&str]) -> Option<String>;

/// The sensors of macOS.
#[derive(Debug, Clone)]
pub struct MacSensors {
    print: Print,
    last: Arc<Mutex<Last>>,
}

/// Power and heat as they were when they were looked at last.
#[derive(Debug, Default)]
struct Last {
    seen: Option<(Power, Option<Thermal>)>,
    /// A thread looks again.
    looking: bool,
}

impl MacSensors {
    /// Those of this device.
    pub fn new() -> Self {
        Self::with(print)
    }

    fn with(print: Print) -> Self {
        Self {
            print,
            last: Arc::default(),
        }
    }

    /// Power and heat. Whoever asks must not wait for programs: only the first look is waited for, and
    /// each later one is for the next time.
    fn look(&self) -> (Power, Option<Thermal>) {
        let print = self.print;
        let look = move || {
            let batt = print("/usr/bin/pmset", &["-g", "batt"]);
            let therm = print("/usr/bin/pmset", &["-g", "therm"]);
            let power = batt.map_or(Power::Unknown, |batt| power_of(&batt));
            (power, therm.and_then(|therm| thermal_of(&therm)))
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(seen) = last.seen else {
            return *last.seen.insert(look());
        };
        if !last.looking {
            let shared = Arc::clone(&self.last);
            let looking = thread::Builder::new().spawn(move || {
                let seen = look();
                let mut last = shared.lock().unwrap_or_else(PoisonError::into_inner);
                *last = Last {
                    seen: Some(seen),
                    looking: false,
                };
            });
            last.looking = looking.is_ok();
        }
        seen
    }

    fn sysctl(&self, name: &str) -> Option<String> {
        let text = (self.print)("/usr/sbin/sysctl", &["-n", name])?;
        Some(text.trim().to_owned())
    }
}

impl Default for MacSensors {
    fn default() -> Self {
        Self::new()
    }
}

impl SystemSensors for MacSensors {
    fn processor(&self) -> String {
        let name = self.sysctl("machdep.cpu.brand_string");
        let name = name.filter(|name| !name.is_empty());
        name.unwrap_or_else(|| std::env::consts::ARCH.to_owned())
    }

    fn available_memory(&self) -> Option<u64> {
        let all = self.sysctl("hw.memsize").and_then(|text| text.parse().ok());
        let pages = (self.print)("/usr/bin/vm_stat", &[]);
        let of_pages = pages.and_then(|pages| available_of(&pages));
        let available = of_pages.or_else(|| {
            let pressure = (self.print)("/usr/bin/memory_pressure", &["-Q"])?;
            let share = u128::from(all?) * u128::from(free_percent(&pressure)?) / 100;
            u64::try_from(share).ok()
        });
        available.map(|bytes| bytes.min(all.unwrap_or(u64::MAX)))
    }

    fn power(&self) -> Power {
        self.look().0
    }

    fn thermal(&self) -> Option<Thermal> {
        self.look().1
    }

    fn processor_time(&self) -> Option<ProcessorTime> {
        None
    }

    fn load(&self) -> Option<f64> {
        let text = self.sysctl("vm.loadavg")?;
        first_load(&text)
    }
}

/// What macOS calls this device on its network; `None` elsewhere.
pub(crate) fn host_name_of_macos() -> Option<String> {
    let name = print("/usr/sbin/sysctl", &["-n", "kern.hostname"])?;
    let name = name.trim();
    Some(name.strip_suffix(".local").unwrap_or(name).to_owned())
}

/// Runs a program of the system.
fn print(program: &str, args: &[&str]) -> Option<String> {
    // Elsewhere there are other programs of these names.
    if !cfg!(target_os = "macos") {
        return None;
    }
    printed(program, args, PATIENCE)
}

/// What a program prints within some time; `None` if it fails or does not end.
fn printed(program: &str, args: &[&str], patience: Duration) -> Option<String> {
    let mut child = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let stdout = child.stdout.take();
    let reader = thread::Builder::new().spawn(move || {
        let mut text = String::new();
        let read = stdout?.take(MOST_BYTES).read_to_string(&mut text);
        read.ok().map(|_| text)
    });
    let until = Instant::now() + patience;
    let succeeded = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status.success(),
            Ok(None) if Instant::now() < until => thread::sleep(POLL),
            // It may have ended just now, which is well.
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    };
    let text = reader.ok()?.join().ok()??;
    succeeded.then_some(text)
}

/// Of `vm_stat`: what a program could take without others being compressed or swapped. Of pages that
/// were not used for a while only those of files count: the others would have to be kept elsewhere.
fn available_of(vm_stat: &str) -> Option<u64> {
    let (_, size) = vm_stat.split_once("page size of ")?;
    let size: u64 = size.split(' ').next()?.parse().ok()?;
    let pages = |name: &str| -> Option<u64> {
        let mut lines = vm_stat.lines();
        let rest = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        rest.trim().trim_end_matches('.').parse().ok()
    };
    let files = pages("Pages inactive")?.min(pages("File-backed pages").unwrap_or(0));
    let others = ["Pages speculative", "Pages purgeable"];
    let others = others.iter().filter_map(|name| pages(name));
    let all = others.fold(pages("Pages free")?, u64::saturating_add);
    all.saturating_add(files).checked_mul(size)
}

/// Of `memory_pressure -Q`: `System-wide memory free percentage: 61%`.
fn free_percent(memory_pressure: &str) -> Option<u8> {
    let (_, rest) = memory_pressure.split_once("memory free percentage:")?;
    let (percent, _) = rest.split_once('%')?;
    let percent = percent.trim().parse().ok()?;
    (percent <= 100).then_some(percent)
}

/// Of `pmset -g batt`. Without a battery only where the power is drawn from is said.
fn power_of(batt: &str) -> Power {
    let source = |name: &str| batt.contains(&format!("drawing from '{name}'"));
    let charging = source("AC Power");
    // ` -InternalBattery-0 (id=4653155)	85%; discharging; 4:32 remaining present: true`
    let batteries = batt
        .lines()
        .filter(|line| line.trim_start().starts_with('-') && !line.contains("present: false"));
    let charges = batteries.map(|line| {
        let (before, _) = line.split_once('%')?;
        let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<u64>().ok().map(|percent| percent.min(100))
    });
    let Some(charges) = charges.collect::<Option<Vec<_>>>() else {
        return Power::Unknown;
    };
    let count = charges.len() as u64;
    match charges.iter().sum::<u64>().checked_div(count) {
        Some(mean) => Power::Battery {
            percent: u8::try_from(mean).unwrap_or(100),
            charging,
        },
        None if charging => Power::Mains,
        None => Power::Unknown,
    }
}

/// Of `pmset -g therm`: the worst of what it says. That no warning has been recorded says that there was
/// none.
///
/// | line | step |
/// |---|---|
/// | a thermal warning level of 10 or more, where the system sleeps | `Critical` |
/// | of 5 to 9; a speed, scheduler or processor limit that lowers something | `Serious` |
/// | of 1 to 4; any performance warning level but 0 | `Fair` |
fn thermal_of(therm: &str) -> Option<Thermal> {
    therm.lines().filter_map(thermal_of_line).max()
}

fn thermal_of_line(line: &str) -> Option<Thermal> {
    let line = line.to_ascii_lowercase();
    if line.contains("no thermal warning level has been recorded") {
        return Some(Thermal::Nominal);
    }
    let (name, value) = line.split_once(['=', ':'])?;
    let value: u32 = value.trim().parse().ok()?;
    let name = name.trim().replace('_', " ");
    let step = match (name.as_str(), value) {
        ("thermal warning level" | "performance warning level", 0) => Thermal::Nominal,
        ("thermal warning level", 10..) => Thermal::Critical,
        ("thermal warning level", 5..) => Thermal::Serious,
        ("thermal warning level" | "performance warning level", _) => Thermal::Fair,
        // In percent.
        ("cpu speed limit" | "cpu scheduler limit", ..100) => Thermal::Serious,
        ("cpu speed limit" | "cpu scheduler limit", _) => Thermal::Nominal,
        _ => return None,
    };
    Some(step)
}

/// Of `sysctl -n vm.loadavg`: `{ 2.10 1.90 1.80 }`.
fn first_load(loadavg: &str) -> Option<f64> {
    let mut words = loadavg.split([' ', '{', '}']).filter(|w| !w.is_empty());
    // Some languages write a comma.
    let load: f64 = words.next()?.replace(',', ".").parse().ok()?;
    (load.is_finite() && load >= 0.0).then_some(load)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const VM_STAT: &str = "\
Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10000.
Pages active:                            200000.
Pages inactive:                          190000.
Pages speculative:                         2000.
Pages throttled:                              0.
Pages wired down:                         90000.
Pages purgeable:                           1000.
\"Translation faults\":                 123456789.
Pages copy-on-write:                    1234567.
Pages zero filled:                     98765432.
Pages reactivated:                       123456.
Pages purged:                             54321.
File-backed pages:                        50000.
Anonymous pages:                         340000.
Pages stored in compressor:              300000.
Pages occupied by compressor:            100000.
Pageins:                                1234567.
Swapins:                                      0.
";

    #[test]
    fn memory_is_pages_that_nobody_uses_or_that_are_cached_files() {
        assert_eq!(available_of(VM_STAT), Some(63_000 * 16_384));
        let few_files = VM_STAT.replace("50000.", "500000.");
        assert_eq!(available_of(&few_files), Some(203_000 * 16_384));
        let intel = VM_STAT.replace("16384", "4096");
        assert_eq!(available_of(&intel), Some(63_000 * 4_096));
        for broken in [
            "",
            "page size of many bytes",
            &VM_STAT.replace("Pages free", "P"),
        ] {
            assert_eq!(available_of(broken), None, "{broken}");
        }
        let huge = VM_STAT.replace("10000.", "18446744073709551615.");
        assert_eq!(available_of(&huge), None);
    }

    #[test]
    fn the_free_percentage_is_taken_where_pages_are_not_told() {
        let text = "The system has 17179869184 (1048576 pages with a page size of 16384).\n\
                    System-wide memory free percentage: 61%\n";
        assert_eq!(free_percent(text), Some(61));
        assert_eq!(free_percent("memory free percentage: 300%"), None);
        let sensors = MacSensors::with(|program, args| match (program, args) {
            ("/usr/sbin/sysctl", ["-n", "hw.memsize"]) => Some("17179869184\n".to_owned()),
            ("/usr/bin/memory_pressure", _) => {
                Some("System-wide memory free percentage: 50%\n".to_owned())
            }
            _ => None,
        });
        assert_eq!(sensors.available_memory(), Some(8 << 30));
        let more_than_all = MacSensors::with(|program, _| match program {
            "/usr/sbin/sysctl" => Some("1000000".to_owned()),
            "/usr/bin/vm_stat" => Some(VM_STAT.to_owned()),
            _ => None,
        });
        assert_eq!(more_than_all.available_memory(), Some(1_000_000));
    }

    #[test]
    fn a_batterys_charge_and_plug_are_read() {
        let battery = |percent, charging| Power::Battery { percent, charging };
        let on = |source: &str, rest: &str| {
            power_of(&format!(
                "Now drawing from '{source}'\n -InternalBattery-0 (id=4653155)\t{rest}\n"
            ))
        };
        let discharging = "85%; discharging; 4:32 remaining present: true";
        assert_eq!(on("Battery Power", discharging), battery(85, false));
        for state in [
            "85%; charging; 0:51 remaining present: true",
            "85%; AC attached; not charging present: true",
            "85%; finishing charge; 0:10 remaining present: true",
        ] {
            assert_eq!(on("AC Power", state), battery(85, true), "{state}");
        }
        let full = "100%; charged; 0:00 remaining present: true";
        assert_eq!(on("AC Power", full), battery(100, true));
        // A desktop, and what cannot be understood.
        assert_eq!(power_of("Now drawing from 'AC Power'\n"), Power::Mains);
        assert_eq!(on("AC Power", "0%; (removed) present: false"), Power::Mains);
        assert_eq!(on("AC Power", "charge unknown"), Power::Unknown);
        assert_eq!(power_of(""), Power::Unknown);
    }

    #[test]
    fn heat_is_the_worst_that_is_said() {
        let quiet = "Note: No thermal warning level has been recorded\n\
                     Note: No performance warning level has been recorded\n\
                     Note: No CPU power status has been recorded\n";
        assert_eq!(thermal_of(quiet), Some(Thermal::Nominal));
        let limits = |speed| {
            format!(
                "2026-11-30 10:00:00 +0000 CPU Power notify\n\tCPU_Scheduler_Limit \t= 100\n\
                 \tCPU_Available_CPUs \t= 8\n\tCPU_Speed_Limit \t= {speed}\n"
            )
        };
        assert_eq!(thermal_of(&limits(100)), Some(Thermal::Nominal));
        assert_eq!(thermal_of(&limits(62)), Some(Thermal::Serious));
        let level = |level| thermal_of(&format!("Thermal Warning Level = {level}\n"));
        let steps = [0, 1, 5, 10].map(level);
        let expected = [
            Thermal::Nominal,
            Thermal::Fair,
            Thermal::Serious,
            Thermal::Critical,
        ];
        assert_eq!(steps, expected.map(Some));
        assert_eq!(
            thermal_of(&(quiet.to_owned() + &limits(62))),
            Some(Thermal::Serious)
        );
        for nothing in [
            "",
            "CPU_Speed_Limit",
            "CPU_Speed_Limit = fast",
            "Battery = 5",
        ] {
            assert_eq!(thermal_of(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn the_load_of_the_last_minute_is_read() {
        assert_eq!(first_load("{ 2.10 1.90 1.80 }"), Some(2.1));
        assert_eq!(first_load("{ 2,10 1,90 1,80 }"), Some(2.1));
        for nothing in ["", "{ }", "{ many }", "{ -1 }", "{ inf }"] {
            assert_eq!(first_load(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn what_no_program_says_is_not_known() {
        let silent = MacSensors::with(|_, _| None);
        assert_eq!(silent.available_memory(), None);
        assert_eq!(silent.power(), Power::Unknown);
        assert_eq!(silent.thermal(), None);
        assert_eq!(silent.load(), None);
        assert_eq!(silent.processor(), std::env::consts::ARCH);
    }

    #[test]
    fn nobody_waits_for_a_later_look() {
        static LOOKS: AtomicU64 = AtomicU64::new(0);
        let sensors = MacSensors::with(|_, args| {
            (args == ["-g", "batt"]).then(|| {
                let look = LOOKS.fetch_add(1, Ordering::SeqCst);
                format!("Now drawing from 'AC Power'\n -Battery-0\t{look}%; charging\n")
            })
        });
        let percent = || match sensors.power() {
            Power::Battery { percent, .. } => u64::from(percent),
            Power::Mains | Power::Unknown => panic!("it has a battery"),
        };
        assert_eq!(percent(), 0);
        assert_eq!(percent(), 0, "as it was when it was looked at last");
        let until = Instant::now() + Duration::from_secs(60);
        while percent() == 0 {
            assert!(Instant::now() < until, "it is never looked at again");
            thread::sleep(POLL);
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_program_that_fails_or_hangs_says_nothing() {
        let within =
            |seconds, program, args: &[&str]| printed(program, args, Duration::from_secs(seconds));
        let long = 60;
        assert_eq!(within(long, "echo", &["here"]).as_deref(), Some("here\n"));
        assert_eq!(within(long, "false", &[]), None);
        assert_eq!(within(long, "no-such-program-of-ours", &[]), None);
        assert_eq!(within(0, "sleep", &["600"]), None);
    }
}
