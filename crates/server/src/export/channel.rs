//! A connection to whoever takes an export: HTTP/2, over TLS unless it is on this host.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use legwork_identity::tls::{ConfigError, ElsewhereError, Own};
use legwork_identity::{SystemClock, tls};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::task::TaskTracker;
use tonic::body::Body;

/// Silence after which the peer is asked for a sign of life, and how long it has to give it.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Where an export goes, and how it is known.
#[derive(Clone)]
pub(crate) struct Endpoint {
    uri: Uri,
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Endpoint({})", self.uri)
    }
}

impl Endpoint {
    /// `https://host:port`, or `http://` on this host. `ca`: the authorities that are trusted, as PEM; without it, those of the system.
    /// `own`: what is shown to a receiver that asks for a certificate.
    pub(super) fn parse(
        text: &str,
        ca: Option<&str>,
        own: Option<Own<'_>>,
    ) -> Result<Self, String> {
        let uri: Uri = text
            .parse()
            .map_err(|error| format!("endpoint {text:?}: {error}"))?;
        let host = uri.host().unwrap_or_default();
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        let plain_path = matches!(uri.path(), "" | "/") && uri.query().is_none();
        if host.is_empty() || !plain_path {
            return Err(format!("endpoint {text:?} is not like https://host:4317"));
        }
        let tls = match uri.scheme_str() {
            Some("https") => {
                let clock = Arc::new(SystemClock);
                let config = tls::elsewhere(ca, own, clock).map_err(|error| told(&error))?;
                Some(TlsConnector::from(Arc::new(config)))
            }
            Some("http") if ca.is_some() => {
                return Err("ca is for an endpoint with https".to_owned());
            }
            Some("http") if own.is_some() => {
                return Err("certificate and key are for an endpoint with https".to_owned());
            }
            Some("http") if is_loopback(&host) => None,
            Some("http") => {
                return Err(format!(
                    "endpoint {text:?}: without TLS only this host is reached, by localhost, 127.0.0.1 or ::1"
                ));
            }
            _ => return Err(format!("endpoint {text:?} is neither https nor http")),
        };
        Ok(Self {
            port: uri.port_u16().unwrap_or(4317),
            host,
            uri,
            tls,
        })
    }

    pub(super) fn uri(&self) -> Uri {
        self.uri.clone()
    }

    pub(super) async fn connect(&self, tasks: &TaskTracker) -> Result<Channel, String> {
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|error| error.to_string())?;
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        let Some(tls) = &self.tls else {
            return shake(stream, tasks).await;
        };
        let name = ServerName::try_from(self.host.clone()).map_err(|error| error.to_string())?;
        let stream = tls.connect(name, stream).await;
        shake(stream.map_err(|error| error.to_string())?, tasks).await
    }
}

/// Which of the settings it is about.
fn told(error: &ElsewhereError) -> String {
    match error {
        ElsewhereError::NotOwn { what } if what.ends_with("key") => format!("key: {error}"),
        ElsewhereError::NotOwn { .. } | ElsewhereError::Config(ConfigError::Credentials(_)) => {
            format!("certificate: {error}")
        }
        _ => format!("ca: {error}"),
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

async fn shake<T>(io: T, tasks: &TaskTracker) -> Result<Channel, String>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE);
    let shaken = builder.handshake(TokioIo::new(io)).await;
    let (requests, connection) = shaken.map_err(|error| error.to_string())?;
    // It ends with the last handle on it, and fails the calls that are on it.
    drop(tasks.spawn(async move { drop(connection.await) }));
    Ok(Channel(requests))
}

/// One connection, as calls want it.
#[derive(Debug, Clone)]
pub(super) struct Channel(SendRequest<Body>);

impl tower::Service<http::Request<Body>> for Channel {
    type Response = http::Response<Body>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answering = self.0.send_request(request);
        Box::pin(async move { Ok(answering.await?.map(Body::new)) })
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn without_tls_only_this_host_is_reached() {
        for good in [
            "http://127.0.0.1:4317",
            "http://[::1]:1",
            "http://localhost:4317/",
        ] {
            assert!(Endpoint::parse(good, None, None).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("http://10.0.0.1:4317", "only this host"),
            ("http://localhost.evil.example", "only this host"),
            ("ftp://127.0.0.1", "neither"),
            ("127.0.0.1:4317", "127.0.0.1:4317"),
            ("https://a.example/v1/logs", "is not like"),
        ] {
            let told = Endpoint::parse(bad, None, None).unwrap_err();
            assert!(told.contains(why), "{bad}: {told}");
        }
        let told = Endpoint::parse("https://a.example:1", Some("no pem"), None).unwrap_err();
        assert!(told.contains("no certificate"), "{told}");
    }
}
