//! `potluck serve`.

mod share;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use potluck::catalogue::ModelsFolder;
use potluck::device::Device;
use potluck::engine::OpenOptions;
use potluck::home::Home;
use potluck::http::{Access, Listening, Server, Token};
use potluck::local::Client;
use potluck::serve::{Service, Settings};
use serde_json::json;

use super::failure::{self, Code};
use super::nodes::{NodeArgs, OwnNode};
use super::obtain::Paths;
use super::options::{ModelOptions, PackArgs, at_least_one, threads};
use super::together::WhoArgs;
use super::up::{self, HelpingArgs, PATIENCE, Teller};
use super::{Outcome, format, given, interrupt, obtain, output};
use share::{ShareArgs, Sharing};

/// Serve an HTTP API for clients of OpenAI and Ollama, and help paired devices as `up` does
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Address to serve the API at, or only a port of this device; port 0 takes any free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:11435", value_parser = http_address)]
    http: SocketAddr,
    /// Require no token: every program on this device may use the API
    #[arg(long)]
    open: bool,
    /// Allow web pages of this origin, such as https://example.org; may be given several times
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    origin: Vec<String>,
    /// Another host name that clients use for this device, such as host.docker.internal; may be given
    /// several times
    #[arg(long, value_name = "NAME", value_parser = host)]
    host: Vec<String>,
    /// Allow --http to be an address that other devices can reach. Nothing is encrypted: anyone on that
    /// network can read prompts, answers and the token
    #[arg(long)]
    insecure_http: bool,
    #[command(flatten)]
    model: ModelOptions,
    /// Another name for a model, for clients that insist on their own, such as
    /// gpt-4o-mini=smollm2:135m; may be given several times
    #[arg(long, value_name = "NAME=MODEL", value_parser = alias)]
    alias: Vec<(String, String)>,
    /// Processor threads to compute with [default: the cores that help]
    #[arg(long, short, value_name = "N", value_parser = threads)]
    threads: Option<NonZeroUsize>,
    /// Positions of a request, prompt and answer together [default: 8192, or the model's own limit if
    /// lower]
    #[arg(long, short, value_name = "N", value_parser = at_least_one)]
    context: Option<NonZeroUsize>,
    /// Requests that are answered at the same time; more wait
    #[arg(long, value_name = "N", default_value = "16", value_parser = at_least_one)]
    streams: NonZeroUsize,
    /// Print one JSON line when ready, {"http": "http://127.0.0.1:11435", "token_file": …, "peer_id": …,
    /// "listening": […], "caveats": {…}}, and one for each event, as `up` does. With --share it has
    /// "share": {"https": […], "fingerprint": …, "join": …, "pin": …}, and events are guest_joined,
    /// guest_removed and guest_invitation, too
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    who: WhoArgs,
    #[command(flatten)]
    share: ShareArgs,
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    helping: HelpingArgs,
    #[command(flatten)]
    pack: PackArgs,
}

const EXAMPLES: &str = "\
Examples:
  potluck serve
  potluck serve --model big.gguf --context 4096 --streams 4
  potluck serve --open --origin http://localhost:3000
  potluck serve --share
  potluck serve --with-peers --model big.gguf
  potluck serve --model big.gguf --drafter small.gguf
  potluck serve --http 127.0.0.1:0 --json

OpenAI clients: set base_url to http://127.0.0.1:11435/v1 and the API key to the text of the file
http-token in the data folder. The first start creates it; only its owner can read it.
Ollama clients: set the host to http://127.0.0.1:11435. Use --open for those that cannot send a key.
GET /openapi.json describes the API, GET /metrics has numbers for Prometheus.

A request can name a catalogue model that is on this device, a file in the models folder, or an alias.
Without a name it gets --model, whose tokens alone --drafter guesses. Models load at first use and
unload when idle. Requests are computed together; the same request with the same seed always gets the
same answer.

--share lets guests in by HTTPS, each with a token and limits of their own: `potluck guests` has more.
Requests of the owner, those at --http and those with the owner's token, go before those of guests.

Only --origin lets web pages in, and only --host adds host names. Python clients send even local
requests through HTTP_PROXY: set NO_PROXY=127.0.0.1.

Nothing is sent to other devices unless --with-peers or --placement says so, or POTLUCK_WITH_PEERS=1
is set, which --alone overrides. With them the paired devices compute, at most 16 answers of a model
at once, and texts are embedded on this device. Requests that no devices can compute fail with 503.
Ctrl-C stops the server; running answers get a few seconds. -v logs one line for each request, with
path, model, status, tokens and times, but no text.";

/// How long a connection may take to end after the last answer has.
const LAST_WORDS: Duration = Duration::from_secs(2);

