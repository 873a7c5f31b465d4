//! What a folder like `/sys` and `/proc` says, and a device's profile from made-up measurements.

mod following;

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use potluck_model::{Compute, Isa, TensorType};
use potluck_protocol::Arithmetic;
use potluck_protocol::profile::{OwnerLimits, Power, Quantisation, Thermal};

use super::{
    Caveats, Corrections, DeviceProfile, LinuxSensors, MeasuredWith, Measurements, OwnerSettings,
    ProcessorTime, ProfileReport, SystemSensors, UnknownSystem,
};
use crate::Cancel;
use crate::home::Home;

/// A root with these files.
pub(super) fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a temporary folder");
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, format!("{text}\n")).expect("written");
    }
    root
}

fn sensors(root: &tempfile::TempDir) -> LinuxSensors {
    LinuxSensors::at(root.path())
}

fn power(files: &[(&str, &str)]) -> Power {
    let folder = "sys/class/power_supply";
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (format!("{folder}/{path}"), *text))
        .collect();
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (&path[..], *text))
        .collect();
    sensors(&root(&files)).power()
}

/// One zone at a temperature with such trip points.
fn thermal(temperature: &str, points: &[(&str, &str)]) -> Option<Thermal> {
    let root = root(&[]);
    write_zone(root.path(), 0, temperature, points);
    sensors(&root).thermal()
}

fn write_zone(root: &Path, number: usize, temperature: &str, points: &[(&str, &str)]) {
    let zone = root.join(format!("sys/class/thermal/thermal_zone{number}"));
    fs::create_dir_all(&zone).expect("made");
    let write = |file: &str, text: &str| fs::write(zone.join(file), text).expect("written");
    write("temp", temperature);
    for (point, (kind, at)) in points.iter().enumerate() {
        write(&format!("trip_point_{point}_type"), kind);
        write(&format!("trip_point_{point}_temp"), at);
    }
}

#[test]
fn a_device_without_a_battery_is_on_mains() {
    assert_eq!(power(&[]), Power::Mains);
    let plug = [("AC/type", "Mains"), ("AC/online", "1")];
    assert_eq!(power(&plug), Power::Mains);
    // A mouse's battery, and an empty bay.
    let others = [
        ("mouse/type", "Battery"),
        ("mouse/scope", "Device"),
        ("mouse/capacity", "3"),
        ("BAT1/type", "Battery"),
        ("BAT1/present", "0"),
    ];
    assert_eq!(power(&others), Power::Mains);
}

#[test]
fn a_batterys_charge_and_plug_are_read() {
    let battery = |percent, charging| Power::Battery { percent, charging };
    for (status, charging) in [
        ("Charging", true),
        ("Full", true),
        ("Not charging", true),
        ("Discharging", false),
        ("Unknown", false),
    ] {
        let files = [
            ("BAT0/type", "Battery"),
            ("BAT0/capacity", "57"),
            ("BAT0/status", status),
        ];
        assert_eq!(power(&files), battery(57, charging), "{status}");
    }
    let plugged = [
        ("usb/type", "USB"),
        ("usb/online", "1"),
        ("battery/type", "Battery"),
        ("battery/capacity", "140"),
        ("battery/status", "Discharging"),
    ];
    assert_eq!(power(&plugged), battery(100, true));
    let two = [
        ("BAT0/type", "Battery"),
        ("BAT0/energy_now", "20000000"),
        ("BAT0/energy_full", "50000000"),
        ("BAT1/type", "Battery"),
        ("BAT1/charge_now", "1000000"),
        ("BAT1/charge_full", "5000000"),
    ];
    assert_eq!(power(&two), battery(30, false));
}

#[test]
fn a_battery_that_tells_nothing_is_unknown() {
    for capacity in ["", "many", "-1"] {
        let files = [("BAT0/type", "Battery"), ("BAT0/capacity", capacity)];
        assert_eq!(power(&files), Power::Unknown, "{capacity:?}");
    }
    let none_full = [
        ("BAT0/type", "Battery"),
        ("BAT0/energy_now", "5"),
        ("BAT0/energy_full", "0"),
    ];
    assert_eq!(power(&none_full), Power::Unknown);
    // What is no folder cannot be read.
    let root = root(&[("sys/class/power_supply", "")]);
    assert_eq!(sensors(&root).power(), Power::Unknown);
}

