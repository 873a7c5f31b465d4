//! Measurements as a home remembers them.
//!
//! There is a file for each state of the power supply, so that a laptop is not measured whenever it is
//! plugged in. Processes that compute in one home each add what their steps say to what the file has
//! then: what one of two that write in the same moment says is lost, which does no harm.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use potluck_model::Compute;
use potluck_protocol::correction::TimedRows;

use super::busy::Watch;
use super::measure::measure;
use super::measurements::drains_battery;
use super::{MeasureError, MeasuredWith, Measurements, SystemSensors};
use crate::home::Home;
use crate::{Cancel, private_file};

/// More than any file of measurements has.
const MOST_BYTES: usize = 1 << 20;

impl Measurements {
    /// What this home remembers, if it was measured with the same; else, measures. `None` when
    /// cancelled. `on_progress` is told what is done of what.
    ///
    /// # Errors
    /// As [`measure`](Self::measure).
    pub fn get(
        home: &Home,
        compute: &Compute,
        sensors: &dyn SystemSensors,
        cancel: &Cancel,
        on_progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Option<Self>, MeasureError> {
        let with = MeasuredWith::now(compute, sensors);
        match Self::remembered_of(home, &with) {
            Some(same) => Ok(Some(same)),
            None => Self::measure(home, compute, sensors, cancel, on_progress),
        }
    }

    /// Measures, some seconds with all of `compute`'s threads and up to 200 MB of memory, and
    /// remembers it. Other programs that run at the same time make it slower, as they do what is
    /// measured. `None` when cancelled.
    ///
    /// # Errors
    /// There is no memory or no thread to measure with. That the home cannot be written is none;
    /// measuring is then due again the next time.
    pub fn measure(
        home: &Home,
        compute: &Compute,
        sensors: &dyn SystemSensors,
        cancel: &Cancel,
        on_progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Option<Self>, MeasureError> {
        let with = MeasuredWith::now(compute, sensors);
        let span = tracing::info_span!("measuring", threads = with.threads, isa = &*with.isa);
        let _in = span.enter();
        let (watch, begin) = (Watch::begin(sensors), Instant::now());
        tracing::info!("this device measures itself");
        let measured = measure(compute, with, cancel, on_progress)
            .inspect_err(|error| tracing::warn!(why = %error, "this device cannot be measured"))?;
        let Some(mut measurements) = measured else {
            tracing::info!("measuring was cancelled");
            return Ok(None);
        };
        measurements.measured_while_busy = watch.was_busy(sensors);
        measurements.log(begin.elapsed());
        measurements.remember(home);
        Ok(Some(measurements))
    }

    /// Logs the rates, after so much time of measuring.
    fn log(&self, took: Duration) {
        for (format, bytes_per_s) in &self.decode_bytes_per_s {
            tracing::debug!(format, bytes_per_s, "weights are read in decode");
        }
        let (after_s, busy) = (took.as_secs_f32(), self.measured_while_busy);
        let kv_bytes_per_s = self.kv_read_bytes_per_s;
        let multiply_adds_per_s = self.prefill_multiply_adds_per_s;
        let busy = busy.map_or("unknown", |busy| if busy { "yes" } else { "no" });
        tracing::info!(
            after_s,
            busy,
            kv_bytes_per_s,
            multiply_adds_per_s,
            "this device is measured"
        );
    }

    /// What this home remembers of the power supply that there is now, or else of the other, whatever
    /// it was measured with; `None` if nothing that can be understood.
    pub fn remembered(home: &Home, sensors: &dyn SystemSensors) -> Option<Self> {
        let on_battery = drains_battery(sensors.power());
        read(home, on_battery).or_else(|| read(home, !on_battery))
    }

    /// What this home remembers of measuring with the same.
    pub(crate) fn remembered_of(home: &Home, with: &MeasuredWith) -> Option<Self> {
        read(home, with.on_battery).filter(|remembered| remembered.with == *with)
    }

    /// Corrects what this home remembers of measuring with the same by these steps, and remembers
    /// that; `None` if there is nothing to correct. That the home cannot be written is no error: the
    /// next steps say the same.
    pub fn learn(
        home: &Home,
        with: &MeasuredWith,
        steps: impl IntoIterator<Item = TimedRows>,
    ) -> Option<Self> {
        let mut measurements = Self::remembered_of(home, with)?;
        let mut correction = measurements.corrections.to_correction();
        let measured = measurements.as_profile(0);
        let mut corrected = false;
        for step in steps {
            corrected |= correction.add(&measured, &step);
        }
        corrected |= correction.finish();
        if corrected {
            measurements.corrections = (&correction).into();
            measurements.remember(home);
        }
        Some(measurements)
    }

    fn remember(&self, home: &Home) {
        let Ok(text) = serde_json::to_string_pretty(self) else {
            return;
        };
        let written = private_file::replace(&path(home, self.with.on_battery), text.as_bytes());
        if let Err(error) = written {
            tracing::warn!(why = %error, "measurements cannot be kept: they are due again next time");
        }
    }
}

fn read(home: &Home, on_battery: bool) -> Option<Measurements> {
    let text = private_file::read(&path(home, on_battery), MOST_BYTES);
    let measurements: Measurements = serde_json::from_slice(&text.ok()??).ok()?;
    measurements.is_whole().then_some(measurements)
}

fn path(home: &Home, on_battery: bool) -> PathBuf {
    home.root().join(match on_battery {
        false => "measurements.json",
        true => "measurements-on-battery.json",
    })
}
