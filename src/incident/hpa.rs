//! The document of one HPA: what it asks for, and of which Deployment. A write that removes it or aims it elsewhere steps
//! two Deployments.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::known::{Known, Standing, refutes};
use super::order::{Sighting, State, is_newer};

/// What is known of one HPA.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hpa {
    known: Known,
    /// The newest state that tells what it aims at: a patch may leave that out.
    aim: Option<State>,
}

/// What an HPA asks for, as the document of the Deployment that it aims at keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HpaStanding {
    /// What it asks for.
    pub standing: Standing,
    /// When an answer showed it last.
    pub shown_at: Option<DateTime<Utc>>,
}

impl HpaStanding {
    /// Whether it ended with its namespace or its cluster.
    pub(super) fn ended_with(&self, around: Option<DateTime<Utc>>) -> bool {
        around.is_some_and(|end| self.standing.since < end && !refutes(self.shown_at, end))
    }
}

/// The Deployments that a write to an HPA is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// The one that it turned away from, for which it asks for nothing any more.
    pub from: Option<String>,
    /// The one that it aims at, and what it asks for; `None` when it is gone.
    pub to: Option<(String, Option<HpaStanding>)>,
}

impl Hpa {
    /// Takes in what an entry shows, and tells whom to step.
    pub fn see(&mut self, sighting: &Sighting) -> Turn {
        let before = self.target();
        self.known.see(sighting);
        let aims = sighting.state.target.is_some();
        if aims && self.aim.as_ref().is_none_or(|aim| is_newer(&sighting.state, aim)) {
            self.aim = Some(sighting.state.clone());
        }
        let after = self.target();
        let shown_at = self.known.shown_at();
        let standing = self.known.standing(None).cloned().map(|standing| HpaStanding { standing, shown_at });
        Turn { from: before.filter(|before| Some(before) != after.as_ref()), to: after.map(|name| (name, standing)) }
    }

    /// The Deployment of ours that it aims at.
    fn target(&self) -> Option<String> {
        self.aim.as_ref().and_then(|aim| aim.target.clone()).filter(|name| !name.is_empty())
    }
}
