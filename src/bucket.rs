//! An object of [Cloud Storage](https://cloud.google.com/storage/docs/json_api/v1/objects/insert): once it was uploaded it is
//! there whole, and before that there is what was there before.

use std::fmt;
use std::str::FromStr;

#[cfg(feature = "cloud")]
mod upload;

#[cfg(feature = "cloud")]
pub use upload::{Storage, UploadError};

/// How Cloud Storage is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    /// Another server than Google's.
    pub endpoint: Option<String>,
    /// Without credentials.
    pub anonymous: bool,
}

/// `gs://BUCKET/OBJECT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectName {
    bucket: String,
    object: String,
}

/// What it is called, for help and errors.
pub const FORM: &str = "gs://BUCKET/OBJECT";

impl ObjectName {
    /// The object of that name in this folder, where it names one.
    #[must_use]
    pub fn or_in_it(self, name: &str) -> Self {
        let is_folder = self.object.is_empty() || self.object.ends_with('/');
        if is_folder { ObjectName { object: self.object + name, ..self } } else { self }
    }
}

impl FromStr for ObjectName {
    type Err = String;

    /// Buckets as <https://cloud.google.com/storage/docs/buckets#naming> has them, objects as
    /// <https://cloud.google.com/storage/docs/objects#naming>.
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = || {
            let (bucket, object) = text.strip_prefix("gs://")?.split_once('/')?;
            let is_of_a_bucket = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
            let is_bucket = (3..=222).contains(&bucket.len()) && bucket.chars().all(is_of_a_bucket);
            let is_object = object.len() <= 1_000 && !object.contains(['\r', '\n']) && object != "." && object != "..";
            (is_bucket && is_object).then(|| ObjectName { bucket: bucket.to_owned(), object: object.to_owned() })
        };
        parsed().ok_or_else(|| format!("{text:?} names no object of Cloud Storage; expected {FORM}, or gs://BUCKET/ for a name by what it is of"))
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gs://{}/{}", self.bucket, self.object)
    }
}
