//! The codec of all services: prost's, after a look at how much a message would become.
//!
//! An empty entry of a list is two bytes on the wire and a hundred and more when it is decoded, so that a message as long as messages may be
//! would fill hundreds of megabytes before anybody could look at it. The messages of the mirror have lists with known bounds, so the entries
//! of these are counted before anything is made of them. What prost would refuse is left to prost: both read by the same functions,
//! so it comes no further than the count did.

use std::marker::PhantomData;

use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use prost::{Message, Name};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// Entries in all lists of one message of `SyncService` at most. The longest answers are what a restore did: three listings
/// of ten thousand paths each.
pub const ENTRIES_MAX: usize = 32 << 10;

/// A field that is a list, a message or both.
struct Field {
    number: u32,
    is_list: bool,
    inner: Inner,
}

/// What is in a field that has a length.
enum Inner {
    /// A message, whose fields are these of [`SHAPES`].
    Message(usize),
    /// Numbers, one after the other.
    Numbers,
    /// Bytes or text.
    Bytes,
}

// `SHAPES`: the fields of messages. `BOUNDED`: what the calls of `SyncService` take and give, by name, with the index of its fields.
include!(concat!(env!("OUT_DIR"), "/shapes.rs"));

/// Messages in and out, by prost, with bounds for what comes in.
#[derive(Debug)]
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = BoundedDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        let mut bounded = BOUNDED.iter();
        let found = bounded.find(|(name, _)| U::PACKAGE == "legwork.v1" && U::NAME == *name);
        BoundedDecoder {
            shape: found.map(|(_, shape)| *shape),
            prost: ProstDecoder::default(),
        }
    }
}

/// The half of the codec that reads.
#[derive(Debug)]
pub struct BoundedDecoder<U> {
    shape: Option<usize>,
    prost: ProstDecoder<U>,
}

impl<U: Message + Default> Decoder for BoundedDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // It is in one piece: the transport has gathered it.
        let mut bytes = buf.chunk();
        if let Some(shape) = self.shape
            && let Err(Stop::TooMany) = count(shape, &mut bytes, 0, ENTRIES_MAX)
        {
            return Err(Status::out_of_range(format!(
                "a message has more than {ENTRIES_MAX} entries in its lists"
            )));
        }
        self.prost.decode(buf)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.prost.buffer_settings()
    }
}

/// Why counting ended before the end.
enum Stop {
    TooMany,
    /// From here on prost reads nothing either.
    Malformed,
}

