//! Admission policies: what they say is evaluated, by CEL and by Rego, over one table of requests.

use std::collections::HashMap;
use std::process::Command;

use cel::{Context, Program};
use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Value as Json, json};

use crate::cli::{command, run, stderr, stdout};
use crate::support::root;

/// A store with limits of two Deployments: one of any cluster, one of prod-2 alone.
struct Registered(tempfile::TempDir);

impl Registered {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let ped = |name: &str, cluster: &str, max: u8| {
            format!(
                "---\napiVersion: pedwatch/v1\nkind: Ped\nmetadata: {{namespace: payments, deployment: {name}, owner: a{cluster}}}\n\
                 spec: {{maxReplicas: {max}}}\n"
            )
        };
        let text = ped("orders-api", "", 3) + &ped("carts.v2", ", cluster: prod-2", 5);
        let registered = Registered(folder);
        let args =
            ["ped", "register", "-", "--updated-by=a@example.com", "--reason=first", "--effective-at=2026-09-01"];
        let done = run(command().args(args).arg(registered.store()), text.as_bytes());
        assert!(done.status.success(), "{}{}", stdout(&done), stderr(&done));
        registered
    }

    fn store(&self) -> String {
        format!("--store=sqlite:{}", self.0.path().join("facts.db").display())
    }

    fn policy(&self, format: &str, args: &[&str]) -> String {
        let format = format!("--format={format}");
        let done = run(command().args(["ped", "policy", &format, &self.store()]).args(args), b"");
        assert!(done.status.success(), "{}", stderr(&done));
        stdout(&done)
    }
}

fn documents(text: &str) -> Vec<Json> {
    Yaml::load_from_str(text).expect("YAML").iter().map(json_of).collect()
}

fn json_of(yaml: &Yaml<'_>) -> Json {
    match yaml {
        Yaml::Value(Scalar::String(text)) => json!(text),
        Yaml::Value(Scalar::Integer(number)) => json!(number),
        Yaml::Value(Scalar::Boolean(is)) => json!(is),
        Yaml::Sequence(items) => items.iter().map(json_of).collect(),
        Yaml::Mapping(members) => {
            members.iter().map(|(key, value)| (key.as_str().expect("a key").to_owned(), json_of(value))).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// What is asked of the API server, and whether it may be.
struct Asked {
    why: &'static str,
    resource: &'static str,
    object: Json,
    old: Json,
    is_allowed: bool,
}

fn deployment(name: &str, replicas: i64) -> Json {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "payments"}, "spec": {"replicas": replicas}})
}

fn scale(name: &str, replicas: Option<i64>) -> Json {
    let spec = replicas.map_or(json!({}), |replicas| json!({"replicas": replicas}));
    json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": name, "namespace": "payments"}, "spec": spec})
}

fn hpa((group, kind, name): (&str, &str, &str), max: i64) -> Json {
    let target = match group {
        "" => json!({"kind": kind, "name": name}),
        group => json!({"apiVersion": group, "kind": kind, "name": name}),
    };
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "scaler", "namespace": "payments"},
        "spec": {"scaleTargetRef": target, "maxReplicas": max}})
}

const ORDERS: (&str, &str, &str) = ("apps/v1", "Deployment", "orders-api");

fn table() -> Vec<Asked> {
    let case = |why, resource, object, old, is_allowed| Asked { why, resource, object, old, is_allowed };
    let (deployments, hpas) = ("deployments", "horizontalpodautoscalers");
    let other = |name| ("apps/v1", "Deployment", name);
    vec![
        case("created within", deployments, deployment("orders-api", 3), Json::Null, true),
        case("created over", deployments, deployment("orders-api", 4), Json::Null, false),
        case("raised within", deployments, deployment("orders-api", 3), deployment("orders-api", 1), true),
        case("raised over", deployments, deployment("orders-api", 9), deployment("orders-api", 3), false),
        case("over, and another image", deployments, deployment("orders-api", 9), deployment("orders-api", 9), true),
        case("lowered, and still over", deployments, deployment("orders-api", 6), deployment("orders-api", 9), true),
        case("no PED", deployments, deployment("unknown", 50), Json::Null, true),
        case("a PED of another cluster", deployments, deployment("carts.v2", 50), Json::Null, true),
        case("/scale within", deployments, scale("orders-api", Some(3)), scale("orders-api", Some(1)), true),
        case("/scale over", deployments, scale("orders-api", Some(4)), scale("orders-api", Some(3)), false),
        case("/scale over, from zero", deployments, scale("orders-api", Some(4)), scale("orders-api", None), false),
        case("/scale to zero", deployments, scale("orders-api", None), scale("orders-api", Some(3)), true),
        case("an HPA within", hpas, hpa(ORDERS, 3), Json::Null, true),
        case("an HPA over", hpas, hpa(ORDERS, 4), Json::Null, false),
        case("kubectl's word for it", hpas, hpa(("apps/v1", "deployment", "orders-api"), 4), Json::Null, false),
        case("a maximum that stays over", hpas, hpa(ORDERS, 8), hpa(ORDERS, 8), true),
        case("turned to it over", hpas, hpa(ORDERS, 8), hpa(other("unknown"), 8), false),
        case(
            "turned from a StatefulSet",
            hpas,
            hpa(ORDERS, 8),
            hpa(("apps/v1", "StatefulSet", "orders-api"), 8),
            false,
        ),
        case(
            "turned from what it could not find",
            hpas,
            hpa(ORDERS, 8),
            hpa(("", "Deployment", "orders-api"), 8),
            false,
        ),
        case("the same in another word", hpas, hpa(ORDERS, 8), hpa(("apps/v1", "deployment", "orders-api"), 8), true),
        case("turned away", hpas, hpa(other("unknown"), 9), hpa(ORDERS, 8), true),
        case("of a StatefulSet", hpas, hpa(("apps/v1", "StatefulSet", "orders-api"), 50), Json::Null, true),
        case("of what it cannot find", hpas, hpa(("", "Deployment", "orders-api"), 50), Json::Null, true),
    ]
}

