//! The one page of a tiny web server: `GET /metrics`.
//!
//! It is for a collector on this host. It answers one request at a time on a connection, and few connections at once; the others wait
//! for their turn, which comes soon, as whoever is slow is cut off.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::Page;

/// Connections that are answered at once, and those that are there at all.
const AT_ONCE: usize = 8;
const WAITING: usize = 64;
/// How long a connection may last.
const LIFE: Duration = Duration::from_secs(30);
/// How long its first line and headers may take, and how many bytes they may have.
const HEADERS: Duration = Duration::from_secs(5);
const HEADERS_MAX: usize = 16 << 10;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Who may ask at once.
#[derive(Debug)]
pub(crate) struct Askers {
    here: Semaphore,
    turn: Semaphore,
}

impl Default for Askers {
    fn default() -> Self {
        Self {
            here: Semaphore::new(WAITING),
            turn: Semaphore::new(AT_ONCE),
        }
    }
}

/// Answers whoever is at the other end when it is their turn; somebody who comes when too many wait finds the connection closed.
///
/// The turn of the one before ends a moment after they have seen their answer's end, so nobody who comes next may be refused for that.
pub(crate) async fn answer(stream: TcpStream, page: Page, askers: &Askers) {
    let Ok(_place) = askers.here.try_acquire() else {
        return tracing::debug!("too many ask for metrics at once: refused");
    };
    let Ok(Ok(_turn)) = timeout(LIFE, askers.turn.acquire()).await else {
        return tracing::debug!("no turn to ask for metrics: refused");
    };
    let service = service_fn(|request| respond(request, &page));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEADERS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(LIFE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a request for metrics failed"),
        Err(_elapsed) => tracing::debug!("a request for metrics took too long"),
    }
}

async fn respond(
    request: Request<Incoming>,
    page: &Page,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => match page.text().await {
            Ok(text) => (StatusCode::OK, OPEN_METRICS, text),
            Err(error) => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain",
                error.to_string(),
            ),
        },
        (_, "/metrics") => (
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain",
            "GET is all there is\n".to_owned(),
        ),
        _ => (
            StatusCode::NOT_FOUND,
            "text/plain",
            "the figures are at /metrics\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}