/// How many more entries there may be after those of a message, which is what `buf` has before its last `after` bytes. A part may
/// say that it is longer than what it is in: that is noticed at its end, and so its entries count.
fn count(shape: usize, buf: &mut &[u8], after: usize, mut left: usize) -> Result<usize, Stop> {
    let malformed = |_| Stop::Malformed;
    while buf.len() > after {
        let (number, wire) = decode_key(buf).map_err(malformed)?;
        let mut known = SHAPES[shape].iter();
        let field = known.find(|field| field.number == number);
        let is_list = field.is_some_and(|field| field.is_list);
        left = left.checked_sub(is_list.into()).ok_or(Stop::TooMany)?;
        match (field, wire) {
            (Some(Field { inner, .. }), WireType::LengthDelimited) => {
                let len = decode_varint(buf).map_err(malformed)?;
                let len = usize::try_from(len).ok().filter(|len| *len <= buf.len());
                let len = len.ok_or(Stop::Malformed)?;
                let after = buf.len() - len;
                match inner {
                    Inner::Message(shape) => left = count(*shape, buf, after, left)?,
                    Inner::Numbers => {
                        while buf.len() > after {
                            decode_varint(buf).map_err(malformed)?;
                            left = left.checked_sub(1).ok_or(Stop::TooMany)?;
                        }
                    }
                    Inner::Bytes => buf.advance(len),
                }
                if buf.len() != after {
                    return Err(Stop::Malformed);
                }
            }
            _ => skip_field(wire, number, buf, DecodeContext::default()).map_err(malformed)?,
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::{BOUNDED, ENTRIES_MAX, Stop, count};
    use crate::v1 as wire;

    /// How many entries, and whether prost reads it.
    fn counted<M: Message + Default>(name: &str, encoded: &[u8]) -> (Option<usize>, bool) {
        let shape = BOUNDED.iter().find(|(known, _)| *known == name).unwrap().1;
        let mut bytes = encoded;
        let counted = match count(shape, &mut bytes, 0, ENTRIES_MAX) {
            Ok(left) => Some(ENTRIES_MAX - left),
            Err(Stop::Malformed) => Some(0),
            Err(Stop::TooMany) => None,
        };
        (counted, M::decode(encoded).is_ok())
    }

    /// A field with a length.
    fn field(number: u8, body: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2];
        prost::encode_length_delimiter(body.len(), &mut field).unwrap();
        field.extend(body);
        field
    }

    #[test]
    fn entries_are_counted_wherever_they_are() {
        let path = prost::bytes::Bytes::from_static(b"a");
        let listing = |paths: usize| wire::Listing {
            total: 9,
            paths: vec![path.clone(); paths],
        };
        let summary = wire::Summary {
            written: Some(listing(3)),
            kept: Some(listing(4)),
            root: vec![7; 32].into(),
            ..wire::Summary::default()
        };
        let committed = wire::commit_response::Message::Committed(summary);
        let response = wire::CommitResponse {
            message: Some(committed),
        };
        let encoded = response.encode_to_vec();
        let counts = counted::<wire::CommitResponse>("CommitResponse", &encoded);
        assert_eq!(counts, (Some(7), true));
        let want = wire::pull_request::Message::Want(wire::Want {
            files: (0..1000).collect(),
            last: true,
        });
        let request = wire::PullRequest {
            source: None,
            message: Some(want),
        };
        let encoded = request.encode_to_vec();
        let counts = counted::<wire::PullRequest>("PullRequest", &encoded);
        assert_eq!(counts, (Some(1001), true));
    }

    #[test]
    fn empty_entries_are_too_many_before_anything_is_made_of_them() {
        // A delta of puts, of deletes, both twice in one message, and a listing in a summary.
        let many = [0x0a, 0].repeat(ENTRIES_MAX / 2 + 1);
        let half = field(4, &many);
        let counts = |encoded: &[u8]| counted::<wire::CommitRequest>("CommitRequest", encoded);
        assert_eq!(counts(&half), (Some(ENTRIES_MAX / 2 + 1), true));
        assert_eq!(counts(&half.repeat(2)), (None, true));
        let deletes = [0x12, 0].repeat(ENTRIES_MAX + 1);
        assert_eq!(counts(&field(4, &deletes)), (None, true));
        let paths = [0x12, 0].repeat(ENTRIES_MAX + 1);
        let summary = field(5, &field(4, &paths));
        let counts = |encoded: &[u8]| counted::<wire::CommitResponse>("CommitResponse", encoded);
        assert_eq!(counts(&summary), (None, true));
        let wants = field(3, &field(1, &[1; ENTRIES_MAX + 1]));
        let counts = counted::<wire::PullRequest>("PullRequest", &wants);
        assert_eq!(counts, (None, true));
    }

    #[test]
    fn a_part_that_goes_beyond_what_it_is_in_counts_to_its_end() {
        let paths = [0x12, 0].repeat(ENTRIES_MAX + 1);
        let mut encoded = field(5, &field(4, &paths));
        // The summary says that it is three bytes long; prost reads the listing in it all the same, and then notices.
        encoded.drain(1..4);
        encoded.insert(1, 3);
        let counts = counted::<wire::CommitResponse>("CommitResponse", &encoded);
        assert_eq!(counts, (None, false));
    }
}
