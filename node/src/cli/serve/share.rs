//! `potluck serve --share`: the API for guests, and the owner's display.

use std::net::SocketAddr;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use potluck::guests::{ShareEvent, remember_url};
use potluck::home::Home;
use potluck::http::{Nearby, Shared, SharedAt};
use serde_json::{Value, json};

use crate::cli::person::Person;
use crate::cli::{guests, output};

/// How the API is shared.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Guests")]
pub(super) struct ShareArgs {
    /// Also serve the API to the local network by HTTPS, for guests who have no node: the screen shows a
    /// code and a PIN by which they join. `potluck guests` lists, limits and removes them
    #[arg(long)]
    share: bool,
    /// Address to share the API at; port 0 takes any free port [default: port 11436 of all addresses]
    #[arg(long, value_name = "ADDRESS", requires = "share", value_parser = super::address)]
    share_at: Option<SocketAddr>,
}

/// Interval between checks of this device's addresses.
const ADDRESSES: Duration = Duration::from_secs(10);

/// The shared API and its events.
pub(super) struct Sharing {
    pub(super) at: SharedAt,
    told: Receiver<ShareEvent>,
    nearby: Option<Nearby>,
    /// The person at the terminal, who can press Enter to see the code again.
    person: Option<Person>,
    looked: Instant,
    home: Home,
    json: bool,
}

impl Sharing {
    /// Opens the guests' port, if the API is shared.
    pub(super) fn open(
        args: &ShareArgs,
        home: &Home,
        hosts: &[String],
        json: bool,
    ) -> anyhow::Result<Option<(Shared, Self)>> {
        if !args.share {
            return Ok(None);
        }
        let (shared, told) = Shared::open(home, args.share_at, hosts)?;
        let sharing = Self {
            at: shared.at.clone(),
            told,
            nearby: None,
            person: None,
            looked: Instant::now(),
            home: home.clone(),
            json,
        };
        Ok(Some((shared, sharing)))
    }

    /// Publishes the URL to other commands of this home.
    pub(super) fn begin(&self) {
        let url = self.at.urls().into_iter().next();
        // On failure, `potluck guests add` shows no code.
        let _ = remember_url(&self.home, url.as_deref());
    }

    /// Announces the API in the local network.
    pub(super) fn announce(&mut self, device: &str) {
        let fingerprint = self.at.certificate().fingerprint();
        match Nearby::announce(self.at.address(), device, fingerprint) {
            Ok(nearby) => self.nearby = nearby,
            Err(why) => output::note(&format!(
                "the shared API is not announced in the local network ({why}): guests need its address"
            )),
        }
    }

    /// The JSON for the line that reports that the server is ready.
    pub(super) fn object(&self) -> Value {
        let mut object = self.invitation();
        object["https"] = self.at.urls().into();
        object["fingerprint"] = self.at.certificate().fingerprint().into();
        object
    }

    fn invitation(&self) -> Value {
        let invitation = self.at.share().invitation();
        json!({"join": self.link(), "pin": invitation.pin})
    }

    /// The content of the QR code. Browsers do not send the part after the `#`.
    fn link(&self) -> String {
        let key = self.at.share().invitation().key;
        format!("{}#key={key}", self.join_url())
    }

    fn join_url(&self) -> String {
        let url = self.at.urls().into_iter().next().unwrap_or_default();
        format!("{url}/join")
    }

    /// Shows that sharing is ready.
    pub(super) fn show(&mut self) -> anyhow::Result<()> {
        for url in self.at.urls() {
            output::line(&format!("sharing with guests at {url}"))?;
        }
        let fingerprint = self.at.certificate().fingerprint();
        output::line(&format!("  SHA-256 of its public key: {fingerprint}"))?;
        output::note(
            "guests' browsers warn of the certificate, because this device made it itself: the fingerprint \
             shows that it is the right one. Their programs trust it by a file that the page offers",
        );
        self.person = Person::there();
        self.show_invitation(true)
    }

    /// Shows how to join, with the QR code if a person is at the terminal.
    fn show_invitation(&self, with_code: bool) -> anyhow::Result<()> {
        if with_code && self.person.is_some() {
            let picture = guests::picture(&self.link())?;
            output::line(&format!("\n{picture}\n"))?;
        }
        let pin = self.at.share().invitation().spaced_pin();
        let url = self.join_url();
        output::line(&format!(
            "to join: scan the code, or open {url} and type the PIN {pin}"
        ))?;
        if self.person.is_some() {
            output::note("Enter shows the code and the PIN of the moment");
        }
        Ok(())
    }

    /// Reports events, and checks files, clock, addresses and the keyboard.
    pub(super) fn look(&mut self) -> anyhow::Result<()> {
        self.at.share().look();
        while let Ok(event) = self.told.try_recv() {
            self.tell(event)?;
        }
        if self.looked.elapsed() >= ADDRESSES {
            self.looked = Instant::now();
            match self.at.follow_addresses() {
                Ok(false) => {}
                Ok(true) => {
                    self.begin();
                    self.tell(ShareEvent::Invites)?;
                }
                Err(error) => self.tell(ShareEvent::Problem(error.to_string()))?,
            }
        }
        let asks = self.person.as_ref().is_some_and(|person| {
            let asks = person.line().is_some();
            person.forget_lines();
            asks
        });
        match asks {
            true => self.show_invitation(true),
            false => Ok(()),
        }
    }

    fn tell(&self, event: ShareEvent) -> anyhow::Result<()> {
        let (words, object) = match event {
            ShareEvent::Joined { name, from } => (
                format!(
                    "{name} joined as a guest, from {from}: `potluck guests` limits and removes"
                ),
                json!({"event": "guest_joined", "name": name, "from": from.to_string()}),
            ),
            ShareEvent::Removed { name } => (
                format!("the guest {name} was removed"),
                json!({"event": "guest_removed", "name": name}),
            ),
            ShareEvent::Problem(words) => {
                let object = json!({"event": "problem", "message": words});
                (words, object)
            }
            ShareEvent::Invites => {
                if !self.json {
                    return self.show_invitation(false);
                }
                let mut object = self.invitation();
                object["event"] = "guest_invitation".into();
                return output::json(&object);
            }
        };
        output::note(&words);
        match self.json {
            true => output::json(&object),
            false => Ok(()),
        }
    }

    /// Writes the guests' usage and withdraws the URL when the server ends.
    pub(super) fn end(&self) {
        self.at.share().write();
        let _ = remember_url(&self.home, None);
    }
}
