//! Text that somebody else wrote, made safe to look at.
//!
//! The name of an object, a file or a person may hold what moves a terminal's cursor, turns the direction of writing
//! round, or cannot be seen at all, so that a line says something else than it does. What is printed or logged passes
//! through here; what is stored stays as it came.

use std::fmt::{self, Display, Write};

/// One line: whatever has no shape of its own is written as `\u{…}`, line breaks and tabs too.
#[derive(Debug, Clone, Copy)]
pub struct Shown<T>(pub T);

/// As [`Shown`], for text of several lines, which stay lines.
#[derive(Debug, Clone, Copy)]
pub struct Lines<T>(pub T);

/// JSON, one value or more: what has no shape stays in its strings, as an escape of four digits. It is the same JSON.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<T: Display> Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping { out: f, hides: has_no_shape, spell: braced }, "{}", self.0)
    }
}

impl<T: Display> Display for Lines<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping { out: f, hides: has_no_shape_in_lines, spell: braced }, "{}", self.0)
    }
}

impl<T: Display> Display for Json<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping { out: f, hides: has_no_shape_in_lines, spell: in_json }, "{}", self.0)
    }
}

/// Passes text on, with some of its characters spelled out.
struct Escaping<'o, 'f> {
    out: &'o mut fmt::Formatter<'f>,
    hides: fn(char) -> bool,
    spell: fn(char, &mut fmt::Formatter<'_>) -> fmt::Result,
}

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(self.hides) {
            let hidden = piece.chars().next_back().filter(|&last| (self.hides)(last));
            self.out.write_str(piece.strip_suffix(self.hides).unwrap_or(piece))?;
            if let Some(hidden) = hidden {
                (self.spell)(hidden, self.out)?;
            }
        }
        Ok(())
    }
}

fn braced(hidden: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{}", hidden.escape_unicode())
}

fn in_json(hidden: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    hidden.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(f, "\\u{unit:04x}"))
}

fn has_no_shape_in_lines(c: char) -> bool {
    has_no_shape(c) && !matches!(c, '\n' | '\t')
}

/// Controls, and of Unicode's format characters those that nobody sees: what sets the direction of writing, has no width,
/// breaks lines, or tags.
fn has_no_shape(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: &str = "a\u{1b}[2J\r\n\tb\u{7f}\u{9b}\u{202e}\u{200b}\u{2028}\u{feff}\u{e0041}é क्षि 名 \\";

    #[test]
    fn what_has_no_shape_is_spelled_out() {
        assert_eq!(
            Shown(ODD).to_string(),
            r"a\u{1b}[2J\u{d}\u{a}\u{9}b\u{7f}\u{9b}\u{202e}\u{200b}\u{2028}\u{feff}\u{e0041}é क्षि 名 \"
        );
        assert!(Lines(ODD).to_string().starts_with("a\\u{1b}[2J\\u{d}\n\tb\\u{7f}"));
        assert_eq!(Lines("a\n\tb\n").to_string(), "a\n\tb\n");
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = serde_json::json!({ ODD: [ODD] });
        let shown = Json(&value).to_string();
        assert_eq!(shown.chars().filter(|&c| has_no_shape(c)).count(), 0, "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).expect("JSON"), value);
        assert!(shown.contains(r"\u202e\u200b\u2028\ufeff\udb40\udc41é"), "{shown}");
    }
}
