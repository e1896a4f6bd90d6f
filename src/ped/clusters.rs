//! Which clusters a version is for. Two clusters may share a name, so one is named by its project and location as well.

use std::fmt;

/// One cluster, as an entry names it; empty where it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cluster<'c> {
    /// Google Cloud project.
    pub project: &'c str,
    /// Region or zone.
    pub location: &'c str,
    /// Its name in there.
    pub name: &'c str,
}

/// Its path, as Google Cloud names it.
impl fmt::Display for Cluster<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cluster { project, location, name } = self;
        write!(f, "projects/{project}/locations/{location}/clusters/{name}")
    }
}

/// A scope of clusters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Clusters {
    /// Whichever there is.
    Any,
    /// Those of this name, wherever they are.
    Named(String),
    /// `projects/PROJECT/locations/LOCATION/clusters/NAME`.
    One {
        /// Google Cloud project.
        project: String,
        /// Region or zone.
        location: String,
        /// Its name in there.
        name: String,
    },
}

impl Clusters {
    /// Reads what is stored: nothing, a name, or a path.
    pub fn of(text: Option<&str>) -> Self {
        match text.unwrap_or_default() {
            "" => Clusters::Any,
            text => Self::path(text).unwrap_or_else(|| Clusters::Named(text.to_owned())),
        }
    }

    /// Reads `projects/PROJECT/locations/LOCATION/clusters/NAME`; `None` when it is something else.
    pub fn path(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let ["projects", project, "locations", location, "clusters", name] = parts.as_slice() else { return None };
        let [project, location, name] = [project, location, name].map(|part| (*part).to_owned());
        Some(Clusters::One { project, location, name })
    }

    /// Only this cluster.
    pub fn one(Cluster { project, location, name }: Cluster<'_>) -> Self {
        let [project, location, name] = [project, location, name].map(str::to_owned);
        Clusters::One { project, location, name }
    }

    /// Whether a cluster is among them.
    pub fn hold(&self, cluster: Cluster<'_>) -> bool {
        match self {
            Clusters::Any => true,
            Clusters::Named(name) => name == cluster.name,
            Clusters::One { project, location, name } => {
                (project.as_str(), location.as_str(), name.as_str())
                    == (cluster.project, cluster.location, cluster.name)
            }
        }
    }

    /// How wide the scope is: of several that hold a cluster, the narrowest counts.
    pub(super) fn breadth(&self) -> u8 {
        match self {
            Clusters::One { .. } => 1,
            Clusters::Named(_) => 2,
            Clusters::Any => 3,
        }
    }
}

/// As it is stored; empty for any.
impl fmt::Display for Clusters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Clusters::Any => Ok(()),
            Clusters::Named(name) => f.write_str(name),
            Clusters::One { project, location, name } => Cluster { project, location, name }.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Clusters;

    #[test]
    fn what_is_stored_is_read_back() {
        for text in ["", "prod-1", "projects/acme-prod/locations/europe-west1/clusters/prod-1", "projects/acme-prod"] {
            assert_eq!(Clusters::of(Some(text)).to_string(), text);
        }
        assert_eq!(Clusters::of(None), Clusters::Any);
    }
}
