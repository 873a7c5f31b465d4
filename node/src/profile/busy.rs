//! Whether other programs take processors away.

use std::time::Duration;

use super::{ProcessorTime, SystemSensors};

/// Of the time that threads ran or wanted to, what others may have had of it on an idle device: a
/// hundredth or two as a rule. One other program that computes on one of two processors takes a third.
const WAITED_WHEN_IDLE: f64 = 0.1;
/// So many programs that compute, for each processor, are too many where only their number is known.
const LOAD_WHEN_IDLE: f64 = 0.5;

/// What a device's processors do while something is measured on it.
#[derive(Debug)]
pub(super) struct Watch {
    began: Option<ProcessorTime>,
    /// Before it began: later this process counts, too.
    load: Option<f64>,
}

impl Watch {
    pub(super) fn begin(sensors: &dyn SystemSensors) -> Self {
        Self {
            began: sensors.processor_time(),
            load: sensors.load(),
        }
    }

    /// Whether others took processors away since; `None` if the system tells nothing of that. Better
    /// than the load, which is that of a minute, is what this process's own threads had to wait.
    pub(super) fn was_busy(self, sensors: &dyn SystemSensors) -> Option<bool> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let since = |began: ProcessorTime| Some(sensors.processor_time()?.since(began));
        match self.began.and_then(since) {
            Some(time) if time.ran > Duration::ZERO => Some(time.share_waited() > WAITED_WHEN_IDLE),
            _ => Some(self.load? / processors as f64 > LOAD_WHEN_IDLE),
        }
    }
}

impl ProcessorTime {
    /// Threads that have ended meanwhile do not count.
    fn since(self, began: Self) -> Self {
        Self {
            ran: self.ran.saturating_sub(began.ran),
            waited: self.waited.saturating_sub(began.waited),
        }
    }

    fn share_waited(self) -> f64 {
        let waited = self.waited.as_secs_f64();
        waited / (waited + self.ran.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::root;
    use super::super::{LinuxSensors, UnknownSystem};
    use super::*;

    const THREAD: &str = "proc/self/task/7/schedstat";
    const OTHER: &str = "proc/self/task/8/schedstat";

    /// Whether a device with these files counts as busy after its threads have run and waited so long.
    fn busy(files: &[(&str, &str)], after: &str) -> Option<bool> {
        let root = root(files);
        let sensors = LinuxSensors::at(root.path());
        let watch = Watch::begin(&sensors);
        if let Some((path, _)) = files.first() {
            fs::write(root.path().join(path), after).expect("written");
        }
        watch.was_busy(&sensors)
    }

    #[test]
    fn threads_that_wait_for_processors_say_that_others_have_them() {
        let before = [
            (THREAD, "1000000000 5000000000 9"),
            (OTHER, "2000000000 0 3"),
            ("proc/loadavg", "9.00 9.00 9.00 9/99 999"),
        ];
        assert_eq!(busy(&before, "2000000000 5050000000 90"), Some(false));
        assert_eq!(busy(&before, "2000000000 5500000000 90"), Some(true));
    }

    #[test]
    fn where_waiting_is_not_told_the_load_before_counts() {
        let load = |text| [("proc/loadavg", text)];
        assert_eq!(busy(&load("0.00 0.10 0.20 1/99 999"), ""), Some(false));
        assert_eq!(busy(&load("9999.0 0.10 0.20 1/99 999"), ""), Some(true));
        let none_ran = [
            (THREAD, "0 0 0"),
            ("proc/loadavg", "9999.0 0.10 0.20 1/99 999"),
        ];
        assert_eq!(busy(&none_ran, "0 0 0"), Some(true));
        assert_eq!(busy(&[(THREAD, "many 0 0")], ""), None);
        assert_eq!(busy(&[], ""), None);
        let unknown = Watch::begin(&UnknownSystem).was_busy(&UnknownSystem);
        assert_eq!(unknown, None);
    }
}
