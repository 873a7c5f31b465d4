//! Set-ups as real processes on the emulated Wi-Fi.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::machine::median;
use super::{Asked, Machine, Model, NAMES, Setup, Times};
use crate::circle::{Answer, Circle, Node, member};
use crate::wifi::Wifi;

/// A circle of a node at each station, whose nodes keep to processors: the first and the third to
/// one, the second to the other.
pub struct Bench<'w> {
    circle: Circle<'w>,
    model: &'w Model,
    started: Instant,
}

/// Several answers to one question.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// Medians.
    pub times: Times,
    /// Tokens of the prompt.
    pub prompt: u32,
    /// What the plan said of a token, in milliseconds.
    pub planned_ms: f64,
    /// How long the devices had been connected when the first was asked for: what they know of their
    /// links becomes better with time.
    pub connected: Duration,
    /// From the first question to the end of the last answer.
    pub took: Duration,
    /// The answer's tokens.
    pub tokens: Vec<u64>,
    /// Of each answer: first token and between tokens, in milliseconds.
    pub all: Vec<(f64, f64)>,
}

impl<'w> Bench<'w> {
    /// Starts and pairs them.
    ///
    /// # Panics
    /// When that fails.
    pub fn start(wifi: &'w Wifi, machine: &'w Machine, model: &'w Model) -> Self {
        let nodes = NAMES.iter().zip(wifi.stations()).enumerate();
        let nodes = nodes.map(|(number, (name, station))| {
            let command =
                move |binary: &Path| machine.on(number % 2, binary, |path| station.command(path));
            let node = Node::knowing(name, Box::new(command), &machine.measurements());
            node.with_model(&model.path)
        });
        let circle = Circle::start(nodes.collect());
        // The first padded pings come while connections are new: links are known a second later.
        thread::sleep(Duration::from_millis(1_500));
        Self {
            circle,
            model,
            started: Instant::now(),
        }
    }

    /// The way from the first device to another, as it measured it: milliseconds there and back,
    /// and bytes a second.
    ///
    /// # Panics
    /// When it does not know.
    pub fn link(&self, to: &str) -> (f64, f64) {
        let members = self.circle.node(NAMES[0]).members();
        let link = member(&members, to).map(|member| member["link"].clone());
        let link = link.expect("it is a member");
        let number = |name: &str| link[name].as_f64().expect("a number");
        (number("round_trip_ms"), number("bandwidth_bytes_per_s"))
    }

    fn question(&self, setup: &Setup, who: &[&str]) -> Vec<String> {
        let (context, tokens) = (setup.context().to_string(), setup.tokens.to_string());
        let model = self.model.path.to_str().expect("a path of text");
        let text = setup.text();
        let asked = ["--model", model, "--raw", "--greedy", "--context", &context];
        let asked = [&asked[..], &["-n", &tokens, &text], who].concat();
        asked.into_iter().map(str::to_owned).collect()
    }

    /// As simulated: drafts are not.
    fn question_together(&self, setup: &Setup) -> Vec<String> {
        self.question(setup, &["--placement", setup.placement, "--no-drafts"])
    }

    /// The tokens that one device alone gives.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn alone(&self, setup: &Setup) -> Vec<u64> {
        let question = self.question(setup, &["--alone"]);
        let question: Vec<_> = question.iter().map(String::as_str).collect();
        self.circle.node(NAMES[0]).answer(&question).tokens
    }

    /// Asks so many times.
    ///
    /// # Panics
    /// When no answer comes.
    pub fn answer(&self, setup: &Setup, times: usize) -> Answers {
        let mut answers = Answers {
            connected: self.started.elapsed(),
            ..Answers::default()
        };
        for _ in 0..times {
            let question = self.question_together(setup);
            let question: Vec<_> = question.iter().map(String::as_str).collect();
            let answer = self.circle.node(NAMES[0]).answer(&question);
            answers.take(&answer);
        }
        answers.took = self.started.elapsed() - answers.connected;
        answers
    }

    /// Asks so many times and kills a node in the middle of each answer; `undisturbed` says when
    /// that is.
    ///
    /// # Panics
    /// When no answer comes, or not behind one failure.
    pub fn answer_killing(
        &mut self,
        setup: &Setup,
        undisturbed: &Times,
        times: usize,
    ) -> (Answers, Vec<f64>) {
        let kill = setup.kill.expect("a set-up with a kill");
        let until =
            undisturbed.first_token_ms + (f64::from(kill.after) + 0.5) * undisturbed.token_ms;
        let mut answers = Answers::default();
        let mut stalls = Vec::new();
        for _ in 0..times {
            let question = self.question_together(setup);
            let question: Vec<_> = question.iter().map(String::as_str).collect();
            let mut run = self.circle.node(NAMES[0]).ask(&question);
            let _ = run.told("predicted");
            thread::sleep(Duration::from_secs_f64(until / 1e3));
            self.circle.node_mut(kill.whom).kill();
            let answer = Answer::of(run.end());
            self.circle.node_mut(kill.whom).up();
            self.circle.await_connected();
            thread::sleep(Duration::from_millis(1_500));
            answers.take(&answer);
            stalls.extend(answer.recoveries.iter().map(|recovery| recovery.stall_ms));
        }
        answers.times.stall_ms = (!stalls.is_empty()).then(|| median(&stalls));
        (answers, stalls)
    }
}

impl Answers {
    /// What is to be asked in virtual time: the same question as often, with the same pauses, as a
    /// connection sends faster when it has lately sent much.
    pub fn asked(&self) -> Asked {
        let of_answer = |&(first, token): &(f64, f64)| {
            let behind = self.tokens.len().saturating_sub(1);
            first + token * behind as f64
        };
        let answering: f64 = self.all.iter().map(of_answer).sum();
        let pauses = self.took.as_secs_f64() - answering / 1e3;
        let pause = pauses.max(0.0) / self.all.len().max(1) as f64;
        Asked {
            prompt: self.prompt,
            connected: self.connected,
            times: self.all.len(),
            pause: Duration::from_secs_f64(pause),
        }
    }

    fn take(&mut self, answer: &Answer) {
        let number = |name: &str| answer.json[name].as_f64().expect("a number");
        let first = number("time_to_first_token_s") * 1e3;
        let token = 1e3 / number("decode_tokens_per_s");
        self.times.stages = answer.stages();
        let planned = answer.json["placement"]["tokens_per_s"].as_f64();
        self.planned_ms = planned.map_or(f64::NAN, |rate| 1e3 / rate);
        let prompt = answer.json["prompt_token_ids"]
            .as_array()
            .map_or(0, Vec::len);
        self.prompt = u32::try_from(prompt).expect("a prompt of a test");
        if !self.tokens.is_empty() {
            assert_eq!(self.tokens, answer.tokens, "an answer is always the same");
        }
        self.tokens.clone_from(&answer.tokens);
        self.all.push((first, token));
        let (firsts, tokens): (Vec<_>, Vec<_>) = self.all.iter().copied().unzip();
        self.times.first_token_ms = median(&firsts);
        self.times.token_ms = median(&tokens);
    }
}
