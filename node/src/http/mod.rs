//! The HTTP API: what programs that speak OpenAI's or Ollama's API use unchanged.
//!
//! | module | what |
//! |---|---|
//! | `server`, `connection` | the thread, its connections and their bounds |
//! | `guard`, `token` | who is let in |
//! | `shared`, `certificate`, `join`, `nearby` | HTTPS for guests, how people become guests, how they find it |
//! | `routes`, `api` | paths, and what handlers share |
//! | `body`, `fields`, `fault` | a request's JSON, field by field, and why it is refused |
//! | `messages`, `sampling`, `tools`, `inputs` | what both dialects say alike |
//! | `openai`, `ollama` | the dialects: they translate into a [`Request`](crate::serve::Request), and its updates back |
//! | `stream`, `whole` | answers as they come, and once they are whole |
//! | `account`, `metrics` | what is told and counted of requests; never text |
//! | `openapi` | the document of all this |
//!
//! # Bounds
//! | what | bound | then |
//! |---|---|---|
//! | connections | 256, and 128 of guests | the one that has waited longest for a request gives way |
//! | agreeing on keys | 10 s | the connection ends |
//! | head | 100 lines, 64 KiB | 431 |
//! | head, and the time between two requests | 75 s | the connection ends |
//! | body | 16 MiB, 60 s | 413, 408 |
//! | an answer that is not read | 60 s | the connection and the answer end |
//!
//! When a client disconnects, hyper drops the handler or the body, and with it the request: computing
//! stops.
//!
//! # Defaults
//! Tokens are chosen as `potluck run` does unless a request says otherwise, and an answer may be as long
//! as the context allows. A model whose template has no switch for thinking ignores a wish that it
//! thinks. `num_ctx` and `keep_alive` are accepted without effect, except `keep_alive: 0` in a request
//! without messages: the node's context and idle time hold, and a prompt that is too long is refused,
//! never cut.

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
use server::{Entrance, MOST_CONNECTIONS, MOST_SHARED};
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
    /// What clients have to send; nothing if `None`.
    pub token: Option<Token>,
    /// Names under which this device is reached, beside those of loopback.
    pub hosts: Vec<String>,
    /// Web pages that may use it, such as `https://example.org`.
    pub origins: Vec<String>,
}

impl Listening {
    /// Serves the API of a service on a thread of its own.
    ///
    /// # Errors
    /// The system has no more threads.
    pub fn serve(self, service: Service, access: Access) -> Result<Server, StartError> {
        self.serve_with(service, access, None)
    }

    /// As [`Self::serve`], and for guests, too.
    ///
    /// # Errors
    /// As there, and [`StartError::Certificate`].
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
        let mut entrances = vec![Entrance {
            listening: self,
            connections: Connections::new(MOST_CONNECTIONS),
            tls: None,
        }];
        if let Some(shared) = shared {
            let config = shared.at.certificate().config()?;
            entrances.push(Entrance {
                listening: shared.listening,
                connections: Connections::new(MOST_SHARED),
                tls: Some(TlsAcceptor::from(config)),
            });
        }
        let connections = entrances.iter().map(|one| Arc::clone(&one.connections));
        let api = Arc::new(api::Api {
            answers,
            guard,
            counters: Arc::default(),
            connections: connections.collect(),
        });
        Server::start(entrances, routes::router(api))
    }
}