/// The expressions of a policy with CEL in it; `limits` is what the engine reads.
struct Expressions {
    variables: Vec<(String, Program)>,
    validation: Program,
    message: Program,
    limits: Json,
}

fn list(json: &Json) -> impl Iterator<Item = &Json> {
    json.as_array().unwrap_or_else(|| panic!("{json}")).iter()
}

impl Asked {
    /// Group and kind of its object.
    fn group_and_kind(&self) -> (&str, &Json) {
        let api_version = self.object["apiVersion"].as_str().expect("text");
        (api_version.split('/').next().expect("a group"), &self.object["kind"])
    }

    /// Whether an engine of CEL is asked at all.
    fn is_among(&self, rules: &Json) -> bool {
        let group = if self.resource == "deployments" { "apps" } else { "autoscaling" };
        let resource = match self.group_and_kind() {
            (_, kind) if kind == "Scale" => format!("{}/scale", self.resource),
            _ => self.resource.to_owned(),
        };
        let operation = if self.old.is_null() { "CREATE" } else { "UPDATE" };
        let holds = |rule: &Json, key: &str, wanted: &str| list(&rule[key]).any(|one| one == wanted);
        list(rules).any(|rule| {
            holds(rule, "apiGroups", group)
                && holds(rule, "resources", &resource)
                && holds(rule, "operations", operation)
        })
    }

    /// Whether Gatekeeper is asked at all, if its webhook is.
    fn matches(&self, kinds: &Json) -> bool {
        let (group, kind) = self.group_and_kind();
        list(kinds)
            .any(|one| list(&one["apiGroups"]).any(|one| one == group) && list(&one["kinds"]).any(|one| one == kind))
    }
}

impl Expressions {
    fn of(documents: &[Json], kind: &str) -> Self {
        let find = |kind: &str| documents.iter().find(|one| one["kind"] == kind).unwrap_or_else(|| panic!("{kind}"));
        let spec = &find(kind)["spec"];
        let rules = &spec["matchConstraints"]["resourceRules"];
        assert!(table().iter().all(|asked| asked.is_among(rules)), "{rules}");
        let compiled = |text: &Json| Program::compile(text.as_str().expect("text")).expect("CEL");
        let mut variables = Vec::new();
        for one in list(&spec["variables"]) {
            // What the engine itself gives.
            if one["name"] != "limits" {
                variables.push((one["name"].as_str().expect("text").to_owned(), compiled(&one["expression"])));
            }
        }
        let validation = &spec["validations"][0];
        Expressions {
            variables,
            validation: compiled(&validation["expression"]),
            message: compiled(&validation["messageExpression"]),
            limits: find("ConfigMap")["data"].clone(),
        }
    }

    fn judge(&self, asked: &Asked) -> (bool, String) {
        let mut context = Context::default();
        context.add_variable("request", json!({"namespace": "payments"})).expect("a variable");
        context.add_variable("object", &asked.object).expect("a variable");
        context.add_variable("oldObject", &asked.old).expect("a variable");
        let mut known: HashMap<String, cel::Value> =
            HashMap::from([("limits".to_owned(), cel::to_value(&self.limits).expect("a value"))]);
        for (name, program) in &self.variables {
            context.add_variable_from_value("variables", known.clone());
            let value = program.execute(&context).unwrap_or_else(|error| panic!("{}: {name}: {error}", asked.why));
            known.insert(name.clone(), value);
        }
        context.add_variable_from_value("variables", known);
        let is_allowed = self.validation.execute(&context).expect("a verdict") == true.into();
        let cel::Value::String(message) = self.message.execute(&context).expect("a message") else { panic!("no text") };
        (is_allowed, message.to_string())
    }
}

