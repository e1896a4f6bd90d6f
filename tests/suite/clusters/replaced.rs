//! What runs where the PED's Deployment was: a StatefulSet, and a Rollout of Argo Rollouts, whose definition is made here.

use serde_json::{Value as Json, json};

use super::{APPS, Api, Place, deployment};
use crate::cli::{stderr, stdout};
use crate::support::{PEDS_FROM, block_on, ped, register};

const ROLLOUTS: &str = "/apis/argoproj.io/v1alpha1/namespaces/shop/rollouts";

/// As the API server lists them, of any schema.
async fn install_rollouts(api: &Api) {
    let version = json!({"name": "v1alpha1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
        {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
    let definition = json!({"metadata": {"name": "rollouts.argoproj.io"}, "spec": {"group": "argoproj.io", "scope": "Namespaced",
        "names": {"plural": "rollouts", "singular": "rollout", "kind": "Rollout", "listKind": "RolloutList"}, "versions": [version]}});
    api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
    let mut attempts = 0;
    while api.status_for("admin", "GET", ROLLOUTS).await != 200 {
        attempts += 1;
        assert!(attempts < 300, "the definition is not served");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

fn rollout(name: &str, spec: Json) -> Json {
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": name}, "spec": spec})
}

#[test]
fn what_runs_in_the_place_of_a_deployment_is_told_once() {
    let api = Api::start();
    let refers = |name: &str| json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": name});
    block_on(async {
        api.namespace("shop").await;
        install_rollouts(&api).await;
        // Once a Deployment, and a Rollout of the pods of one, which it has scaled to zero.
        let mut set = deployment("orders-api", 5);
        set["spec"]["serviceName"] = "orders-api".into();
        api.post(&format!("{APPS}/shop/statefulsets"), &set).await;
        api.post(&format!("{APPS}/shop/deployments"), &deployment("search-api", 0)).await;
        api.post(ROLLOUTS, &rollout("search", json!({"replicas": 7, "workloadRef": refers("search-api")}))).await;
        // Beside a Deployment that runs, without a PED, and one that asks for nothing.
        api.post(&format!("{APPS}/shop/deployments"), &deployment("beside", 2)).await;
        for (name, replicas) in [("beside", json!(3)), ("nobodys", Json::Null), ("idle", json!(0))] {
            api.post(ROLLOUTS, &rollout(name, json!({"replicas": replicas}))).await;
        }
    });
    let mut place = Place::new("");
    place.sections += "[comparison]\nsettle_seconds = 0\n";
    place.at("eu", &api.server(), "pedwatch", &api.ca, "");
    block_on(async {
        for name in ["orders-api", "search-api", "beside", "idle"] {
            register(&place.opened(), &ped("shop", name, None, 4), PEDS_FROM).await;
        }
    });
    for _ in 0..2 {
        let (taken, rows) = place.snapshot();
        assert!(taken.status.success(), "{}", stderr(&taken));
        assert!(rows["eu"]["replacements"].as_str().is_some_and(|text| text.contains("Rollout")), "{}", rows["eu"]);
        let daily = place.run(&["daily"]);
        assert!(daily.status.success(), "{}{}", stdout(&daily), stderr(&daily));
        let told: Vec<Json> =
            place.rows("alert_log").into_iter().filter(|row| row["alert_type"] == "replaced").collect();
        let mut told: Vec<&str> = told.iter().filter_map(|row| row["message"].as_str()).collect();
        told.sort_unstable();
        assert_eq!(
            told,
            [
                "a Rollout runs in the place of the Deployment shop/search-api and asks for 7: the limit of 4 sees Deployments alone",
                "a StatefulSet runs in the place of the Deployment shop/orders-api and asks for 5: the limit of 4 sees Deployments alone",
            ]
        );
    }
    // An identity with an earlier release's role lists what it may; cluster check says what is missing.
    block_on(async {
        let role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/pedwatch";
        let mut rules = api.call("GET", role, None).await["rules"].clone();
        let is_earlier = |rule: &Json| {
            !rule["resources"].to_string().contains("statefulsets") && rule["apiGroups"] != json!(["argoproj.io"])
        };
        rules.as_array_mut().expect("rules").retain(is_earlier);
        api.patch(role, &json!({"rules": rules})).await;
    });
    let begun = std::time::Instant::now();
    while block_on(api.status_for("pedwatch", "GET", "/apis/apps/v1/statefulsets")) != 403 {
        assert!(begun.elapsed().as_secs() < 60, "the grant is still there");
    }
    let (taken, rows) = place.snapshot();
    assert!(taken.status.success(), "{}", stderr(&taken));
    assert_eq!((&rows["eu"]["state"], &rows["eu"]["replacements"]), (&json!("complete"), &Json::Null));
    let checked = place.run(&["cluster", "check", "--format", "ndjson"]);
    let missing = |step: &str| {
        let steps = stdout(&checked);
        let found =
            steps.lines().map(|line| serde_json::from_str::<Json>(line).expect("JSON")).find(|row| row["step"] == step);
        found.is_some_and(|row| row["ok"] == false && row["advice"].to_string().contains("rbac.yaml"))
    };
    assert!(missing("list StatefulSets") && missing("list Rollouts"), "{}", stdout(&checked));
}
