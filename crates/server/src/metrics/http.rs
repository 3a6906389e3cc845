//! The one page of a tiny web server: `GET /metrics`.
//!
//! It is for a collector on this host. It answers one request at a time on a connection, and few connections at once; whoever is slow
//! is cut off.

use std::convert::Infallible;
use std::sync::Arc;
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

/// Connections at once.
const AT_ONCE: usize = 8;
/// How long a connection may last.
const LIFE: Duration = Duration::from_secs(30);
/// How long its first line and headers may take, and how many bytes they may have.
const HEADERS: Duration = Duration::from_secs(5);
const HEADERS_MAX: usize = 16 << 10;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Who may ask at once.
#[derive(Debug)]
pub(crate) struct Askers(Arc<Semaphore>);

impl Default for Askers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// Answers whoever is at the other end; somebody who comes when too many are there finds the connection closed.
pub(crate) async fn answer(stream: TcpStream, page: Page, askers: &Askers) {
    let Ok(_place) = Arc::clone(&askers.0).try_acquire_owned() else {
        return tracing::debug!("too many ask for metrics at once: refused");
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
