//! Tables for people, in which nothing that is copied is broken over lines.
//!
//! ```text
//! no terminal, or it is wide enough    a line for each row
//! else                                 the same, prose wrapped between its words
//! that is still too wide               a block for each row: its values one after the other, each whole
//! ```

use std::io::{IsTerminal, stderr, stdout};
use std::os::fd::AsFd;

use clap::builder::styling::{AnsiColor, Style};
use terminal_size::{Width, terminal_size_of};
use unicode_width::UnicodeWidthStr;

use crate::names::Named;
use crate::policy::{Severity, Verdict};
use crate::shown::Shown;

/// The width of a terminal that tells none, as terminals have been made since there are any.
const USUAL_WIDTH: usize = 80;

/// A column of prose is not made narrower than this: a line of it holds some words.
const PROSE_MIN: usize = 30;

/// What stands around the text of a cell, and between two of them.
const PADDING: usize = 2;
const BETWEEN: usize = 1;

/// What goes before the lines of a block but its first.
const INDENT: &str = "  ";

/// Between two values on a line of a block.
const GAP: &str = "  ";

/// When to colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Colour {
    /// On a terminal that has colours, unless `NO_COLOR` is set
    #[default]
    Auto,
    /// Also in a file or a pipe
    Always,
    /// Nowhere
    Never,
}

impl Colour {
    /// Whether to colour what goes to a terminal, or to none. `variable` looks up the environment.
    pub(super) fn is_on(self, is_terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
        match self {
            Colour::Always => true,
            Colour::Never => false,
            // <https://no-color.org>: set, and not empty.
            Colour::Auto => {
                let is_plain = variable("NO_COLOR").is_some_and(|value| !value.is_empty())
                    || variable("TERM").is_some_and(|terminal| terminal == "dumb");
                is_terminal && !is_plain
            }
        }
    }
}

/// What standard output is shown on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Screen {
    /// In columns; `None` where there is no terminal, and lines may be as long as they are.
    width: Option<usize>,
    is_coloured: bool,
}

impl Screen {
    /// What there is now. `variable` looks up the environment.
    pub(super) fn of_stdout(colour: Colour, variable: impl Fn(&str) -> Option<String>) -> Self {
        let is_coloured = colour.is_on(stdout().is_terminal(), &variable);
        Screen { width: width_of(stdout(), variable("COLUMNS")), is_coloured }
    }

    /// What standard error is shown on, for what is told there in no colours.
    pub(super) fn of_stderr() -> Self {
        Screen { width: width_of(stderr(), std::env::var("COLUMNS").ok()), is_coloured: false }
    }

    fn holds(self, width: usize) -> bool {
        self.width.is_none_or(|columns| width <= columns)
    }

    /// Lines of sentences, those that are too long wrapped between words and indented a little more.
    pub(super) fn fit(self, text: &str) -> String {
        let fit = |line: &str| {
            let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
            let Some(columns) = self.width.filter(|&columns| columns < line.width()) else {
                return format!("{line}{end}");
            };
            let sentence = line.trim_start_matches(' ');
            let (indent, _) = line.split_at(line.len() - sentence.len());
            let room = columns.saturating_sub(indent.len() + INDENT.len());
            format!("{indent}{}{end}", wrapped(sentence, room).join(&format!("\n{indent}{INDENT}")))
        };
        text.split_inclusive('\n').map(fit).collect()
    }
}

/// How wide a terminal is, by itself, else by what the environment says; `None` where there is none.
fn width_of(stream: impl IsTerminal + AsFd, said: Option<String>) -> Option<usize> {
    let known = || terminal_size_of(&stream).map(|(Width(columns), _)| columns.into());
    let said = || said.and_then(|columns| columns.parse().ok());
    stream.is_terminal().then(|| known().or_else(said).unwrap_or(USUAL_WIDTH))
}