#[test]
fn heat_is_that_of_the_hottest_zone_by_its_own_points() {
    let points = [
        ("passive", "80000"),
        ("active", "40000"),
        ("hot", "95000"),
        ("critical", "105000"),
    ];
    for (temperature, expected) in [
        ("25000", Thermal::Nominal),
        ("69999", Thermal::Nominal),
        ("70000", Thermal::Fair),
        ("79999", Thermal::Fair),
        ("80000", Thermal::Serious),
        ("94999", Thermal::Serious),
        ("95000", Thermal::Critical),
        ("120000", Thermal::Critical),
    ] {
        assert_eq!(
            thermal(temperature, &points),
            Some(expected),
            "{temperature}"
        );
    }
    let only_critical = [("critical", "100000")];
    for (temperature, expected) in [
        ("79999", Thermal::Nominal),
        ("80000", Thermal::Fair),
        ("94999", Thermal::Fair),
        ("95000", Thermal::Critical),
    ] {
        assert_eq!(thermal(temperature, &only_critical), Some(expected));
    }

    let root = root(&[("sys/class/thermal/cooling_device0/type", "Fan")]);
    write_zone(root.path(), 0, "30000", &points);
    write_zone(root.path(), 1, "85000", &points);
    write_zone(root.path(), 2, "75000", &points);
    assert_eq!(sensors(&root).thermal(), Some(Thermal::Serious));
}

#[test]
fn sensors_and_points_that_are_not_there_do_not_count() {
    let unset = [
        ("passive", "0"),
        ("critical", "-274000"),
        ("hot", "2147483647"),
    ];
    assert_eq!(thermal("90000", &unset), None);
    let points = [("passive", "50000")];
    for temperature in ["-274000", "0", "250000", "", "warm"] {
        assert_eq!(thermal(temperature, &points), None);
    }
    assert_eq!(thermal("90000", &[]), None);
    assert_eq!(thermal("90000", &[("active", "50000")]), None);
    assert_eq!(sensors(&root(&[])).thermal(), None);
}

#[test]
fn memory_and_processor_are_read_from_proc() {
    let root = root(&[
        (
            "proc/meminfo",
            "MemTotal:  9000 kB\nMemAvailable:    2048 kB",
        ),
        (
            "proc/cpuinfo",
            "processor : 0\nmodel name\t: Good CPU\n\nprocessor : 1\nmodel name\t: Good CPU",
        ),
    ]);
    assert_eq!(sensors(&root).available_memory(), Some(2 << 20));
    assert_eq!(sensors(&root).processor(), "Good CPU");
    let cores = "CPU implementer : 0x41\nCPU part : 0xd05\nCPU part : 0xd0b\nCPU part : 0xd05";
    let root = self::root(&[
        ("proc/cpuinfo", cores),
        ("proc/meminfo", "MemAvailable: many"),
    ]);
    assert_eq!(sensors(&root).processor(), "0x41 0xd05 0xd0b");
    assert_eq!(sensors(&root).available_memory(), None);
    let empty = self::root(&[]);
    assert_eq!(sensors(&empty).available_memory(), None);
    assert_eq!(sensors(&empty).processor(), std::env::consts::ARCH);
}

fn compute() -> Compute {
    Compute::with_isa(Isa::SCALAR, Some(NonZeroUsize::MIN))
}

fn measurements() -> Measurements {
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let unix = hour_ago.duration_since(UNIX_EPOCH).expect("after 1970");
    let decode = TensorType::ALL.iter().map(|t| (t.name().to_owned(), 1_000));
    Measurements {
        measured_at_unix_ms: unix.as_millis() as u64,
        with: MeasuredWith::now(&compute(), &UnknownSystem),
        decode_bytes_per_s: decode.collect(),
        kv_read_bytes_per_s: 2_000,
        prefill_multiply_adds_per_s: 3_000,
        stage_overhead_ns: 4_000,
        measured_while_busy: None,
        corrections: Corrections::default(),
    }
}

fn remember(home: &Home, measurements: &Measurements) {
    let text = serde_json::to_string(measurements).expect("it can be written");
    fs::create_dir_all(home.root()).expect("made");
    fs::write(home.root().join("measurements.json"), text).expect("written");
}

