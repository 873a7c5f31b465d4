//! This device's profile, as the machine is told of it.

use potluck_protocol::machine::Input;

use super::driver::Driver;
use crate::profile::{Caveats, DeviceProfile};

impl Driver {
    /// Looks what this device is like now, and tells the machine.
    pub(super) fn look_at_device(&mut self) {
        let now_us = self.now_us();
        if let Some(profile) = &mut self.profile {
            profile.look_after(now_us);
            profile.correct();
        }
        self.tell_profile();
    }

    /// Has the profile follow what was computed. Done between steps, so that none waits for it.
    pub(super) fn correct_profile(&mut self) {
        if self.profile.as_mut().is_some_and(DeviceProfile::correct) {
            self.tell_profile();
        }
    }

    /// Keeps what was computed, for other processes and other times.
    pub(super) fn keep_profile(&mut self) {
        let now_us = self.now_us();
        if let Some(profile) = &mut self.profile {
            profile.keep(now_us);
        }
    }

    /// What this device's owner should know of its figures now.
    pub(super) fn caveats(&self) -> Caveats {
        let profile = self.profile.as_ref();
        profile.map(DeviceProfile::caveats).unwrap_or_default()
    }

    /// Not once it leaves: a profile would make it willing again.
    fn tell_profile(&mut self) {
        let now_us = self.now_us();
        if let Some(profile) = self.profile.as_ref().filter(|_| !self.leaving) {
            let profile = profile.profile(now_us);
            self.tell(Input::Profile(profile));
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.now().as_micros()).unwrap_or(u64::MAX)
    }
}
