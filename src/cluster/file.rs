//! What `kubectl get deployments,hpa -A -o json` prints, read object by object: a file may be larger than memory is.

use std::fmt;
use std::io::{BufReader, Read};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::listing::Gathered;
use crate::timeline::reality::Workload;

/// What such a file is to be made by.
pub const MADE_BY: &str = "kubectl get deployments,hpa -A -o json";

/// What a file holds.
#[derive(Debug)]
pub struct Contents {
    /// Its objects.
    pub gathered: Gathered,
    /// The resourceVersion of the list, where the file says one.
    pub resource_version: Option<String>,
    /// SHA-256 of its bytes, in hex.
    pub digest: String,
}

/// Reads a list of objects. Kinds that are not ours are passed over; pods count where ReplicaSets and pods are there.
///
/// # Errors
/// With the place, when it is something else, or breaks off.
pub fn read(input: impl Read) -> Result<Contents, String> {
    let mut contents = Contents { gathered: Gathered::default(), resource_version: None, digest: String::new() };
    let mut digested = Digested { input: BufReader::with_capacity(64 << 10, input), digest: Sha256::new() };
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(&mut digested));
    let read = List(&mut contents).deserialize(&mut json).and_then(|()| json.end());
    read.map_err(|error| format!("{error}; expected what {MADE_BY} prints"))?;
    contents.digest = hex::encode(digested.digest.finalize());
    Ok(contents)
}

struct Digested<R> {
    input: R,
    digest: Sha256,
}

impl<R: Read> Read for Digested<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.digest.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// A list of objects of several kinds.
struct List<'c>(&'c mut Contents);

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let mut has_items = false;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "items" => {
                    map.next_value_seed(Items(&mut self.0.gathered))?;
                    has_items = true;
                }
                "metadata" => {
                    let metadata: Json = map.next_value()?;
                    let version = metadata.get("resourceVersion").and_then(Json::as_str);
                    self.0.resource_version = version.filter(|version| !version.is_empty()).map(str::to_owned);
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if has_items { Ok(()) } else { Err(M::Error::custom("it has no items")) }
    }
}

struct Items<'g>(&'g mut Gathered);

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<(), S::Error> {
        let mut index = 0;
        while let Some(object) = items.next_element::<Json>()? {
            add(self.0, object).map_err(|why| S::Error::custom(format!("items[{index}]: {why}")))?;
            index += 1;
        }
        Ok(())
    }
}

