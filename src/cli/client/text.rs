//! Sending the text of a configuration, and what the gateway says to it: also a refusal has findings to show.

use super::{Client, ClientError, MAX_ANSWER, sentences};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, IF_MATCH};
use http::{HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::Value;
use std::fmt::Write;
use std::time::Duration;

/// For the dial, a long text, its check and the whole answer.
const DEADLINE: Duration = Duration::from_secs(15);

/// What a gateway answers to a text.
#[derive(Debug, PartialEq)]
pub enum Said {
    /// Done.
    Done(Value),
    /// Taken, and not done yet.
    Pending(Value),
    /// The text is invalid: the problem object, with findings.
    Invalid(Value),
}

impl Client {
    /// Posts a text.
    ///
    /// # Errors
    /// Like [`Client::get`]; an invalid text is none.
    pub fn post_text(&self, path: &str, text: String, if_match: Option<&str>) -> Result<Said, ClientError> {
        let mut request = self.request(Method::POST, path, None)?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/toml"));
        if let Some(hash) = if_match {
            let value = HeaderValue::try_from(format!("\"{hash}\""));
            let refused = |_| ClientError::Address {
                written: hash.to_owned(),
                why: "the hash holds characters that no header can carry",
            };
            request.headers_mut().insert(IF_MATCH, value.map_err(refused)?);
        }
        *request.body_mut() = Full::from(Bytes::from(text));
        let exchange = async {
            let answer = self.send(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            Ok((status, body.map_err(|error| self.unreadable(error))?.to_bytes()))
        };
        let (status, body) = self.on_runtime(async {
            let late = || self.unreachable(format!("no answer within {} s", DEADLINE.as_secs()));
            tokio::time::timeout(DEADLINE, exchange).await.unwrap_or_else(|_| Err(late()))
        })?;
        let read = || serde_json::from_slice(&body).map_err(|error| self.unreadable(error));
        match status {
            StatusCode::UNPROCESSABLE_ENTITY => Ok(Said::Invalid(read()?)),
            StatusCode::ACCEPTED => Ok(Said::Pending(read()?)),
            status if status.is_success() => Ok(Said::Done(read()?)),
            status => {
                let (detail, hint) = sentences(&body);
                Err(ClientError::Refused { status: status.as_u16(), detail, hint })
            }
        }
    }
}

/// A value as it stands in a query.
pub fn in_query(value: &str) -> String {
    value.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            // Writing to a String cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_in_a_query_ends_where_it_ends() {
        assert_eq!(in_query("a&b=c d+e\u{e9}"), "a%26b%3Dc%20d%2Be%C3%A9");
    }
}
