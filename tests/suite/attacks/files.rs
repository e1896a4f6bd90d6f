//! Files that are cut, broken, huge, or no files at all.