/// As Gatekeeper asks a template.
fn violations(documents: &[Json], asked: &Asked) -> Vec<String> {
    let mut engine = regorus::Engine::new();
    engine.set_rego_v0(true);
    let rego = documents[0]["spec"]["targets"][0]["rego"].as_str().expect("text");
    engine.add_policy("limits.rego".to_owned(), rego.to_owned()).expect("Rego");
    let input = json!({
        "parameters": documents[1]["spec"]["parameters"],
        "review": {"namespace": "payments", "object": asked.object, "oldObject": asked.old, "resource": {"resource": asked.resource}},
    });
    engine.set_input_json(&input.to_string()).expect("JSON");
    let found = engine.eval_rule("data.pedwatch.violation".to_owned()).expect("a verdict");
    let found: Vec<Json> = serde_json::from_str(&found.to_json_str().expect("JSON")).expect("a set");
    found.iter().map(|one| one["msg"].as_str().expect("text").to_owned()).collect()
}

#[test]
fn all_three_hold_the_same_limits() {
    let registered = Registered::new();
    let vap = Expressions::of(&documents(&registered.policy("vap", &[])), "ValidatingAdmissionPolicy");
    let kyverno = Expressions::of(&documents(&registered.policy("kyverno", &[])), "ValidatingPolicy");
    let gatekeeper = documents(&registered.policy("gatekeeper", &[]));
    let mut refused = 0;
    for asked in table() {
        for (engine, expressions) in [("vap", &vap), ("kyverno", &kyverno)] {
            let (is_allowed, message) = expressions.judge(&asked);
            assert_eq!(is_allowed, asked.is_allowed, "{engine}: {}: {message}", asked.why);
            assert!(is_allowed || message.ends_with("; its PED allows 3"), "{message}");
        }
        assert!(asked.matches(&gatekeeper[1]["spec"]["match"]["kinds"]), "gatekeeper: {}", asked.why);
        let found = violations(&gatekeeper, &asked);
        assert_eq!(found.is_empty(), asked.is_allowed, "gatekeeper: {}: {found:?}", asked.why);
        assert!(found.iter().all(|message| message == &vap.judge(&asked).1), "{found:?}");
        refused += usize::from(!asked.is_allowed);
    }
    assert!(refused >= 8);
    // Of what else can be scaled Gatekeeper hears too.
    let (object, old) = (scale("orders-api", Some(9)), scale("orders-api", Some(3)));
    let other = Asked { why: "a StatefulSet", resource: "statefulsets", object, old, is_allowed: true };
    assert_eq!(violations(&gatekeeper, &other), [""; 0]);
}

#[test]
fn a_cluster_has_its_own_limits_and_an_engine_its_own_words() {
    let registered = Registered::new();
    let all = documents(&registered.policy("vap", &["--cluster=prod-2", "--action=warn", "--namespace=platform"]));
    assert_eq!(all[0]["data"], json!({"payments_carts.v2": "5", "payments_orders-api": "3"}));
    assert_eq!(all[0]["metadata"]["namespace"], "platform");
    assert_eq!(all[2]["spec"]["paramRef"]["namespace"], "platform");
    assert_eq!(all[2]["spec"]["validationActions"], json!(["Warn"]));
    let one = documents(&registered.policy("gatekeeper", &["--action=audit"]));
    assert_eq!(one[1]["spec"]["enforcementAction"], "dryrun");
    assert_eq!(one[1]["spec"]["parameters"]["limits"], json!({"payments_orders-api": 3}));
    // Where nothing is registered nothing would be held.
    let empty = Registered::new();
    for deployment in ["orders-api", "carts.v2"] {
        let mut remove = command();
        remove.args([
            "ped",
            "remove",
            &format!("payments/{deployment}"),
            "--updated-by=a@example.com",
            "--reason=over",
        ]);
        if deployment == "carts.v2" {
            remove.arg("--cluster=prod-2");
        }
        let done = run(remove.arg(empty.store()), b"");
        assert!(done.status.success(), "{}", stderr(&done));
    }
    let none = run(command().args(["ped", "policy", "--format=vap", &empty.store()]), b"");
    assert_eq!(none.status.code(), Some(2), "{}", stderr(&none));
    assert!(stderr(&none).contains("no limit is in force"), "{}", stderr(&none));
}

#[test]
fn kubernetes_takes_its_own() {
    let set_up = Command::new(root().join("tests/servers/setup.sh")).status().expect("bash");
    assert!(set_up.success(), "tests/servers/setup.sh failed: nothing checks policies");
    let file = tempfile::NamedTempFile::with_suffix(".yaml").expect("a file");
    std::fs::write(file.path(), Registered::new().policy("vap", &[])).expect("written");
    for version in ["1.30", "1.34"] {
        let mut check = Command::new(root().join("target/servers/kubernetes-validate/bin/kubernetes-validate"));
        let done = check.args(["--strict", "-k", version]).arg(file.path()).output().expect("kubernetes-validate");
        let said = stdout(&done) + &stderr(&done);
        assert!(done.status.success() && said.matches(" passed for resource ").count() == 3, "{version}: {said}");
    }
}
