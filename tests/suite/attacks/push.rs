//! Callers of the push endpoint who are slow, many, or not Pub/Sub; and keys that do not come.
