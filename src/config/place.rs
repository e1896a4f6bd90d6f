//! Where facts are kept, versions, and what is to be told: how each is written.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::store::bigquery::DatasetName;
use crate::store::firestore::DatabaseName;
use crate::telemetry::redact;

/// A place for facts. The in-memory store is a choice of `replay`'s own, and never a fallback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// A SQLite database file, made if need be.
    Sqlite(PathBuf),
    /// A BigQuery dataset.
    BigQuery(DatasetName),
}

/// What a store's URL looks like, for help and errors.
pub const STORE_URL: &str = "sqlite:FILE|bigquery:PROJECT.DATASET";

impl FromStr for StoreUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        match url.split_once(':') {
            // SQLite's own names for memory and for URIs: what is recorded there would be gone.
            Some(("sqlite", name)) if name.starts_with(':') || name.starts_with("file:") => {
                Err(format!("{:?} names no file; expected sqlite:FILE", redact::url(url)))
            }
            Some(("sqlite", path)) if !path.is_empty() => Ok(StoreUrl::Sqlite(path.into())),
            Some(("bigquery", name)) => Ok(StoreUrl::BigQuery(name.parse()?)),
            _ => {
                Err(format!("{:?} is not a store; expected sqlite:FILE or bigquery:PROJECT.DATASET", redact::url(url)))
            }
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreUrl::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            StoreUrl::BigQuery(name) => write!(f, "bigquery:{name}"),
        }
    }
}

/// A place for what is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerUrl {
    /// A SQLite database file, made if need be; it may be the one that facts are in.
    Sqlite(PathBuf),
    /// A database of Firestore.
    Firestore(DatabaseName),
}

/// What a ledger's URL looks like, for help and errors.
pub const LEDGER_URL: &str = "sqlite:FILE|firestore:PROJECT/DATABASE";

impl FromStr for LedgerUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        match url.split_once(':') {
            Some(("firestore", name)) => Ok(LedgerUrl::Firestore(name.parse()?)),
            _ => match url.parse() {
                Ok(StoreUrl::Sqlite(path)) => Ok(LedgerUrl::Sqlite(path)),
                _ => Err(format!("{:?} is not a ledger; expected {LEDGER_URL}", redact::url(url))),
            },
        }
    }
}

impl fmt::Display for LedgerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LedgerUrl::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            LedgerUrl::Firestore(name) => write!(f, "firestore:{name}"),
        }
    }
}

/// A place for the versions of PEDs, apart from the facts: a database of Firestore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryUrl(pub DatabaseName);

/// What a registry's URL looks like, for errors.
pub const REGISTRY_URL: &str = "firestore:PROJECT/DATABASE";

impl FromStr for RegistryUrl {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        match url.split_once(':') {
            Some(("firestore", name)) => Ok(RegistryUrl(name.parse()?)),
            _ => Err(format!("{:?} is not a registry; expected {REGISTRY_URL}", redact::url(url))),
        }
    }
}

impl fmt::Display for RegistryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "firestore:{}", self.0)
    }
}
