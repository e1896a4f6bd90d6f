//! The Pub/Sub [push body](https://cloud.google.com/pubsub/docs/push#receive_push) around an entry.

use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use memchr::memchr2;

use super::DecodeError;
use super::json::Text;

/// Its `message`.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PushMessage<'a> {
    #[serde(borrow)]
    data: Text<'a>,
    // Pub/Sub writes both of them twice, the second time as `message_id` and `publish_time`.
    pub(super) message_id: Text<'a>,
    pub(super) publish_time: Text<'a>,
}

impl PushMessage<'_> {
    /// What was published; `None` when there is no `data`.
    pub(super) fn published(&self) -> Option<Result<Vec<u8>, DecodeError>> {
        self.data.get().map(decode_base64)
    }
}

const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// Either alphabet, with or without padding, also in lines: a reader of protobuf's JSON takes all of these.
fn decode_base64(data: &str) -> Result<Vec<u8>, DecodeError> {
    let decode = |alphabet: &Alphabet, data: &[u8]| {
        let decoded = GeneralPurpose::new(alphabet, ANY_PADDING).decode(data);
        decoded.map_err(|error| DecodeError::NotBase64(error.to_string().trim_end_matches('.').to_owned()))
    };
    let alphabet = if memchr2(b'-', b'_', data.as_bytes()).is_some() { &URL_SAFE } else { &STANDARD };
    decode(alphabet, data.as_bytes()).or_else(|error| {
        let lines: Vec<u8> = data.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        if lines.len() == data.len() { Err(error) } else { decode(alphabet, &lines) }
    })
}