/// When a column is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    Always,
    /// Where a cell says something.
    IfAny,
    /// Where its cells differ.
    IfSeveral,
}

/// A column: its heading, and how its cells are shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    heading: &'static str,
    is_prose: bool,
    is_named: bool,
    shows: Shows,
    style: Option<fn(&str) -> Style>,
}

impl Column {
    /// One whose cells stay whole.
    pub(super) const fn new(heading: &'static str) -> Self {
        Column { heading, is_prose: false, is_named: false, shows: Shows::Always, style: None }
    }

    /// One of sentences, which may be wrapped between their words.
    pub(super) const fn prose(self) -> Self {
        Column { is_prose: true, ..self }
    }

    /// One whose values say nothing without its heading: in a block it stands before each.
    pub(super) const fn named(self) -> Self {
        Column { is_named: true, ..self }
    }

    /// One that is only there where its cells differ.
    pub(super) const fn only_if_several(self) -> Self {
        Column { shows: Shows::IfSeveral, ..self }
    }

    /// One that is only there where a cell says something.
    pub(super) const fn only_if_any(self) -> Self {
        Column { shows: Shows::IfAny, ..self }
    }

    /// One whose values are coloured by what they say.
    pub(super) const fn styled(self, style: fn(&str) -> Style) -> Self {
        Column { style: Some(style), ..self }
    }

    fn style(&self, text: &str) -> Style {
        self.style.map_or_else(Style::new, |style| style(text))
    }
}

/// The colour of a severity, or of a verdict that comes to one.
pub(super) fn by_severity(text: &str) -> Style {
    let severity = text.parse().ok().or_else(|| match Verdict::from_name(text)? {
        Verdict::OverLimit => Some(Severity::Critical),
        Verdict::OutsidePlatformRange | Verdict::Unregistered | Verdict::UnknownValue => Some(Severity::Warning),
        Verdict::Within | Verdict::Removed => None,
    });
    let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into()));
    match severity {
        Some(Severity::Critical) => colour(AnsiColor::Red).bold(),
        Some(Severity::Warning) => colour(AnsiColor::Yellow),
        Some(Severity::Info) => colour(AnsiColor::Cyan),
        None => Style::new(),
    }
}