pub(super) fn run(mut args: Args) -> anyhow::Result<Outcome> {
    check(&args)?;
    let home = Home::from_environment()?;
    args.node.packed = args.pack.store(&home, false);
    let cancel = interrupt::on_ctrl_c()?;
    // Before anything that takes long: the port may be another's.
    let listening = Listening::on(args.http)?;
    let (shared, mut sharing) = Sharing::open(&args.share, &home, &args.host, args.json)?.unzip();
    let token = (!args.open).then(|| Token::of(&home)).transpose()?;
    let paths = obtain::paths(&args.model, args.who.drafter(), &cancel, args.json)?;
    let Some(Paths { model, drafter }) = paths else {
        return Ok(Outcome::Interrupted);
    };
    let Some(own) = up::start(&home, &args.node, args.threads, &args.helping, &cancel)? else {
        return Ok(Outcome::Interrupted);
    };
    (sharing.iter()).for_each(|sharing| sharing.at.share().begin());
    let mut events = own.local.node.events()?;
    up::add_models(&home, &[model], &own, &cancel)?;
    let settings = settings(&home, &args, &own, drafter)?;
    let grace = settings.grace;
    let service = Service::start(settings)?;
    let address = listening.address();
    let access = Access {
        token: token.clone(),
        hosts: args.host.clone(),
        origins: args.origin.clone(),
    };
    let server = listening.serve_with(service.clone(), access, shared)?;
    let peers = up::listening(&own, &cancel)?;
    if let Some(sharing) = &mut sharing {
        sharing.begin();
        if !args.node.no_mdns {
            sharing.announce(Device::open(&home)?.name.as_str());
        }
    }
    tell_ready(
        &args,
        address,
        token.as_ref(),
        &own,
        &peers,
        sharing.as_mut(),
    )?;
    let mut teller = Teller::new(&own, args.json)?;
    let mut owner = Owner::default();
    while !cancel.is_cancelled() {
        std::thread::sleep(PATIENCE);
        while let Ok(event) = events.try_recv() {
            teller.tell(event);
        }
        if let Some(sharing) = &mut sharing {
            sharing.look()?;
        }
        owner.follow(&own, service.is_computing())?;
        // Both end by themselves only if a thread of theirs has failed.
        own.local.node.is_idle()?;
        if server.has_ended() {
            return Err(failure::refusal(Code::Failed, "the HTTP server has failed"));
        }
    }
    stop(&server, &service, grace);
    if let Some(sharing) = sharing {
        sharing.end();
    }
    up::leave(&own)?;
    Ok(Outcome::Interrupted)
}

/// Refuses what would open more than was said.
fn check(args: &Args) -> anyhow::Result<()> {
    let is_loopback = args.http.ip().is_loopback();
    if !is_loopback && !args.insecure_http {
        let words = format!(
            "other devices can reach {}, and HTTP is not encrypted: use 127.0.0.1, or add \
             --insecure-http if everyone on that network may read along",
            args.http
        );
        return Err(failure::refusal(Code::Usage, words));
    }
    if is_loopback && args.insecure_http && given::has("insecure_http") {
        let words = "--insecure-http has no effect at an address that only this device can reach: leave \
                     it out, or give another address with --http";
        return Err(failure::refusal(Code::Usage, words));
    }
    if !is_loopback && args.open {
        let words = "--open is for programs on this device: other devices can reach this address, so it \
                     needs the token";
        return Err(failure::refusal(Code::Usage, words));
    }
    args.who.check_effects(&[])
}

fn settings(
    home: &Home,
    args: &Args,
    own: &OwnNode,
    drafter: Option<PathBuf>,
) -> anyhow::Result<Settings> {
    let mut settings = Settings::new(ModelsFolder::of(home));
    settings.model = args.model.model.clone();
    settings.fetch = obtain::fetch_options(&args.model.network);
    settings.memory = own.memory.clone();
    settings.packed = args.node.packed.clone();
    settings.circle = Some(args.who.circle(own));
    settings.streams = args.streams.get();
    settings.drafts = args.who.drafts();
    let mut aliases = BTreeMap::new();
    for (alias, model) in &args.alias {
        if aliases.insert(alias.clone(), model.clone()).is_some() {
            let words = format!("--alias {alias} is given twice");
            return Err(failure::refusal(Code::Usage, words));
        }
    }
    settings.aliases = aliases;
    settings.open = OpenOptions {
        threads: args.threads,
        context: args.context,
        template: None,
        drafts: args.who.drafts(),
        drafter,
    };
    Ok(settings)
}

