//! Messages that are larger than a service takes, told so that a sender knows what to do.
//!
//! The generated services look at the length that a message announces, and end the call with `OUT_OF_RANGE` and a sentence of the library's own. By
//! the conventions of gRPC that may be tried again, and nothing in it is for programs. Nothing else here answers with that code.

use http::HeaderMap;
use tonic::{Code, Status};

use crate::problem::Problem;

/// What the number that an answer's headers or trailers have is replaced by, if they say that a message was too large.
pub(crate) fn reword(headers: &mut HeaderMap) {
    let told = headers.get(Status::GRPC_STATUS);
    if told.is_none_or(|code| Code::from_bytes(code.as_bytes()) != Code::OutOfRange) {
        return;
    }
    let Some(told) = Status::from_header_map(headers).filter(|told| told.details().is_empty())
    else {
        return;
    };
    // Written to a map of its own: where that fails, what was told stands.
    let mut words = HeaderMap::new();
    if Status::from(too_large(told.message()))
        .add_header(&mut words)
        .is_ok()
    {
        headers.extend(words);
    }
}

/// The library names the length and the limit, in this order, and gives them in no other way.
fn too_large(told: &str) -> Problem {
    let mut numbers = told
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse::<u64>().ok());
    // One number alone is of something else: entries, say.
    let known = numbers.next().zip(numbers.next());
    let words = match known {
        Some((size, limit)) => {
            format!("the message has {size} bytes, and {limit} are the most that this call takes")
        }
        None => format!("the message is larger than this call takes: {told}"),
    };
    let next = "send less at a time, in several messages; sent again as it is, it is refused again";
    let problem = Problem::new(
        Code::InvalidArgument,
        "MESSAGE_TOO_LARGE",
        format!("{words}: {next}"),
    );
    match known {
        Some((size, limit)) => problem.with("size", size).with("limit", limit),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use tonic::{Code, Status};
    use tonic_types::StatusExt;

    use super::reword;
    use crate::problem::Problem;

    fn reworded(status: &Status) -> Status {
        let mut headers = HeaderMap::new();
        status.add_header(&mut headers).unwrap();
        reword(&mut headers);
        Status::from_header_map(&headers).unwrap()
    }

    #[test]
    fn what_is_too_large_is_told_with_its_numbers() {
        let told = "Error, decoded message length too large: found 104857610 bytes, the limit is: 4456448 bytes";
        let status = reworded(&Status::out_of_range(told));
        assert_eq!(status.code(), Code::InvalidArgument);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.reason, "MESSAGE_TOO_LARGE");
        assert_eq!(info.metadata["size"], "104857610");
        assert_eq!(info.metadata["limit"], "4456448");
        assert!(status.message().contains("4456448 are the most"));
        let other = reworded(&Status::out_of_range("in other words"));
        assert!(other.message().contains("in other words"), "{other}");
    }

    #[test]
    fn everything_else_stays_as_it_was() {
        let own = Problem::new(Code::OutOfRange, "OWN", "12 of 3");
        for status in [
            Status::new(Code::Ok, ""),
            Status::internal("found 7 bytes"),
            Status::from(own),
        ] {
            let after = reworded(&status);
            assert_eq!(
                (after.code(), after.message()),
                (status.code(), status.message())
            );
        }
    }
}
