//! Whether the simulator predicts what real devices do: the same set-ups on both sides.
//!
//! Nothing here asserts times, but that the two sides are within a factor of three. The measurement:
//! `cargo test --release --workspace --test fidelity -- --ignored --nocapture fidelity`
#![cfg(target_os = "linux")]

use potluck_tests::fidelity::{
    Alone, Answers, Asked, Bench, Comparison, Costs, Machine, Model, NAMES, Network, Setup,
    hardware, hurry_access_point, median_profile, plans, profile_of_model, simulate, table,
};
use potluck_tests::wifi::on_wifi;
use serde_json::Value;

/// The set-up that opening a model is measured by.
const FITTED: Setup = Setup::new("alone, 16", HOME, "self:0..30", (16, 40));

const HOME: Network = Network::new(2_500, 100);
const QUICK: Network = Network::new(1_000, 100);
const FAR: Network = Network::new(10_000, 100);
const NARROW: Network = Network::new(2_500, 20);

const PAIR: &str = "kitchen:0..15,tablet:15..30";
/// Whoever else is there takes over when one of them is killed.
const PAIR_OR_OTHERS: &str = "kitchen:0..15,tablet:15..30,*";
const THREE: &str = "self:0..10,kitchen:10..20,tablet:20..30";

/// What is compared, by network: stages, delay in milliseconds and Mbit/s, tokens of the prompt.
const HELD_OUT: [Setup; 11] = [
    Setup::new("2 stages, 2.5 ms, 100 Mbit/s, 256", HOME, PAIR, (256, 60)),
    Setup::new("3 stages, 2.5 ms, 100 Mbit/s, 16", HOME, THREE, (16, 60)),
    Setup::new(
        "2 stages, 2.5 ms, 100 Mbit/s, 256, kill",
        HOME,
        PAIR_OR_OTHERS,
        (256, 60),
    )
    .killing("tablet", 20),
    Setup::new(
        "1 helper, 1 ms, 100 Mbit/s, 256",
        QUICK,
        "kitchen:0..30",
        (256, 60),
    ),
    Setup::new(
        "2 stages, 1 ms, 100 Mbit/s, 700",
        QUICK,
        "self:0..15,kitchen:15..30",
        (700, 60),
    ),
    Setup::new("3 stages, 1 ms, 100 Mbit/s, 16", QUICK, THREE, (16, 60)),
    Setup::new("2 stages, 10 ms, 100 Mbit/s, 256", FAR, PAIR, (256, 40)),
    Setup::new("3 stages, 10 ms, 100 Mbit/s, 16", FAR, THREE, (16, 40)),
    Setup::new(
        "2 stages, 10 ms, 100 Mbit/s, 16, kill",
        FAR,
        PAIR_OR_OTHERS,
        (16, 40),
    )
    .killing("tablet", 20),
    Setup::new("2 stages, 2.5 ms, 20 Mbit/s, 256", NARROW, PAIR, (256, 60)),
    Setup::new(
        "2 stages, 2.5 ms, 20 Mbit/s, 700",
        NARROW,
        "self:0..20,kitchen:20..30",
        (700, 60),
    ),
];

/// How often each is asked, and killed.
const TIMES: (usize, usize) = (7, 5);

/// What the emulated network says of itself and what the devices measured of it.
fn look_at(bench: &Bench<'_>, network: Network) {
    for name in &NAMES[1..] {
        let (round_trip, bandwidth) = bench.link(name);
        println!(
            "to {name}: {round_trip:.2} ms there and back, {:.1} Mbit/s ({network:?})",
            bandwidth * 8e-6
        );
    }
}

/// Set-ups as they were measured, and what the model took on one device alone all the while.
struct Measuring<'a> {
    machine: &'a Machine,
    model: &'a Model,
    alone: Vec<Alone>,
    measured: Vec<(Setup, Answers, Vec<f64>)>,
}

