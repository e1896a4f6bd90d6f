//! Entries that anybody who may write to a cluster, or to the log, can make.
