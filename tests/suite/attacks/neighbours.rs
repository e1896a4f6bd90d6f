//! Stores, signals and environments that are slow, gone or hostile.
