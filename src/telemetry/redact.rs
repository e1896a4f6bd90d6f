//! No password and no query of a URL is shown, in whatever text it comes.

use std::io::{self, Write};

/// A text without what the URLs in it keep secret.
pub fn without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (scheme, behind) = rest.split_at(at + 3);
        // Quotes and brackets may stand in a password; what stands behind a query is left out with it.
        let ends = |c: char| c.is_whitespace() || c == '"';
        let (url, behind) = behind.split_at(behind.find(ends).unwrap_or(behind.len()));
        shown.push_str(scheme);
        shown.push_str(&place(url));
        rest = behind;
    }
    shown.push_str(rest);
    shown
}

/// A value that is a URL as a whole, whatever characters its password has.
pub fn url(value: &str) -> String {
    match value.split_once("://") {
        Some((scheme, url)) => format!("{scheme}://{}", place(url)),
        None => place(value),
    }
}

/// Of what stands behind a URL's scheme, the host and the path.
fn place(url: &str) -> String {
    // Before the query, because a password may hold a question mark.
    let (user, place) = url.rsplit_once('@').map_or(("", url), |(_, place)| ("…@", place));
    match place.find(['?', '#']) {
        Some(end) => format!("{user}{}?…", place.get(..end).unwrap_or_default()),
        None => format!("{user}{place}"),
    }
}

/// Standard error, for logs: each write is an event's whole line.
pub(super) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write_all(without_secrets(&String::from_utf8_lossy(line)).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_in_a_url_is_left_out() {
        for (text, shown) in [
            ("error for url (http://u:p@h:1/a?key=s): refused", "error for url (http://…@h:1/a?… refused"),
            ("error for url (http://u:pa)s's@h/a): refused", "error for url (http://…@h/a): refused"),
            ("two http://h/a https://u@h", "two http://h/a https://…@h"),
            ("http://u:p?x@h/", "http://…@h/"),
            ("bigquery:a.b is no URL, mail a@b.example neither", "bigquery:a.b is no URL, mail a@b.example neither"),
        ] {
            assert_eq!(without_secrets(text), shown);
        }
        assert_eq!(url("http://u:p w\"@h/a"), "http://…@h/a");
        assert_eq!(url("u:p@h"), "…@h");
    }
}
