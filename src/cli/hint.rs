//! Commands that are told to be pasted: into a POSIX shell, with the configuration and the store that this one had.

use crate::config::{Config, StoreUrl};

/// `pedwatch` with these words, which need no quotes, and what names the same store.
pub(super) fn command(words: &str, store: Option<&StoreUrl>, config: &Config) -> String {
    let file = config.file.as_ref().map(|file| format!(" --config {}", quoted(&file.display().to_string())));
    let store = store.map(|store| format!(" --store {}", quoted(&store.to_string())));
    format!("`pedwatch {words}{}{}`", file.unwrap_or_default(), store.unwrap_or_default())
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn what_a_shell_would_take_apart_is_quoted() {
        assert_eq!(quoted("sqlite:/srv/facts-1.db"), "sqlite:/srv/facts-1.db");
        assert_eq!(quoted("sqlite:a b's.db"), r"'sqlite:a b'\''s.db'");
        assert_eq!(quoted("sqlite:$HOME/~"), "'sqlite:$HOME/~'");
    }
}