fn add(gathered: &mut Gathered, object: Json) -> Result<(), String> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Json::as_str).unwrap_or_default();
    let kind = text("/kind").to_owned();
    let is_named = !text("/metadata/name").is_empty() && !text("/metadata/namespace").is_empty();
    let wrong = |error: serde_json::Error| format!("a {kind} with {error}");
    match kind.as_str() {
        "" => return Err("it has no kind".to_owned()),
        "Deployment" | "HorizontalPodAutoscaler" | "ReplicaSet" | "Pod" | "Rollout" if !is_named => {
            return Err(format!("a {kind} without a namespace or name"));
        }
        "Deployment" => gathered.add_deployment(serde_json::from_value(object).map_err(wrong)?),
        "HorizontalPodAutoscaler" => gathered.add_hpa(serde_json::from_value(object).map_err(wrong)?),
        "StatefulSet" if !is_named => {}
        "StatefulSet" => gathered.add_other(Workload::StatefulSet, serde_json::from_value(object).map_err(wrong)?),
        "Rollout" => gathered.add_other(Workload::Rollout, serde_json::from_value(object).map_err(wrong)?),
        "ReplicaSet" => gathered.add_replica_set(serde_json::from_value(object).map_err(wrong)?),
        "Pod" => gathered.add_pod(&serde_json::from_value(object).map_err(wrong)?),
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::{Listing, Namespaces};

    fn listing(items: Json) -> Result<Listing, String> {
        let list = json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}});
        let Contents { gathered, resource_version, .. } = read(list.to_string().as_bytes())?;
        gathered.listing(chrono::DateTime::UNIX_EPOCH, resource_version, &Namespaces::default())
    }

    fn deployment(name: &str, replicas: Json) -> Json {
        json!({"kind": "Deployment", "metadata": {"namespace": "payments", "name": name, "uid": format!("uid-{name}")},
            "spec": {"replicas": replicas, "strategy": {"rollingUpdate": {"maxSurge": "25%"}}}, "status": {"replicas": 2, "observedGeneration": 7}})
    }

    #[test]
    fn what_kubectl_prints_is_read() {
        let owned = |kind: &str, name: &str, owner_kind: &str, owner: &str| {
            json!({"kind": kind, "metadata": {"namespace": "payments", "name": name, "uid": format!("uid-{name}"),
                "ownerReferences": [{"kind": owner_kind, "uid": format!("uid-{owner}"), "controller": true}]},
                "status": {"phase": "Running"}})
        };
        let mut terminating = owned("Pod", "p2", "ReplicaSet", "rs");
        terminating["metadata"]["deletionTimestamp"] = "2026-09-20T00:00:00Z".into();
        let mut terminal = owned("Pod", "p3", "ReplicaSet", "rs");
        terminal["status"]["phase"] = "Failed".into();
        let hpa = |name: &str, kind: &str, max: i64| {
            json!({"kind": "HorizontalPodAutoscaler", "metadata": {"namespace": "payments", "name": name},
                "spec": {"maxReplicas": max, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": kind, "name": "orders-api"}}})
        };
        let listing = listing(json!([
            owned("Pod", "p1", "ReplicaSet", "rs"), terminating, terminal, owned("Pod", "p4", "ReplicaSet", "other"),
            owned("ReplicaSet", "rs", "Deployment", "orders-api"), {"kind": "StatefulSet"},
            hpa("one", "Deployment", 6), hpa("two", "Deployment", 9), hpa("three", "StatefulSet", 50),
            deployment("orders-api", 3.into()), deployment("batch", 0.into()),
        ]));
        let listing = listing.expect("a listing");
        assert_eq!((listing.hpas, listing.pods, listing.impossible), (3, Some(2), 0));
        let [batch, orders] = listing.deployments.as_slice() else { panic!("two Deployments: {listing:?}") };
        assert_eq!((batch.desired, batch.running_pods, batch.hpa_max()), (Some(0), Some(0), None));
        assert_eq!((orders.desired, orders.surge), (Some(3), Some(1)), "a quarter of three is one");
        assert_eq!((orders.actual, orders.ready), (Some(2), Some(0)));
        assert_eq!((orders.running_pods, orders.hpa_max(), orders.observed_generation), (Some(1), Some(9), Some(7)));
    }

    #[test]
    fn a_number_that_cannot_be_costs_only_itself() {
        let odd = [json!(-1), json!(3_000_000_000_u64), json!("3"), json!(2.5), json!(1e30)];
        let count = odd.len() as u64;
        let mut items: Vec<Json> =
            odd.into_iter().enumerate().map(|(at, number)| deployment(&format!("odd-{at}"), number)).collect();
        items.push(deployment("orders-api", 3.into()));
        let listing = listing(items.into()).expect("a listing");
        assert_eq!(listing.impossible, count);
        let desired: Vec<Option<i64>> = listing.deployments.iter().map(|deployment| deployment.desired).collect();
        assert_eq!(desired, [None, None, None, None, None, Some(3)]);
    }

    #[test]
    fn what_is_no_list_is_told_with_its_place() {
        for (text, parts) in [
            ("", &["EOF", "line 1", MADE_BY][..]),
            ("[]", &["expected a list of objects"]),
            ("{\"kind\": \"Deployment\"}", &["it has no items"]),
            ("{\"items\": [{\"kind\": \"Deployment\"}]}", &["items[0]: a Deployment without a namespace or name"]),
            ("{\"items\": [{}]}", &["items[0]: it has no kind"]),
            ("{\"items\": [\n{\"kind\": \"List\"},\n", &["EOF", "line 3"]),
            ("{\"items\": []} {}", &["trailing characters"]),
        ] {
            let why = read(text.as_bytes()).expect_err(text);
            assert!(parts.iter().all(|part| why.contains(part)), "{text:?}: {why}");
        }
        let twice = listing(json!([deployment("orders-api", 3.into()), deployment("orders-api", 4.into())]));
        assert!(twice.expect_err("twice").contains("payments/orders-api is there twice"));
    }
}
