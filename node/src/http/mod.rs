//! The HTTP API: clients of OpenAI's or Ollama's API can use it unchanged.
//!
//! | module | purpose |
//! |---|---|
//! | `server`, `connection` | the serving thread, its connections and their limits |
//! | `guard`, `token` | access control |
//! | `shared`, `certificate`, `join`, `nearby` | HTTPS for guests, joining, discovery |
//! | `routes`, `api` | paths, and state that handlers share |
//! | `body`, `fields`, `fault` | a request's JSON, typed access to its fields, errors |
//! | `messages`, `sampling`, `tools`, `inputs` | parsing that both dialects share |
//! | `openai`, `ollama` | the dialects: they translate into a [`Request`](crate::serve::Request), and its updates back |
//! | `stream`, `whole` | streamed answers, and answers sent whole |
//! | `account`, `metrics` | logs and counters of requests; never text |
//! | `openapi` | the OpenAPI document |
//!
//! # Limits
//! | what | limit | when exceeded |
//! |---|---|---|
//! | connections | 256, and 128 of guests | the one that has waited longest for a request is closed |
//! | TLS handshake | 10 s | the connection is closed |
//! | head | 100 lines, 64 KiB | 431 |
//! | head, and the time between two requests | 75 s | the connection is closed |
//! | body | 16 MiB, 60 s; 8 KiB to join | 413, 408 |
//! | all bodies, as text and parsed, until they are answered | 128 MiB, and 64 MiB of guests; each may have 64 KiB in any case | 429 |
//! | an answer that the client does not read | 60 s | the connection is closed and the answer cancelled |
//!
//! When a client disconnects, hyper drops the handler or the body, and with it the request:
//! computation stops.
//!
//! # Defaults
//! Sampling defaults are those of `potluck run`, and an answer may be as long as the context
//! allows. A model whose template has no switch for thinking ignores a request to think. `num_ctx`
//! and `keep_alive` are accepted without effect, except `keep_alive: 0` in a request without
//! messages: the node's own context and idle time apply, and a prompt that is too long is refused,
//! never truncated.

mod account;
mod answers;
mod api;
mod body;
mod certificate;
mod connection;
mod fault;
mod fields;
mod guard;
mod inputs;
mod join;
mod messages;
mod metrics;
mod nearby;
mod ollama;
mod openai;
mod openapi;
mod room;
mod routes;
mod sampling;
#[cfg(test)]
mod script;
mod server;
mod service;
mod shared;
mod stream;
#[cfg(test)]
mod tests;
mod token;
mod tools;
mod whole;

use std::sync::Arc;

use connection::Connections;
use guard::Guard;
use room::Room;
use server::{Entrance, MOST_CONNECTIONS, MOST_SHARED, ROOM, ROOM_SHARED};
use tokio_rustls::TlsAcceptor;

pub use certificate::{Certificate, CertificateError};
pub use nearby::Nearby;
pub use server::{Listening, Server, StartError};
pub use shared::{ShareError, Shared, SharedAt};
pub use token::{Token, TokenError};

use crate::serve::Service;

/// Who may use the API.
#[derive(Clone, Default)]
pub struct Access {
    /// The token that clients must send; `None` requires none.
    pub token: Option<Token>,
    /// Names under which clients reach this device, besides loopback.
    pub hosts: Vec<String>,
    /// Allowed web origins, such as `https://example.org`.
    pub origins: Vec<String>,
}

impl Listening {
    /// Serves the API of a service on a thread of its own.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub fn serve(self, service: Service, access: Access) -> Result<Server, StartError> {
        self.serve_with(service, access, None)
    }

    /// Like [`Self::serve`], and for guests as well.
    ///
    /// # Errors
    /// The same, and [`StartError::Certificate`].
    pub fn serve_with(
        self,
        service: Service,
        access: Access,
        shared: Option<Shared>,
    ) -> Result<Server, StartError> {
        let answers: Arc<dyn answers::Answers> = Arc::new(service);
        let hosts = access.hosts.iter().map(|host| host.to_ascii_lowercase());
        let guard = Guard {
            token: access.token,
            hosts: hosts.collect(),
            any_address: !self.address.ip().is_loopback(),
            origins: access.origins,
            share: shared.as_ref().map(|shared| shared.at.share().clone()),
            shared_hosts: shared
                .as_ref()
                .map_or_else(Vec::new, |shared| shared.at.hosts()),
        };
        let certificate = shared
            .as_ref()
            .map(|shared| shared.at.certificate().clone());
        let mut entrances = vec![Entrance {
            listening: self,
            connections: Connections::new(MOST_CONNECTIONS, Room::of(ROOM)),
            tls: None,
        }];
        if let Some(shared) = shared {
            let config = shared.at.certificate().config()?;
            entrances.push(Entrance {
                listening: shared.listening,
                connections: Connections::new(MOST_SHARED, Room::of(ROOM_SHARED)),
                tls: Some(TlsAcceptor::from(config)),
            });
        }
        let connections = entrances.iter().map(|one| Arc::clone(&one.connections));
        let api = Arc::new(api::Api {
            answers,
            guard,
            certificate,
            counters: Arc::default(),
            connections: connections.collect(),
        });
        Server::start(entrances, routes::router(api))
    }
}
