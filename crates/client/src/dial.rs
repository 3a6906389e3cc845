//! TLS connections to whichever of several addresses answers first.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use legwork_identity::invite::Address;
use legwork_identity::tls::{self, HandshakeError};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::CallError;

/// How long one address is tried alone before the next is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);

/// Why one address did not do.
#[derive(Debug)]
pub(crate) enum DialError {
    /// Nobody is there.
    Unreachable(String),
    /// Somebody is there, and says so.
    Handshake(HandshakeError),
}

impl DialError {
    pub(crate) fn into_call_error(self) -> CallError {
        match self {
            Self::Unreachable(why) => CallError::unreachable(&why),
            Self::Handshake(error) => CallError::handshake(&error),
        }
    }

    /// Of several failures the one that tells most: what somebody said comes before nobody's being there.
    fn most_telling(errors: Vec<Self>) -> Self {
        let mut silent = Vec::new();
        let mut told = None;
        for error in errors {
            match error {
                Self::Unreachable(why) => silent.push(why),
                handshake => told = told.or(Some(handshake)),
            }
        }
        told.unwrap_or_else(|| Self::Unreachable(silent.join("; ")))
    }
}

/// Connects to the first of the addresses where the right server answers.
pub(crate) async fn tls(
    addresses: &[Address],
    connector: &TlsConnector,
    limit: Duration,
) -> Result<TlsStream<TcpStream>, DialError> {
    let attempts = addresses.iter().cloned().map(|address| {
        let connector = connector.clone();
        async move {
            match tokio::time::timeout(limit, at(&address, &connector)).await {
                Ok(done) => done,
                Err(_elapsed) => Err(DialError::Unreachable(format!(
                    "{address}: no answer within {}",
                    humantime::format_duration(limit)
                ))),
            }
        }
    });
    staggered(attempts).await.map_err(DialError::most_telling)
}

async fn at(
    address: &Address,
    connector: &TlsConnector,
) -> Result<TlsStream<TcpStream>, DialError> {
    let unreachable = |error: io::Error| DialError::Unreachable(format!("{address}: {error}"));
    let found = tokio::net::lookup_host((address.host(), address.port()))
        .await
        .map_err(unreachable)?;
    let attempts: Vec<_> = found.map(|at| handshake(at, connector.clone())).collect();
    if attempts.is_empty() {
        return Err(unreachable(io::ErrorKind::NotFound.into()));
    }
    staggered(attempts).await.map_err(|errors| {
        let named = |error| match error {
            DialError::Unreachable(why) => DialError::Unreachable(format!("{address}: {why}")),
            told => told,
        };
        DialError::most_telling(errors.into_iter().map(named).collect())
    })
}

async fn handshake(
    at: SocketAddr,
    connector: TlsConnector,
) -> Result<TlsStream<TcpStream>, DialError> {
    let tcp = TcpStream::connect(at)
        .await
        .and_then(|tcp| tcp.set_nodelay(true).map(|()| tcp))
        .map_err(|error| DialError::Unreachable(error.to_string()))?;
    connector
        .connect(tls::server_name(), tcp)
        .await
        .map_err(|error| match HandshakeError::from(error) {
            // Whoever hangs up has not said who it is: what can be told is where that was.
            broken @ (HandshakeError::Closed | HandshakeError::Io(_)) => {
                DialError::Unreachable(broken.to_string())
            }
            told => DialError::Handshake(told),
        })
}

/// Makes one attempt after the other, the next when one has failed or after [`STAGGER`]. The first that
/// succeeds wins, and the others are dropped.
async fn staggered<T, E, A>(attempts: impl IntoIterator<Item = A>) -> Result<T, Vec<E>>
where
    A: Future<Output = Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    let mut waiting = attempts.into_iter().peekable();
    let mut running = JoinSet::new();
    let mut errors = Vec::new();
    loop {
        if let Some(attempt) = waiting.next() {
            running.spawn(attempt);
        }
        let ended = if waiting.peek().is_some() {
            match tokio::time::timeout(STAGGER, running.join_next()).await {
                Ok(ended) => ended,
                Err(_elapsed) => continue,
            }
        } else {
            running.join_next().await
        };
        match ended {
            Some(Ok(Ok(done))) => return Ok(done),
            Some(Ok(Err(error))) => errors.push(error),
            // A panic was told by whoever panicked.
            Some(Err(_panic)) => {}
            None => return Err(errors),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::net::TcpListener;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::crypto::ring;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    use super::{DialError, HandshakeError, STAGGER, handshake, staggered};

    type Attempt = std::pin::Pin<Box<dyn Future<Output = Result<u8, u8>> + Send>>;

    fn attempt(answer: impl Future<Output = Result<u8, u8>> + Send + 'static) -> Attempt {
        Box::pin(answer)
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_address_does_not_keep_the_next_one() {
        let begun = tokio::time::Instant::now();
        let attempts = vec![attempt(pending()), attempt(async { Ok(2) })];
        assert_eq!(staggered(attempts).await, Ok(2));
        assert_eq!(begun.elapsed(), STAGGER);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_fails_gives_way_at_once_and_all_failures_are_told() {
        let begun = tokio::time::Instant::now();
        let attempts = vec![attempt(async { Err(1) }), attempt(async { Err(2) })];
        assert_eq!(staggered(attempts).await, Err(vec![1, 2]));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(staggered(Vec::<Attempt>::new()).await, Err(vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_one_may_still_win() {
        let slow = async {
            tokio::time::sleep(STAGGER * 2).await;
            Ok(1)
        };
        let attempts = vec![attempt(slow), attempt(pending())];
        assert_eq!(staggered(attempts).await, Ok(1));
    }

    #[tokio::test]
    async fn a_reset_in_the_handshake_is_told_in_words() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let reset = async {
            let (stream, _) = listener.accept().await.unwrap();
            stream.peek(&mut [0]).await.unwrap();
            stream.set_zero_linger().unwrap();
        };
        let asked = handshake(at, TlsConnector::from(Arc::new(config)));
        match tokio::join!(asked, reset).0 {
            Err(DialError::Unreachable(why)) => assert_eq!(why, HandshakeError::Closed.to_string()),
            other => panic!("{other:?}"),
        }
    }
}
