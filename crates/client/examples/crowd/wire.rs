//! Messages put together by hand, to say what no library would.

use bytes::{BufMut, Bytes, BytesMut};

/// The path of the call that sends.
pub(super) const INGEST: &str = "/legwork.v1.RecordService/Ingest";

/// A message of gRPC: its length, and what it says.
pub(super) fn framed(message: &[u8]) -> Bytes {
    framed_as(message.len(), message)
}

/// The same with another length than it has.
pub(super) fn framed_as(length: usize, message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    framed.extend_from_slice(message);
    framed.freeze()
}

/// `IngestRequest { open }`, by a producer.
pub(super) fn open(stream: &str, producer: &str) -> Bytes {
    let mut open = BytesMut::new();
    field(&mut open, 1, stream.as_bytes());
    field(&mut open, 2, producer.as_bytes());
    request(1, &open)
}

/// `IngestRequest { batch }`.
pub(super) fn batch(sequence: u64, records: &[u8]) -> Bytes {
    let mut batch = BytesMut::with_capacity(records.len() + 32);
    batch.put_u8(1 << 3);
    varint(&mut batch, sequence);
    field(&mut batch, 2, records);
    request(2, &batch)
}

fn request(number: u8, message: &[u8]) -> Bytes {
    let mut request = BytesMut::with_capacity(message.len() + 16);
    field(&mut request, number, message);
    framed(&request)
}

fn field(out: &mut BytesMut, number: u8, bytes: &[u8]) {
    out.put_u8(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut BytesMut, mut value: u64) {
    while value > 0x7f {
        out.put_u8(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.put_u8(value.to_le_bytes()[0]);
}