/// Rows under headings. Cells are one line each, whatever they hold.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Table { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row, of a cell for each column.
    pub(super) fn add_row(&mut self, cells: impl IntoIterator<Item = impl std::fmt::Display>) {
        self.rows.push(cells.into_iter().map(|cell| Shown(cell).to_string()).collect());
    }

    /// The lines, each with its end. They hold nothing that a terminal would obey, but colours if it is to have them.
    pub(super) fn on(&self, screen: Screen) -> String {
        let shown: Vec<usize> = (0..self.columns.len()).filter(|&at| self.shows(at)).collect();
        match self.widths(&shown, screen) {
            Some(widths) => self.in_columns(&shown, &widths, screen),
            None => self.rows.iter().map(|row| self.block(&shown, row, screen)).collect(),
        }
    }

    fn shows(&self, at: usize) -> bool {
        let mut cells = self.rows.iter().filter_map(|row| row.get(at));
        self.columns.get(at).is_some_and(|column| match column.shows {
            Shows::Always => true,
            Shows::IfAny => cells.any(|cell| !cell.is_empty()),
            Shows::IfSeveral => {
                let first = cells.next();
                cells.any(|cell| Some(cell) != first)
            }
        })
    }

    /// How wide each column is to be; `None` when they do not fit beside each other.
    fn widths(&self, shown: &[usize], screen: Screen) -> Option<Vec<usize>> {
        let natural: Vec<usize> = shown.iter().map(|&at| self.widest(at, UnicodeWidthStr::width)).collect();
        if screen.holds(line_width(&natural)) {
            return Some(natural);
        }
        let longest_word = |text: &str| text.split(' ').map(UnicodeWidthStr::width).max().unwrap_or(0);
        let least = |(&at, &natural): (&usize, &usize)| match self.columns.get(at) {
            Some(column) if column.is_prose => self.widest(at, longest_word).max(natural.min(PROSE_MIN)),
            _ => natural,
        };
        let mut widths: Vec<usize> = shown.iter().zip(&natural).map(least).collect();
        let mut spare = screen.width?.checked_sub(line_width(&widths))?;
        for (width, natural) in widths.iter_mut().zip(natural) {
            let more = spare.min(natural - *width);
            (*width, spare) = (*width + more, spare - more);
        }
        Some(widths)
    }

    /// The most that the texts of a column measure.
    fn widest(&self, at: usize, measure: impl Fn(&str) -> usize) -> usize {
        let heading = self.columns.get(at).map(|column| column.heading);
        let cells = self.rows.iter().filter_map(|row| row.get(at).map(String::as_str));
        heading.into_iter().chain(cells).map(measure).max().unwrap_or(0)
    }

    fn in_columns(&self, shown: &[usize], widths: &[usize], screen: Screen) -> String {
        let plain = Screen { is_coloured: false, ..screen };
        let headings: Vec<&str> = self.columns.iter().map(|column| column.heading).collect();
        let mut out = self.row(shown, widths, &headings, plain);
        out.push_str(&"─".repeat(line_width(widths)));
        out.push('\n');
        for row in &self.rows {
            let cells: Vec<&str> = row.iter().map(String::as_str).collect();
            out.push_str(&self.row(shown, widths, &cells, screen));
        }
        out
    }

    /// The lines of one row: as many as its longest cell needs.
    fn row(&self, shown: &[usize], widths: &[usize], cells: &[&str], screen: Screen) -> String {
        let cell = |(&at, &width): (&usize, &usize)| {
            let text = cells.get(at).copied().unwrap_or_default();
            let lines = if text.width() > width { wrapped(text, width) } else { vec![text.to_owned()] };
            let style = self.columns.get(at).map_or_else(Style::new, |column| column.style(text));
            (lines, width, style)
        };
        let cells: Vec<(Vec<String>, usize, Style)> = shown.iter().zip(widths).map(cell).collect();
        let height = cells.iter().map(|(lines, ..)| lines.len()).max().unwrap_or(0);
        let mut out = String::new();
        for line in 0..height {
            let mut behind = 1;
            for (lines, width, style) in &cells {
                let text = lines.get(line).map_or("", String::as_str);
                if !text.is_empty() {
                    out.push_str(&" ".repeat(behind));
                    out.push_str(&painted(text, *style, screen));
                    behind = 0;
                }
                behind += width - text.width() + PADDING + BETWEEN;
            }
            out.push('\n');
        }
        out
    }

    /// One row as a block: its values in their order, as many on a line as it holds, prose on lines of its own.
    fn block(&self, shown: &[usize], row: &[String], screen: Screen) -> String {
        let mut lines = Lines { out: String::new(), used: 0, screen };
        for &at in shown {
            let (Some(column), Some(text)) = (self.columns.get(at), row.get(at)) else { continue };
            if text.is_empty() {
                continue;
            }
            let name = if column.is_named { format!("{} ", column.heading) } else { String::new() };
            if column.is_prose {
                lines.prose(&format!("{name}{text}"));
            } else {
                lines.value(&name, text, column.style(text));
            }
        }
        lines.end();
        lines.out
    }
}

/// The lines of a block as they are filled.
struct Lines {
    out: String,
    /// Columns of the line that has been begun; 0 when none has.
    used: usize,
    screen: Screen,
}

impl Lines {
    fn end(&mut self) {
        if self.used > 0 {
            self.out.push('\n');
            self.used = 0;
        }
    }