#[test]
fn what_is_remembered_is_taken_if_it_was_measured_with_the_same() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::at(folder.path().join("home"));
    assert_eq!(Measurements::remembered(&home, &UnknownSystem), None);
    let remembered = measurements();
    remember(&home, &remembered);
    let cancel = Cancel::new();
    cancel.cancel();
    // Cancelled: whatever has to be measured is none.
    let get = |compute: &Compute| {
        let got = Measurements::get(&home, compute, &UnknownSystem, &cancel, &mut |_, _| ());
        got.expect("nothing fails")
    };
    assert_eq!(get(&compute()), Some(remembered.clone()));
    let more_threads = Compute::with_isa(Isa::SCALAR, NonZeroUsize::new(2));
    assert_eq!(get(&more_threads), None);
    let anew = Measurements::measure(&home, &compute(), &UnknownSystem, &cancel, &mut |_, _| ());
    assert_eq!(anew.expect("nothing fails"), None);

    let other_version = Measurements {
        with: MeasuredWith {
            version: "0.0.0".to_owned(),
            ..remembered.with.clone()
        },
        ..remembered.clone()
    };
    let no_rate = Measurements {
        kv_read_bytes_per_s: 0,
        ..remembered.clone()
    };
    let no_formats = Measurements {
        decode_bytes_per_s: BTreeMap::new(),
        ..remembered
    };
    for useless in [other_version, no_rate, no_formats] {
        remember(&home, &useless);
        assert_eq!(get(&compute()), None);
    }
    fs::write(home.root().join("measurements.json"), "{}").expect("written");
    assert_eq!(get(&compute()), None);
}

/// A system that tells what a test has it tell, and else nothing but that it is plugged in.
#[derive(Clone, Default)]
struct TestSystem {
    available_memory: Option<u64>,
    /// Whether its battery is charged; `None` if it has none.
    charging: Option<Arc<AtomicBool>>,
    thermal: Option<Thermal>,
    /// Counts the looks at its processors' time, if it tells of that: of each second between two looks
    /// other programs took half.
    looks: Option<Arc<AtomicU64>>,
}

impl SystemSensors for TestSystem {
    fn processor(&self) -> String {
        UnknownSystem.processor()
    }
    fn available_memory(&self) -> Option<u64> {
        self.available_memory
    }
    fn power(&self) -> Power {
        match &self.charging {
            Some(charging) => Power::Battery {
                percent: 50,
                charging: charging.load(Ordering::SeqCst),
            },
            None => Power::Mains,
        }
    }
    fn thermal(&self) -> Option<Thermal> {
        self.thermal
    }
    fn processor_time(&self) -> Option<ProcessorTime> {
        let looks = self.looks.as_ref()?.fetch_add(1, Ordering::SeqCst);
        Some(ProcessorTime {
            ran: Duration::from_secs(looks),
            waited: Duration::from_secs(looks),
        })
    }
    fn load(&self) -> Option<f64> {
        None
    }
}

/// With a megabyte of memory.
fn small() -> Box<TestSystem> {
    Box::new(TestSystem {
        available_memory: Some(1 << 20),
        thermal: Some(Thermal::Fair),
        ..TestSystem::default()
    })
}

#[test]
fn a_profile_has_all_formats_and_the_times_of_the_drivers_clock() {
    let limits = OwnerLimits {
        only_when_charging: true,
        min_battery_percent: 30,
    };
    let settings = OwnerSettings {
        memory_bytes: None,
        limits,
    };
    let device = DeviceProfile::new(measurements(), small(), &settings);
    let now_us = 24 * 3_600_000_000;
    let profile = device.profile(now_us);
    assert_eq!(profile.memory_budget_bytes.value, 1 << 19);
    assert_eq!(profile.memory_budget_bytes.at_us, now_us);
    assert_eq!(
        (profile.thermal.value, profile.limits),
        (Thermal::Fair, limits)
    );
    assert_eq!(profile.decode.len(), TensorType::ALL.len());
    let q4_k = &profile.decode[&Quantisation(12)];
    assert_eq!(q4_k.value.units_per_second(), 1_000);
    // Measured an hour ago.
    let hour_ago = now_us - 3_600_000_000;
    assert!(q4_k.at_us <= hour_ago && q4_k.at_us > hour_ago - 600_000_000);
    assert_eq!(profile.stage_overhead.value, Duration::from_nanos(4_000));
    assert_eq!(profile.arithmetic, Arithmetic::CANONICAL_1);
    // A clock that began later.
    assert_eq!(device.profile(5).kv_read.at_us, 0);
}

