//! Exports spans to an OpenTelemetry collector, by OTLP over HTTP: the feature `otlp`.
//!
//! The spans are those of [`crate::log`] at level info and above, with their fields and events; a
//! request of the HTTP API has the fields of `node/src/http/account.rs`. Like the log, they never
//! contain prompts or answers, but they do contain names and addresses of devices. Nothing is sent
//! unless a collector is configured.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use ureq::Agent;

use crate::catalogue::tls_for;
use crate::log::{Beside, Filter, Level};

/// Time limit of one export, and of the flush when the program ends.
const WITHIN: Duration = Duration::from_secs(5);
/// Most bytes that are read of a collector's response.
const MOST_ANSWER: u64 = 64 << 10;

/// Spans cannot be sent to this address.
#[derive(Debug, thiserror::Error)]
#[error("cannot send spans to {endpoint}: {why}")]
pub struct OtlpError {
    endpoint: String,
    why: String,
}

/// Exports the spans of this process until [`Self::finish`].
#[derive(Debug)]
pub struct Otlp(SdkTracerProvider);

impl Otlp {
    /// Exports to a collector at this address, such as `http://127.0.0.1:4318`, under its path
    /// `/v1/traces`.
    ///
    /// # Errors
    /// The address is not an HTTP URL, or HTTPS is unavailable on this processor.
    pub fn to(endpoint: &str) -> Result<Self, OtlpError> {
        let failed = |why: String| OtlpError {
            endpoint: endpoint.to_owned(),
            why,
        };
        if !["http://", "https://"]
            .iter()
            .any(|scheme| endpoint.starts_with(scheme))
        {
            return Err(failed(
                "write an address like http://127.0.0.1:4318".to_owned(),
            ));
        }
        let client = Client::new(endpoint).map_err(failed)?;
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_timeout(WITHIN)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        let resource = Resource::builder().with_service_name("potluck").build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource);
        Ok(Self(provider.build()))
    }

    /// The layer that collects spans, for [`crate::log::start`].
    pub fn layer(&self) -> Beside {
        let tracer = self.0.tracer("potluck");
        let spans: Targets = Filter::level(Some(Level::Info)).into();
        let layer = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false);
        Box::new(layer.with_filter(spans))
    }

    /// Sends the remaining spans, waiting a few seconds at most.
    pub fn finish(self) {
        if let Err(error) = self.0.shutdown_with_timeout(WITHIN) {
            tracing::warn!(why = %error, "some spans were not sent");
        }
    }
}

/// `ureq`, which the node already uses for downloads. It blocks; spans are exported on a thread of
/// their own.
struct Client(Agent);

impl Client {
    fn new(endpoint: &str) -> Result<Self, String> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(WITHIN));
        if let Some(tls) = tls_for(endpoint).map_err(|error| error.to_string())? {
            config = config.tls_config(tls);
        }
        Ok(Self(config.build().new_agent()))
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let answer = self.0.run(Request::from_parts(parts, &body[..]))?;
        let (parts, mut body) = answer.into_parts();
        let body = body.with_config().limit(MOST_ANSWER).read_to_vec()?;
        Ok(Response::from_parts(parts, Bytes::from(body)))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl HttpClient for Client {
    fn send_bytes<'client, 'sent>(
        &'client self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'sent>>
    where
        'client: 'sent,
        Self: 'sent,
    {
        Box::pin(async move { self.send(request) })
    }
}
