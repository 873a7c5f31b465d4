//! The same set-ups in virtual time.

use std::fs;
use std::path::Path;
use std::time::Duration;

use potluck_sim::record::{Ending, Record, SessionRecord};
use potluck_sim::{Options, Scenario};

use super::{Model, NAMES, Setup, Times, median};

/// What is asked in virtual time.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Tokens of the prompt.
    pub prompt: u32,
    /// How long the devices have been connected by then, so that they know as much of their links as
    /// the real ones.
    pub connected: Duration,
    /// How often, one question after the other.
    pub times: usize,
    /// From an answer to the next question.
    pub pause: Duration,
}

impl Asked {
    /// A prompt once, of devices that have just connected.
    pub const fn early(prompt: u32) -> Self {
        Self {
            prompt,
            connected: Duration::from_secs(5),
            times: 1,
            pause: Duration::ZERO,
        }
    }
}

/// What a set-up takes on devices of this profile, a text that is put beside the test's other files.
///
/// # Panics
/// When the scenario does not run, a checker complains, or the answer is not whole.
pub fn simulate(setup: &Setup, model: &Model, hardware: &str, asked: Asked) -> Times {
    let path = crate::binary::profile_folder().join("fidelity-machine.toml");
    fs::write(&path, hardware).expect("written");
    let undisturbed = run(&scenario(setup, model, &path, asked, None));
    let times = times(&undisturbed);
    let Some(kill) = setup.kill else {
        return times;
    };
    // A device that was killed before has new connections: as for a first question.
    let asked = Asked { times: 1, ..asked };
    let session = &undisturbed.sessions[0];
    let [before, after] = [kill.after, kill.after + 1].map(|at| session.tokens_at_us[at as usize]);
    let at = session.asked_at_us + before.midpoint(after);
    let fault = format!(
        "[[fault]]\nat = \"{at} us\"\nkind = \"kill\"\nwho = \"{}\"\n",
        kill.whom
    );
    let killed = run(&scenario(setup, model, &path, asked, Some(&fault)));
    Times {
        stall_ms: stall(&killed.sessions[0]),
        stages: stages(&killed),
        ..times
    }
}

fn scenario(
    setup: &Setup,
    model: &Model,
    profile: &Path,
    asked: Asked,
    fault: Option<&str>,
) -> String {
    let devices =
        NAMES.map(|name| format!("[[device]]\nname = \"{name}\"\nprofile = {profile:?}\n"));
    let Setup {
        network,
        placement,
        tokens,
        ..
    } = setup;
    format!(
        "duration = \"10 min\"\nmodel = {}\n{}\n\
         [[network]]\ndelay = \"{} us\"\nrate = \"{} Mbit/s\"\n\n\
         [[request]]\nwho = \"{}\"\nat = \"{} us\"\nprompt = {}\n\
         tokens = {tokens}\ncontext = {}\nchoice = \"{placement}\"\n\
         think = \"{} us\"\ntimes = {}\n\n{}",
        model.scenario.replace('\n', ""),
        devices.join("\n"),
        network.delay.as_micros(),
        network.megabits_per_s,
        NAMES[0],
        asked.connected.as_micros(),
        asked.prompt,
        setup.context(),
        asked.pause.as_micros(),
        asked.times,
        fault.unwrap_or_default(),
    )
}

fn run(text: &str) -> Record {
    let scenario = Scenario::from_toml(text).unwrap_or_else(|why| panic!("{why} in\n{text}"));
    let record = potluck_sim::run(&scenario, &Options::until_answered()).expect("it begins");
    assert!(record.violations.is_empty(), "{:#?}", record.violations);
    let complete = |session: &SessionRecord| session.ending == Ending::Complete;
    assert!(record.sessions.iter().all(complete), "{text}");
    record
}

/// Medians of its answers.
fn times(record: &Record) -> Times {
    let first = |session: &SessionRecord| {
        let first = session.time_to_first_token_us();
        first.expect("it is complete") as f64 / 1e3
    };
    let token = |session: &SessionRecord| {
        let gaps: Vec<_> = session.token_gaps_us().collect();
        gaps.iter().sum::<u64>() as f64 / gaps.len().max(1) as f64 / 1e3
    };
    let of = |time: &dyn Fn(&SessionRecord) -> f64| {
        median(&record.sessions.iter().map(time).collect::<Vec<_>>())
    };
    Times {
        first_token_ms: of(&first),
        token_ms: of(&token),
        stall_ms: None,
        stages: stages(record),
    }
}

/// From when it was noticed until the next token was there.
fn stall(session: &SessionRecord) -> Option<f64> {
    let recovery = session.recoveries.first()?;
    let micros = recovery
        .resumed_at_us?
        .saturating_sub(recovery.noticed_at_us);
    Some(micros as f64 / 1e3)
}

fn stages(record: &Record) -> Vec<String> {
    let placement = record.sessions[0].placements.last();
    let stages = placement
        .into_iter()
        .flat_map(|placement| &placement.stages);
    let words = stages.map(|stage| {
        let name = &record.devices[stage.device].name;
        format!("{name}:{}..{}", stage.first_layer, stage.end_layer)
    });
    words.collect()
}
