//! `potluck bench --profile`.

use potluck::Cancel;
use potluck::home::Home;
use potluck::profile::{
    Caveats, DeviceProfile, Measurements, OwnerSettings, ProfileReport, this_system,
};
use potluck_model::Compute;

use super::super::{Outcome, format, output};
use super::Args;

pub(super) fn run(args: &Args, cancel: &Cancel) -> anyhow::Result<Outcome> {
    let home = Home::from_environment()?;
    let compute = Compute::new(args.engine.options().threads)?;
    let sensors = this_system();
    let bar = output::count_bar(0, !args.quiet).with_message("measuring");
    let measured = Measurements::measure(&home, &compute, &*sensors, cancel, &mut |done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let Some(measurements) = measured? else {
        return Ok(Outcome::Interrupted);
    };
    let device = DeviceProfile::new(measurements, sensors, &OwnerSettings::default());
    let report = ProfileReport::of(&device);
    if args.json {
        output::json(&report)?
    } else {
        print(&report)?
    }
    Ok(Outcome::Done)
}

fn print(report: &ProfileReport) -> anyhow::Result<()> {
    let measurements = &report.measurements;
    let with = &measurements.with;
    let threads = format::count(with.threads, "thread");
    let bandwidth = |bytes: u64| format::bandwidth(bytes as f64);
    let mut lines = vec![(
        "processor".to_owned(),
        format!("{}, {threads}, {}", with.processor, with.isa),
    )];
    for (tensor_type, &bytes) in &measurements.decode_bytes_per_s {
        let rate = format!("{} of weights", bandwidth(bytes));
        lines.push((format!("decode {tensor_type}"), rate));
    }
    let billions = measurements.prefill_multiply_adds_per_s as f64 / 1e9;
    let overhead = measurements.stage_overhead_ns as f64 / 1e3;
    let memory = format::bytes(report.memory_budget_bytes);
    let known = |word: &str| match word {
        "unknown" => "not known on this system".to_owned(),
        word => word.to_owned(),
    };
    let power = match (report.battery_percent, report.charging) {
        (Some(percent), Some(true)) => format!("battery at {percent} %, plugged in"),
        (Some(percent), _) => format!("battery at {percent} %"),
        (None, _) => known(report.power),
    };
    lines.extend(
        [
            ("KV cache", bandwidth(measurements.kv_read_bytes_per_s)),
            ("prefill", format!("{billions:.1} billion multiply-adds/s")),
            ("stage overhead", format!("{overhead:.0} µs")),
            (
                "memory",
                format!("{memory} to offer, unless --memory says otherwise"),
            ),
            ("power", power),
            ("heat", known(report.thermal)),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    for (name, value) in lines {
        output::line(&format!("{name:<16}{value}"))?;
    }
    let caveats = Caveats {
        // Told above.
        battery_not_known: false,
        heat_not_known: false,
        ..report.caveats.clone()
    };
    for line in caveats.in_words(&format::bytes) {
        output::line(&line)?;
    }
    Ok(())
}