#[test]
fn the_owners_word_on_memory_holds() {
    let settings = OwnerSettings {
        memory_bytes: Some(7),
        ..OwnerSettings::default()
    };
    let device = DeviceProfile::new(measurements(), small(), &settings);
    assert_eq!(device.memory_budget_bytes(), 7);
    let nothing_said = OwnerSettings::default();
    let device = DeviceProfile::new(measurements(), Box::new(UnknownSystem), &nothing_said);
    assert_eq!(device.memory_budget_bytes(), 512 << 20);
}

#[test]
fn what_a_system_does_not_tell_is_named_and_not_passed_off_as_read() {
    let of = |sensors: Box<dyn SystemSensors>, memory_bytes| {
        let settings = OwnerSettings {
            memory_bytes,
            ..OwnerSettings::default()
        };
        DeviceProfile::new(measurements(), sensors, &settings)
    };
    assert_eq!(of(small(), None).caveats(), Caveats::default());
    let unknown = of(Box::new(UnknownSystem), None);
    let expected = Caveats {
        memory_not_known: Some(512 << 20),
        battery_not_known: true,
        heat_not_known: true,
        measured_while_busy: None,
        corrected_by_steps: 0,
    };
    assert_eq!(unknown.caveats(), expected);
    let report = serde_json::to_value(ProfileReport::of(&unknown)).expect("it can be written");
    assert_eq!(report["thermal"], "unknown");
    assert_eq!(report["power"], "unknown");
    assert_eq!(report["caveats"]["memory_not_known"], 512 << 20);
    // The owner said how much.
    let told = of(Box::new(UnknownSystem), Some(7));
    assert_eq!(told.caveats().memory_not_known, None);
}

#[test]
fn a_containers_limit_bounds_what_is_offered() {
    let root = root(&[
        ("proc/meminfo", "MemAvailable: 9000000 kB"),
        ("proc/self/cgroup", "0::/"),
        (
            "proc/self/mountinfo",
            "30 23 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup ro",
        ),
        ("sys/fs/cgroup/memory.max", "268435456"),
        ("sys/fs/cgroup/memory.current", "67108864"),
    ]);
    let sensors = sensors(&root);
    assert_eq!(sensors.available_memory(), Some(192 << 20));
    let nothing_said = OwnerSettings::default();
    let device = DeviceProfile::new(measurements(), Box::new(sensors), &nothing_said);
    assert_eq!(device.memory_budget_bytes(), 96 << 20);
}

#[test]
fn measuring_gives_every_rate_and_is_remembered() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::at(folder.path());
    let best = Isa::available().pop().expect("there is always scalar");
    let compute = Compute::with_isa(best, NonZeroUsize::new(2));
    let mut steps = Vec::new();
    let crowded = TestSystem {
        looks: Some(Arc::default()),
        ..TestSystem::default()
    };
    let (sensors, cancel) = (crowded, Cancel::new());
    let measured = Measurements::get(&home, &compute, &sensors, &cancel, &mut |done, of| {
        steps.push((done, of));
    });
    let measured = measured
        .expect("memory and threads")
        .expect("not cancelled");
    let total = super::measure::steps();
    assert_eq!(
        steps,
        (0..=total).map(|done| (done, total)).collect::<Vec<_>>()
    );
    assert_eq!(
        Measurements::remembered(&home, &sensors),
        Some(measured.clone())
    );
    assert_eq!(measured.with.processor, UnknownSystem.processor());
    assert_eq!(measured.measured_while_busy, Some(true));
    let device = DeviceProfile::new(measured, small(), &OwnerSettings::default());
    assert_eq!(device.caveats().measured_while_busy, Some(true));
}

#[test]
fn what_an_earlier_version_remembered_is_still_understood() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = Home::at(folder.path());
    let written = measurements();
    let mut value = serde_json::to_value(&written).expect("it can be written");
    let fields = value.as_object_mut().expect("an object");
    assert!(fields.remove("measured_while_busy").is_some());
    let with = fields.get_mut("with").and_then(|with| with.as_object_mut());
    assert!(with.is_some_and(|with| with.remove("on_battery").is_some()));
    assert!(fields.get("corrections").is_none());
    fs::write(home.root().join("measurements.json"), value.to_string()).expect("written");
    assert_eq!(
        Measurements::remembered(&home, &UnknownSystem),
        Some(written)
    );
}
