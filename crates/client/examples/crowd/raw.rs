//! A connection on which every byte is ours: gRPC by hand over HTTP/2, or HTTP/2 by hand.

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::wire::{self, INGEST};
use super::{Result, Who, tls};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_HEADERS: u8 = 4;

/// A call that sends, message by message.
pub(super) struct Call {
    pub(super) out: SendStream<Bytes>,
    answers: RecvStream,
    _connection: SendRequest<Bytes>,
}

impl Who {
    /// A connection after the handshake.
    pub(super) async fn dial(&self) -> Result<TlsStream<TcpStream>> {
        let _turn = self.door.acquire().await?;
        let tcp = TcpStream::connect(&self.address).await?;
        tcp.set_nodelay(true)?;
        let mut stream = self.connector.connect(tls::server_name(), tcp).await?;
        stream.flush().await?;
        Ok(stream)
    }

    /// A call that has been opened and welcomed.
    pub(super) async fn call(&self, producer: &str) -> Result<Call> {
        let (mut requests, connection) = h2::client::handshake(self.dial().await?).await?;
        // Whatever ends the connection ends the call on it, which tells.
        self.tasks.spawn(async move { drop(connection.await) });
        requests = requests.ready().await?;
        let request = Request::post(format!("https://legwork{INGEST}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("legwork-protocol", "1")
            .body(())?;
        let (answer, mut out) = requests.send_request(request, false)?;
        out.send_data(wire::open(&self.stream, producer), false)?;
        let answers = answer.await?.into_body();
        let mut call = Call {
            out,
            answers,
            _connection: requests,
        };
        call.answer().await??;
        Ok(call)
    }

    /// A connection on which HTTP/2 has begun and a call was opened, in frames of our own.
    pub(super) async fn frames(&self, producer: &str) -> Result<TlsStream<TcpStream>> {
        let mut stream = self.dial().await?;
        let mut said = PREFACE.to_vec();
        said.extend(frame(SETTINGS, 0, 0, &[]));
        said.extend(frame(HEADERS, END_HEADERS, 1, &headers()));
        said.extend(data(&wire::open(&self.stream, producer)));
        stream.write_all(&said).await?;
        stream.flush().await?;
        Ok(stream)
    }
}

impl Call {
    /// The next piece of an answer; else the status with which the call ended.
    pub(super) async fn answer(&mut self) -> Result<std::result::Result<Bytes, String>> {
        match self.answers.data().await {
            Some(Ok(bytes)) => {
                self.answers.flow_control().release_capacity(bytes.len())?;
                Ok(Ok(bytes))
            }
            Some(Err(error)) => Ok(Err(reason(&error))),
            None => match self.answers.trailers().await {
                Ok(trailers) => Ok(Err(status(trailers))),
                Err(error) => Ok(Err(reason(&error))),
            },
        }
    }

    /// Sends bytes as they are, when the server has room for them. False when it does not want any more.
    pub(super) async fn send(&mut self, mut bytes: Bytes) -> Result<bool> {
        while !bytes.is_empty() {
            self.out.reserve_capacity(bytes.len());
            let room = std::future::poll_fn(|cx| self.out.poll_capacity(cx)).await;
            let Some(Ok(room)) = room else {
                return Ok(false);
            };
            let part = bytes.split_to(room.min(bytes.len()));
            if self.out.send_data(part, false).is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// How the call ends, whatever is answered before.
    pub(super) async fn ending(&mut self) -> Result<String> {
        loop {
            if let Err(status) = self.answer().await? {
                return Ok(status);
            }
        }
    }
}

fn reason(error: &h2::Error) -> String {
    match error.reason() {
        Some(reason) => format!("RESET {reason:?}"),
        None => "CLOSED".to_owned(),
    }
}

fn status(trailers: Option<HeaderMap>) -> String {
    let code = trailers.and_then(|trailers| trailers.get("grpc-status").cloned());
    let code = code.and_then(|code| code.to_str().map(str::to_owned).ok());
    format!("STATUS {}", code.unwrap_or_default())
}

/// A frame on the first stream, or on none.
pub(super) fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [.., a, b, c] = (payload.len() as u64).to_be_bytes();
    let mut frame = vec![a, b, c, kind, flags, 0, 0, 0, stream];
    frame.extend_from_slice(payload);
    frame
}

/// A frame of data of the first stream.
pub(super) fn data(payload: &[u8]) -> Vec<u8> {
    frame(DATA, 0, 1, payload)
}

/// The headers of the call, each of them in full.
fn headers() -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", INGEST),
        (":authority", "legwork"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("legwork-protocol", "1"),
    ];
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // All of them are shorter than what one byte can tell.
            block.extend(text.len().to_le_bytes().first());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}
