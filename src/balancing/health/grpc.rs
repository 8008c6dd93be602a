//! `grpc.health.v1.Health/Check`, by hand: one field asked, one field answered.
//!
//! It reads as much of protocol buffers as that takes, skips what it does not know, and trusts no length.

use crate::upstream::call::Answer;
use bytes::{BufMut, Bytes, BytesMut};
use http::{Request, Uri};
use http_body_util::Full;
use std::time::Duration;

/// Where every server has it.
pub(super) const PATH: &str = "/grpc.health.v1.Health/Check";

/// Longest service name, so that its length is one byte.
const MAX_SERVICE: usize = 127;
/// Bytes before a message: compressed or not, and its length.
const PREFIX: usize = 5;
/// `service` and `status`: field 1 of either message.
const SERVICE_FIELD: u8 = 0x0a;
const STATUS_FIELD: u64 = 0x08;
const SERVING: u64 = 1;

/// Asks for a service; an empty name is the server as a whole.
pub(super) fn request(uri: Uri, service: &str, limit: Duration) -> Result<Request<Full<Bytes>>, String> {
    let name = service.as_bytes();
    if name.len() > MAX_SERVICE {
        return Err(format!("a service has at most {MAX_SERVICE} bytes"));
    }
    let mut message = BytesMut::with_capacity(PREFIX + 2 + name.len());
    message.put_u8(0);
    let length = if name.is_empty() { 0 } else { 2 + name.len() };
    message.put_u32(length as u32);
    if !name.is_empty() {
        message.put_u8(SERVICE_FIELD);
        message.put_u8(name.len() as u8);
        message.put_slice(name);
    }
    let request = Request::post(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", format!("{}m", limit.as_millis()));
    request.body(Full::new(message.freeze())).map_err(|error| error.to_string())
}

/// Well is `SERVING` and nothing else.
pub(super) fn judge(answer: &Answer) -> Result<(), String> {
    let status = answer.response.status();
    if status != 200 {
        return Err(status.as_u16().to_string());
    }
    // Without a message it is in the head.
    let code = answer.trailers.get("grpc-status").or_else(|| answer.response.headers().get("grpc-status"));
    match code.and_then(|code| code.to_str().ok()) {
        Some("0") => {}
        Some(code) => return Err(format!("grpc-status {code}")),
        None => return Err("the answer is not gRPC".to_owned()),
    }
    match serving_status(answer.response.body()) {
        Some(SERVING) => Ok(()),
        Some(2) => Err("NOT_SERVING".to_owned()),
        Some(other) => Err(format!("serving status {other}")),
        None => Err("the answer is no health message".to_owned()),
    }
}

/// Field 1 of the message; 0 (`UNKNOWN`) where it is left out.
fn serving_status(body: &[u8]) -> Option<u64> {
    let (prefix, rest) = body.split_at_checked(PREFIX)?;
    let (compressed, length) = (prefix[0], u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]));
    let mut message = rest.get(..length as usize).filter(|_| compressed == 0)?;
    let mut status = 0;
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        match tag & 7 {
            0 => {
                let value = varint(&mut message)?;
                if tag == STATUS_FIELD {
                    status = value;
                }
            }
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in 0..10 {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << (7 * shift);
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let mut body = vec![0];
        body.extend((message.len() as u32).to_be_bytes());
        body.extend(message);
        body
    }

    #[test]
    fn the_status_is_found_among_fields_that_are_not_known() {
        assert_eq!(serving_status(&framed(&[8, 1])), Some(1));
        assert_eq!(serving_status(&framed(&[0x12, 2, 9, 9, 8, 2, 0x1d, 0, 0, 0, 0])), Some(2));
        assert_eq!(serving_status(&framed(&[])), Some(0));
        assert_eq!(serving_status(&framed(&[8])), None);
        assert_eq!(serving_status(&[0, 0, 0, 0, 9, 8, 1]), None, "shorter than it says");
        assert_eq!(serving_status(&[1, 0, 0, 0, 2, 8, 1]), None, "compressed, which was not asked for");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_bytes_upset_it(message in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = serving_status(&message);
            let _ = serving_status(&framed(&message));
        }
    }
}