    /// Goes to where a text of some width fits, if there is such a place.
    fn begin(&mut self, width: usize) {
        let is_beside = self.used > 0 && self.screen.holds(self.used + GAP.len() + width);
        if !is_beside {
            self.end();
        }
        let before = if is_beside {
            GAP
        } else if self.out.is_empty() {
            ""
        } else {
            INDENT
        };
        self.out.push_str(before);
        self.used += before.len() + width;
    }

    fn value(&mut self, name: &str, text: &str, style: Style) {
        self.begin(name.width() + text.width());
        self.out.push_str(name);
        self.out.push_str(&painted(text, style, self.screen));
    }

    fn prose(&mut self, text: &str) {
        self.end();
        let width = self.screen.width.map_or(usize::MAX, |columns| columns.saturating_sub(INDENT.len()));
        for line in wrapped(text, width) {
            self.begin(line.width());
            self.out.push_str(&line);
            self.end();
        }
    }
}

/// How wide a line of columns of these widths is.
fn line_width(widths: &[usize]) -> usize {
    widths.iter().map(|width| width + PADDING).sum::<usize>() + BETWEEN * widths.len().saturating_sub(1)
}

/// Text in lines of at most some width, broken at spaces alone: a word that is longer has a line to itself. A command in
/// backticks is one word, so that it can be copied.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut is_command = false;
    let is_break = |c: char| {
        is_command ^= c == '`';
        c == ' ' && !is_command
    };
    for word in text.split(is_break) {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn painted(text: &str, style: Style, screen: Screen) -> String {
    if screen.is_coloured { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_to_be_copied_stays_whole() {
        let screen = Screen { width: Some(20), is_coloured: false };
        let told = screen.fit("exit code 3: an alert; `pedwatch alerts --store sqlite:facts.db` shows it\n");
        let lines: Vec<&str> = told.lines().map(str::trim_start).collect();
        assert_eq!(lines, ["exit code 3: an", "alert;", "`pedwatch alerts --store sqlite:facts.db`", "shows it"]);
    }

    const LIMIT: &str = "orders-api asks for 6 replicas, over its limit of 3, and nobody has said why it should";

    fn table() -> Table {
        let mut table = Table::new([
            Column::new("when (UTC)"),
            Column::new("severity").styled(by_severity),
            Column::new("cluster").only_if_several(),
            Column::new("limit").named(),
            Column::new("what").prose(),
            Column::new("who"),
        ]);
        let who = "deployer@acme-prod.iam.gserviceaccount.com";
        table.add_row(["2026-09-14 22:47:58", "critical", "prod-1", "3", LIMIT, who]);
        table.add_row(["2026-09-15 07:30:12", "info", "prod-1", "", "payments\u{1b}[2J was written", "名@example.com"]);
        table
    }

    fn screen(width: usize) -> Screen {
        Screen { width: Some(width).filter(|&width| width > 0), is_coloured: false }
    }

    #[test]
    fn a_table_is_as_wide_as_its_rows_or_wraps_its_prose_or_becomes_blocks() {
        let text = [0, 200, 120, 80, 20].map(|width| format!("{width}\n{}", table().on(screen(width)))).concat();
        insta::assert_snapshot!(text, @r"
        0
         when (UTC)            severity   limit   what                                                                                     who
        ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
         2026-09-14 22:47:58   critical   3       orders-api asks for 6 replicas, over its limit of 3, and nobody has said why it should   deployer@acme-prod.iam.gserviceaccount.com
         2026-09-15 07:30:12   info               payments\u{1b}[2J was written                                                            名@example.com
        200
         when (UTC)            severity   limit   what                                                                                     who
        ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
         2026-09-14 22:47:58   critical   3       orders-api asks for 6 replicas, over its limit of 3, and nobody has said why it should   deployer@acme-prod.iam.gserviceaccount.com
         2026-09-15 07:30:12   info               payments\u{1b}[2J was written                                                            名@example.com
        120
         when (UTC)            severity   limit   what                               who
        ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
         2026-09-14 22:47:58   critical   3       orders-api asks for 6 replicas,    deployer@acme-prod.iam.gserviceaccount.com
                                                  over its limit of 3, and nobody
                                                  has said why it should
         2026-09-15 07:30:12   info               payments\u{1b}[2J was written      名@example.com
        80
        2026-09-14 22:47:58  critical  limit 3
          orders-api asks for 6 replicas, over its limit of 3, and nobody has said why
          it should
          deployer@acme-prod.iam.gserviceaccount.com
        2026-09-15 07:30:12  info
          payments\u{1b}[2J was written
          名@example.com
        20
        2026-09-14 22:47:58
          critical  limit 3
          orders-api asks
          for 6 replicas,
          over its limit of
          3, and nobody has
          said why it should
          deployer@acme-prod.iam.gserviceaccount.com
        2026-09-15 07:30:12
          info
          payments\u{1b}[2J
          was written
          名@example.com
        ");
    }

    #[test]
    fn sentences_are_wrapped_between_words_and_keep_their_indentation() {
        let text = "  what     update of Deployment payments/orders-api\n  short\n\nends without";
        assert_eq!(screen(0).fit(text), text);
        let fit = screen(30).fit(text);
        assert_eq!(fit, "  what     update of\n    Deployment\n    payments/orders-api\n  short\n\nends without");
    }

    #[test]
    fn whatever_the_width_no_word_is_broken_and_no_line_too_long() {
        let words: Vec<String> =
            table().rows.iter().flatten().flat_map(|cell| cell.split(' ').map(str::to_owned)).collect();
        for width in 1..250 {
            let text = table().on(screen(width));
            for word in words.iter().filter(|word| **word != "prod-1") {
                assert!(text.lines().any(|line| line.contains(word.as_str())), "{width}: {word} is broken in\n{text}");
            }
            for line in text.lines().filter(|line| line.width() > width) {
                assert!(!line.trim().contains("  "), "{width}: two values on {line:?}");
            }
        }
    }

    #[test]
    fn a_column_that_says_the_same_everywhere_may_be_left_out() {
        let mut table = table();
        assert!(!table.on(screen(0)).contains("prod-1"));
        table.add_row(["2026-09-16 07:30:12", "info", "prod-2", "", "", ""]);
        assert!(table.on(screen(0)).contains("prod-1") && table.on(screen(80)).contains("prod-2"));
    }

    #[test]
    fn a_column_that_says_something_stays_though_it_says_it_everywhere() {
        let mut table = Table::new([Column::new("deployment"), Column::new("for").named().only_if_any()]);
        table.add_row(["payments/orders-api", ""]);
        assert!(!table.on(screen(0)).contains("for"));
        table.rows.clear();
        table.add_row(["payments/orders-api", "3d 4h"]);
        assert!(table.on(screen(0)).contains("for") && table.on(screen(10)).contains("for 3d 4h"));
    }

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        let coloured = table().on(Screen { is_coloured: true, ..screen(200) });
        assert!(coloured.contains("\u{1b}[1m\u{1b}[31mcritical\u{1b}[0m"), "{coloured:?}");
        assert!(!table().on(screen(200)).contains('\u{1b}'));
        let on = |colour: Colour, is_terminal, name: &str, value: &str| {
            colour.is_on(is_terminal, |wanted| (wanted == name).then(|| value.to_owned()))
        };
        for (colour, is_terminal, name, value, expected) in [
            (Colour::Auto, true, "", "", true),
            (Colour::Auto, false, "", "", false),
            (Colour::Auto, true, "NO_COLOR", "1", false),
            (Colour::Auto, true, "NO_COLOR", "", true),
            (Colour::Auto, true, "TERM", "dumb", false),
            (Colour::Always, false, "NO_COLOR", "1", true),
            (Colour::Never, true, "", "", false),
        ] {
            assert_eq!(on(colour, is_terminal, name, value), expected, "{colour:?} {is_terminal} {name}={value}");
        }
    }
}
