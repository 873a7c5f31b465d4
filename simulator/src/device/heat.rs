//! Heat: a fast thermal node, the chip, inside a slow one, the case.

use crate::profiles::HeatSpec;

/// The two temperatures of a device, above that of the air, in kelvins.
///
/// With the power `P` and the temperatures `a` of the chip and `b` of the case,
/// `Ca·da/dt = P − (a − b)/Ra` and `Cb·db/dt = (a − b)/Ra − b/Rb`, which is solved exactly for a
/// constant power: around the steady state `a = P·(Ra + Rb)`, `b = P·Rb` both decay by the two
/// eigenvalues of the system.
#[derive(Debug, Clone)]
pub(crate) struct Heat {
    spec: HeatSpec,
    chip: f64,
    case: f64,
    /// `1/(Ra·Ca)`, `1/(Ra·Cb)`, `1/(Rb·Cb)`.
    rates: [f64; 3],
    /// Both below 0, the slower one first.
    eigenvalues: [f64; 2],
}

impl Heat {
    pub(crate) fn new(spec: HeatSpec, above_ambient: f64) -> Self {
        let chip = spec.chip_kelvin_per_watt * spec.chip_joules_per_kelvin;
        let shared = spec.chip_kelvin_per_watt * spec.case_joules_per_kelvin;
        let case = spec.case_kelvin_per_watt * spec.case_joules_per_kelvin;
        let rates = [1.0 / chip, 1.0 / shared, 1.0 / case];
        let [a, b, c] = rates;
        let trace = a + b + c;
        let root = (trace * trace - 4.0 * a * c).max(0.0).sqrt();
        Self {
            spec,
            chip: above_ambient,
            case: above_ambient,
            rates,
            eigenvalues: [(root - trace) / 2.0, -(root + trace) / 2.0],
        }
    }

    /// So many seconds pass at a constant power, in watts.
    pub(crate) fn pass(&mut self, seconds: f64, watts: f64) {
        let steady_case = watts * self.spec.case_kelvin_per_watt;
        let steady_chip = steady_case + watts * self.spec.chip_kelvin_per_watt;
        let (x, y) = (self.chip - steady_chip, self.case - steady_case);
        let [a, b, c] = self.rates;
        let [slow, fast] = self.eigenvalues;
        // exp(A t) = (e^(λ1 t)·(A − λ2) − e^(λ2 t)·(A − λ1)) / (λ1 − λ2)
        let share = slow - fast;
        let [p, q] = [slow, fast].map(|value| libm::exp(value * seconds) / share);
        let along = (-a * x + a * y, b * x - (b + c) * y);
        self.chip = steady_chip + p * (along.0 - fast * x) - q * (along.0 - slow * x);
        self.case = steady_case + p * (along.1 - fast * y) - q * (along.1 - slow * y);
    }

    /// The chip's temperature above the air's, in kelvins.
    pub(crate) fn chip(&self) -> f64 {
        self.chip
    }

    /// The case's.
    pub(crate) fn case(&self) -> f64 {
        self.case
    }

    pub(crate) fn spec(&self) -> &HeatSpec {
        &self.spec
    }

    /// The device's speed, as a share of the full one, in air of so many °C.
    pub(crate) fn speed(&self, ambient: f64) -> f64 {
        let HeatSpec {
            slows_from,
            slowest_at,
            slowest,
            ..
        } = self.spec;
        let way = (self.chip + ambient - slows_from) / (slowest_at - slows_from);
        1.0 - (1.0 - slowest) * way.clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiles;

    fn phone() -> Heat {
        let hardware = profiles::load("galaxy-s23").expect("in the library");
        Heat::new(hardware.heat.expect("a phone heats up"), 0.0)
    }

    #[test]
    fn one_long_step_is_as_many_short_ones() {
        let (mut long, mut short, mut euler) = (phone(), phone(), phone());
        long.pass(100.0, 5.0);
        (0..1_000).for_each(|_| short.pass(0.1, 5.0));
        let spec = euler.spec;
        for _ in 0..1_000_000 {
            let down = (euler.chip - euler.case) / spec.chip_kelvin_per_watt;
            let out = euler.case / spec.case_kelvin_per_watt;
            euler.chip += 1e-4 * (5.0 - down) / spec.chip_joules_per_kelvin;
            euler.case += 1e-4 * (down - out) / spec.case_joules_per_kelvin;
        }
        for other in [&short, &euler] {
            assert!((long.chip - other.chip).abs() < 1e-2, "{long:?} {other:?}");
            assert!((long.case - other.case).abs() < 1e-2, "{long:?} {other:?}");
        }
        long.pass(1e6, 0.0);
        assert!(long.chip.abs() < 1e-6 && long.case.abs() < 1e-6);
    }

    #[test]
    fn a_phone_keeps_its_speed_for_a_minute_and_half_of_it_for_good() {
        let mut heat = phone();
        let mut seconds = 0;
        let mut speeds = Vec::new();
        while seconds < 1_800 {
            let speed = heat.speed(25.0);
            speeds.push(speed);
            heat.pass(1.0, 6.0 * super::super::energy::share_of_power(speed));
            seconds += 1;
        }
        let slows = speeds
            .iter()
            .position(|speed| *speed < 0.99)
            .expect("it does");
        assert!((30..=60).contains(&slows), "{slows}");
        let last = speeds.last().copied().expect("some");
        assert!((0.4..=0.65).contains(&last), "{last}");
    }
}