fn tell_ready(
    args: &Args,
    address: SocketAddr,
    token: Option<&Token>,
    own: &OwnNode,
    peers: &[String],
    sharing: Option<&mut Sharing>,
) -> anyhow::Result<()> {
    let peer_id = own.local.node.peer_id().to_string();
    let caveats = own.local.node.look_at_device()?;
    let file = token.map(Token::path);
    if args.json {
        return output::json(&json!({
            "http": format!("http://{address}"), "token_file": file, "peer_id": peer_id,
            "listening": peers, "caveats": caveats, "share": sharing.map(|sharing| sharing.object()),
        }));
    }
    output::line(&format!("serving at http://{address}"))?;
    output::line(&format!("  OpenAI clients: base_url http://{address}/v1"))?;
    output::line(&format!("  Ollama clients: host http://{address}"))?;
    match file {
        Some(file) => output::line(&format!("  API key: the text of {}", file.display()))?,
        None => {
            output::line("  no API key is needed: every program on this device may use the API")?
        }
    }
    output::line(&match (args.who.placement(), args.who.wants_peers()) {
        (Some(placement), _) => format!("  answers are computed as placed: {placement}"),
        (None, true) => {
            "  answers are computed on this device and paired ones, where that is faster".to_owned()
        }
        (None, false) => "  answers are computed on this device only".to_owned(),
    })?;
    for peer in peers {
        output::line(&format!("listening for paired devices on {peer}"))?;
    }
    if let Some(sharing) = sharing {
        sharing.show()?;
    }
    for line in caveats.in_words(&format::bytes) {
        output::note(&line);
    }
    output::note("Ctrl-C ends it");
    Ok(())
}

/// Has the node let its owner's answers go first while there are any.
#[derive(Default)]
struct Owner(Option<Client>);

impl Owner {
    fn follow(&mut self, own: &OwnNode, computes: bool) -> anyhow::Result<()> {
        match (computes, &self.0) {
            (true, None) => {
                let mut client = Client::within(own.local.clone())?;
                client.compute_here()?;
                self.0 = Some(client);
            }
            (false, Some(_)) => self.0 = None,
            _ => {}
        }
        Ok(())
    }
}

/// Lets answers in flight go on for a while, and their clients read them.
fn stop(server: &Server, service: &Service, grace: Duration) {
    if service.is_computing() {
        output::note("waiting for running answers…");
    }
    server.stop(grace + LAST_WORDS);
    service.stop();
}

/// An address, or a port of this device alone.
fn http_address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix("localhost:").unwrap_or(text);
    match port.parse::<u16>() {
        Ok(port) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        Err(_) => address(text),
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "write an address with its port, like 127.0.0.1:11435".to_owned())
}

/// A scheme and a host, with a port or not.
fn origin(text: &str) -> Result<String, String> {
    let rest = text.split_once("://").filter(|(scheme, host)| {
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        !scheme.is_empty() && scheme.chars().all(is_scheme) && !host.is_empty()
    });
    let is_origin = rest.is_some_and(|(_, host)| {
        let is_host = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
        host.chars().all(is_host)
    });
    match is_origin {
        true => Ok(text.to_ascii_lowercase()),
        false => {
            Err("write an origin like https://example.org or http://localhost:3000".to_owned())
        }
    }
}

fn host(text: &str) -> Result<String, String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    match !text.is_empty() && text.chars().all(is_name) {
        true => Ok(text.to_owned()),
        false => Err("write a host name without scheme and port".to_owned()),
    }
}

fn alias(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=');
    let parts = parts.filter(|(name, model)| !name.is_empty() && !model.is_empty());
    let (name, model) = parts.ok_or("write NAME=MODEL")?;
    Ok((name.to_owned(), model.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_origins_and_hosts_are_what_people_and_browsers_write() {
        for good in [
            "https://example.org",
            "http://localhost:3000",
            "tauri://localhost",
        ] {
            assert_eq!(origin(good).as_deref(), Ok(good));
        }
        for wrong in [
            "*",
            "null",
            "example.org",
            "https://",
            "https://a/b",
            "https://a b",
        ] {
            assert!(origin(wrong).is_err(), "{wrong}");
        }
        for (text, meant) in [
            ("8080", "127.0.0.1:8080"),
            ("localhost:0", "127.0.0.1:0"),
            ("[::1]:1", "[::1]:1"),
        ] {
            assert_eq!(http_address(text), address(meant), "{text}");
        }
        // In some programs this means all addresses.
        assert!(http_address(":8080").is_err() && http_address("localhost").is_err());
        assert!(http_address("70000").is_err() && address("8080").is_err());
        assert!(host("host.docker.internal").is_ok());
        assert!(host("http://x").is_err() && host("x:1").is_err() && host("").is_err());
        assert!(alias("gpt-4o-mini=smollm2:135m").is_ok());
        assert!(alias("gpt").is_err() && alias("=x").is_err());
    }
}
