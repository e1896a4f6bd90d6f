//! What is billed of a Deployment in a span of time, in order: of what each change of it is told what it costs.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::track::Track;
use super::{Change, InForce, Timeline};

/// What one object asks for while its Deployment is there, from one instant to another: nothing changes in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Its first instant.
    pub from: DateTime<Utc>,
    /// The first instant after it; `from` for what was asked for and stood for no time.
    pub to: DateTime<Utc>,
    /// What the object asks for, and who set it.
    pub change: Arc<Change>,
    /// The state of the Deployment, without which nothing is billed; of the Deployment itself the same.
    pub deployment: Arc<Change>,
    /// The PED's version in force; `None` where none is.
    pub in_force: Option<Arc<InForce>>,
}

/// What one object asks for, from one instant to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stood {
    /// Its first instant.
    pub from: DateTime<Utc>,
    /// The first instant after it; `from` for what stood for no time.
    pub to: DateTime<Utc>,
    /// What the object asks for, and who set it.
    pub change: Arc<Change>,
    /// The PED's version in force.
    pub in_force: Option<Arc<InForce>>,
}

impl Stage {
    /// Whether the Deployment itself asks, and no HPA of it.
    pub fn is_of_the_deployment(&self) -> bool {
        self.change.object == self.deployment.object
    }
}

impl Timeline {
    /// The Deployment's stages in a span of time, and those of its HPAs, by when they begin. They hold what the peaks of the
    /// span's periods are the highest of.
    pub fn billed(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Stage> {
        let to = to.min(self.until).max(from);
        let Some(own) = self.tracks.get(&self.deployment) else { return Vec::new() };
        let tracks = std::iter::once(own).chain(self.hpas());
        let mut stages: Vec<Stage> = tracks.flat_map(|track| self.stages(own, track, from, to)).collect();
        stages.sort_by_key(|stage| stage.from);
        stages
    }

    /// What each object asked for in a span of time, whether it is billed or not, and where it was not there: by object, and by
    /// when it begins.
    pub fn stood(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Vec<Stood>> {
        let to = to.min(self.until).max(from);
        let of = |track: &Track| {
            let pieces = self.pieces(track, from, to).into_iter().filter_map(|piece| {
                let change = piece.change?;
                Some(Stood {
                    from: piece.from,
                    to: piece.to,
                    change: change.clone(),
                    in_force: piece.in_force.cloned(),
                })
            });
            let instants = track.points(from, to).filter(|point| point.is_instant).map(|point| {
                let (at, change) = (point.written_at, Arc::clone(&point.change));
                Stood { from: at, to: at, change, in_force: self.course.at(at).cloned() }
            });
            let mut stood: Vec<Stood> = pieces.chain(instants).collect();
            // What passed at an instant was before what stands from then on, whatever its writer's clock said.
            stood.sort_by_key(|stood| match stood.from == stood.to {
                true => (stood.change.effective_at, false),
                false => (stood.from, true),
            });
            stood
        };
        self.tracks.values().map(of).collect()
    }

    fn stages(&self, own: &Track, track: &Track, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Stage> {
        let stood = self.pieces(track, from, to).into_iter().filter(|piece| piece.is_billed).filter_map(|piece| {
            let (from, to, in_force) = (piece.from, piece.to, piece.in_force.cloned());
            Some(Stage { from, to, change: Arc::clone(piece.change?), deployment: own.at(from)?.clone(), in_force })
        });
        let is_billed =
            |point: &&super::Point| point.is_instant && self.is_billed(&point.change, point.change.effective_at);
        let passed = track.points(from, to).filter(is_billed).map(|point| {
            let (at, change) = (point.written_at, Arc::clone(&point.change));
            let is_own = change.object == self.deployment;
            let deployment = own.at(change.effective_at).filter(|_| !is_own).unwrap_or(&change).clone();
            Stage { from: at, to: at, change, deployment, in_force: self.course.at(at).cloned() }
        });
        stood.chain(passed).collect()
    }
}
