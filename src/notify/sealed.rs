//! What is secret: given by the environment, or in a file that is read when it is needed. It is never shown.

use std::fmt;
use std::path::PathBuf;

/// Where a secret stands.
#[derive(Clone, PartialEq, Eq)]
pub enum Sealed {
    /// The environment has it.
    Given(String),
    /// This file has it; what surrounds it as white space is not part of it.
    File(PathBuf),
}

impl Sealed {
    /// The secret.
    ///
    /// # Errors
    /// Why its file cannot be read; never what is in it.
    pub fn open(&self) -> Result<String, String> {
        let text = match self {
            Sealed::Given(text) => text.clone(),
            Sealed::File(path) => {
                std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?
            }
        };
        match (text.trim(), self) {
            ("", Sealed::File(path)) => Err(format!("{} is empty; expected a secret", path.display())),
            (text, _) => Ok(text.to_owned()),
        }
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sealed::Given(_) => f.write_str("Given(…)"),
            Sealed::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}
