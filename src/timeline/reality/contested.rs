//! Two writers that take turns on one number: an autoscaler against a deployment, a person against a GitOps controller.

/// What one object's changes of a day come to, taken one by one in their order.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    /// Who wrote last, and who before them.
    last: Option<String>,
    other: Option<String>,
    /// How many changes these two have made in turn.
    run: usize,
    longest: Option<Contest>,
}

/// A run of changes that two writers made in turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contest {
    /// Who began it, and who answered.
    pub writers: [String; 2],
    /// How many changes both made.
    pub changes: usize,
}

impl Turns {
    /// Takes the next change of the number.
    pub fn add(&mut self, writer: &str) {
        let is = |known: &Option<String>| known.as_deref() == Some(writer);
        if is(&self.last) {
            // Twice in a row is no turn.
            (self.other, self.run) = (None, 1);
            return;
        }
        self.run = match (&self.last, is(&self.other)) {
            (None, _) => 1,
            (Some(_), true) => self.run + 1,
            (Some(_), false) => 2,
        };
        self.other = self.last.replace(writer.to_owned());
        if self.run > self.longest.as_ref().map_or(1, |longest| longest.changes) {
            self.longest = self.contest();
        }
    }

    /// The longest run so far.
    pub fn longest(&self) -> Option<&Contest> {
        self.longest.as_ref()
    }

    fn contest(&self) -> Option<Contest> {
        let (last, other) = (self.last.clone()?, self.other.clone()?);
        let writers = if self.run.is_multiple_of(2) { [other, last] } else { [last, other] };
        Some(Contest { writers, changes: self.run })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_run_of_two_in_turn_counts() {
        let longest = |writers: &str| {
            let mut turns = Turns::default();
            writers.chars().for_each(|writer| turns.add(&writer.to_string()));
            turns.longest().map(|contest| (contest.writers.concat(), contest.changes))
        };
        let found = |writers: &str, changes| Some((writers.to_owned(), changes));
        for (writers, expected) in [
            ("", None),
            ("aaaa", None),
            ("ab", found("ab", 2)),
            ("abab", found("ab", 4)),
            ("ababa", found("ab", 5)),
            ("abba", found("ab", 2)),
            ("abcb", found("bc", 3)),
            ("aababcbcbcb", found("bc", 7)),
            ("xababay", found("ab", 5)),
        ] {
            assert_eq!(longest(writers), expected, "{writers}");
        }
    }
}