impl Measuring<'_> {
    /// Asks, and kills if the set-up says so.
    fn measure(&mut self, bench: &mut Bench<'_>, setup: &Setup, (asked, killed): (usize, usize)) {
        let expected = bench.alone(setup);
        self.alone.extend(self.machine.alone(self.model));
        let mut answers = bench.answer(setup, asked);
        assert_eq!(answers.tokens, expected, "{}", setup.name);
        let mut stalls = Vec::new();
        if setup.kill.is_some() {
            let (killed, all) = bench.answer_killing(setup, &answers.times, killed);
            assert_eq!(killed.tokens, expected, "{}", setup.name);
            answers.times.stall_ms = killed.times.stall_ms;
            answers.times.stages = killed.times.stages;
            stalls = all;
        }
        self.alone.extend(self.machine.alone(self.model));
        self.measured.push((setup.clone(), answers, stalls));
    }

    /// The profile of the machine for the model, of all that was measured of it alone.
    fn profile(&self) -> Value {
        let profile = &self.machine.profile;
        let took = Alone::median(&self.alone);
        let setup = Setup::new("alone", HOME, "alone", (256, 40));
        let hardware = hardware(profile, &Costs::default());
        let of = |prompt| simulate(&setup, self.model, &hardware, Asked::early(prompt));
        // As it measures: tokens behind a prompt of one.
        let predicted = Alone {
            prefill_ms: of(Alone::PROMPT).first_token_ms,
            token_ms: of(1).token_ms,
        };
        println!("alone it took {took:?}, by the profile {predicted:?}");
        println!("each: {:?}", self.alone);
        profile_of_model(profile, predicted, took)
    }

    /// Both sides.
    fn compare(self, costs: Costs) -> Vec<Comparison> {
        let profile = self.profile();
        let fitted = |(setup, ..): &&(Setup, Answers, Vec<f64>)| setup.name == FITTED.name;
        let (setup, answers, _) = self.measured.iter().find(fitted).expect("it was measured");
        let costs = costs.with_opening(setup, answers, (&profile, self.model));
        println!("{costs:?}");
        let hardware = hardware(&profile, &costs);
        let compared = self
            .measured
            .into_iter()
            .map(|(setup, answers, stalls)| Comparison {
                name: setup.name.to_owned(),
                held_out: setup.name != FITTED.name,
                simulated: simulate(&setup, self.model, &hardware, answers.asked()),
                measured: answers.times,
                planned_ms: answers.planned_ms,
                answers: answers.all,
                stalls,
            });
        compared.collect()
    }
}

#[test]
#[ignore = "takes many minutes: for measuring"]
fn fidelity_of_what_was_held_out() {
    let test = "fidelity_of_what_was_held_out";
    let mut machine = Machine::look();
    machine.profile = median_profile(&machine.profiles(6));
    println!("processes kept to processors by: {}", machine.words());
    println!("profile: {}", machine.profile);
    let (light, model) = (Model::light(), Model::smollm2());
    let mut costs = Costs::default();
    on_wifi(test, 31, NAMES.len(), HOME.profile(), |wifi| {
        hurry_access_point();
        let bench = Bench::start(wifi, &machine, &light);
        costs = Costs::of_pipelines(&bench, HOME, 2 * TIMES.0);
        println!("{costs:?} {:?}", wifi.statistics());
    });
    let mut measuring = Measuring {
        machine: &machine,
        model: &model,
        alone: Vec::new(),
        measured: Vec::new(),
    };
    for network in [HOME, QUICK, FAR, NARROW] {
        on_wifi(test, 32, NAMES.len(), network.profile(), |wifi| {
            hurry_access_point();
            let mut bench = Bench::start(wifi, &machine, &model);
            look_at(&bench, network);
            let here = [FITTED].into_iter().chain(HELD_OUT);
            for setup in here.filter(|setup| setup.network == network) {
                measuring.measure(&mut bench, &setup, TIMES);
                println!("{}: {:?}", setup.name, wifi.statistics());
            }
        });
    }
    let comparisons = measuring.compare(costs);
    for comparison in &comparisons {
        println!("{}", serde_json::to_string(comparison).expect("JSON"));
    }
    println!("{}", table(&comparisons));
    println!("{}", plans(&comparisons));
}

#[test]
fn both_sides_run_the_same_set_up() {
    let test = "both_sides_run_the_same_set_up";
    on_wifi(test, 33, NAMES.len(), HOME.profile(), |wifi| {
        let mut machine = Machine::look();
        machine.profile = median_profile(&machine.profiles(1));
        let model = Model::light();
        let bench = Bench::start(wifi, &machine, &model);
        let placement = "kitchen:0..3,tablet:3..6";
        let setup = Setup::new("light", HOME, placement, (16, 40));
        let expected = bench.alone(&setup);
        // Real devices are measured, and a busy machine disturbs some measurements: one counts that is
        // not disturbed.
        let within = (0..TRIES).any(|_| {
            let answers = bench.answer(&setup, 2);
            assert_eq!(answers.tokens, expected);
            let profile = median_profile(&machine.profiles(1));
            let compared = compare(&setup, &model, &profile, answers);
            println!("{}", table(std::slice::from_ref(&compared)));
            let share = compared.simulated.token_ms / compared.measured.token_ms;
            let same_stages = compared.measured.stages == compared.simulated.stages;
            same_stages && (1.0 / 3.0..3.0).contains(&share)
        });
        assert!(within, "the two sides were never within a factor of three");
    });
}

/// How often both sides are tried.
const TRIES: usize = 5;

/// Answers of real devices of this profile, and the same simulated.
fn compare(setup: &Setup, model: &Model, profile: &Value, answers: Answers) -> Comparison {
    let hardware = hardware(profile, &Costs::default());
    Comparison {
        name: setup.name.to_owned(),
        held_out: true,
        simulated: simulate(setup, model, &hardware, answers.asked()),
        measured: answers.times,
        planned_ms: answers.planned_ms,
        answers: answers.all,
        stalls: Vec::new(),
    }
}
