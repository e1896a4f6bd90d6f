//! What runs pedwatch inside a cluster: put together by kubectl, checked against Kubernetes' own schemas, and started by commands
//! and a configuration that there are.

use std::path::PathBuf;
use std::process::Command;

use crate::cli::{command, run, stderr};
use crate::support::root;

/// The versions that GKE has, and the one to come.
const VERSIONS: [&str; 3] = ["1.31", "1.34", "1.36"];

/// What looks into a cluster from inside, and what takes messages there.
const FOLDERS: [(&str, usize); 2] = [("deploy/kubernetes", 15), ("deploy/kubernetes/consumer", 5)];

/// All of a folder, as `kubectl apply -k` sends it.
fn manifests(folder: &str) -> String {
    let built = Command::new(root().join("tests/servers/kubernetes.sh")).output().expect("bash");
    assert!(built.status.success(), "{}", stderr(&built));
    let kubectl = PathBuf::from(String::from_utf8(built.stdout).expect("a path").trim()).join("bin/kubectl");
    let output = Command::new(kubectl).arg("kustomize").arg(root().join(folder)).output().expect("kubectl");
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn the_manifests_are_as_kubernetes_wants_them() {
    let set_up = Command::new(root().join("tests/servers/setup.sh")).status().expect("bash");
    assert!(set_up.success(), "tests/servers/setup.sh failed: nothing checks manifests");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("all.yaml");
    let checked = |text: &str, version: &str| {
        std::fs::write(&file, text).expect("written");
        let mut check = Command::new(root().join("target/servers/kubernetes-validate/bin/kubernetes-validate"));
        let output = check.args(["--strict", "-k", version]).arg(&file).output().expect("kubernetes-validate");
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    for (folder, objects) in FOLDERS {
        let manifests = manifests(folder);
        for version in VERSIONS {
            let (passed, said) = checked(&manifests, version);
            let count = said.matches(" passed for resource ").count();
            assert!(passed && count == objects, "{folder}, {version}: {count} {said}");
        }
    }
    let manifests = manifests(FOLDERS[0].0);
    let (passed, said) = checked(&manifests.replace("concurrencyPolicy:", "concurrencyPolicies:"), "1.34");
    assert!(!passed, "it finds nothing: {said}");
}

#[test]
fn what_they_start_there_is() {
    let [manifests, consumer] = FOLDERS.map(|(folder, _)| manifests(folder));
    for (manifests, subcommands) in
        [(&manifests, ["watch", "snapshot", "daily", "canary"].as_slice()), (&consumer, ["pull"].as_slice())]
    {
        assert!(!manifests.contains("image: pedwatch\n"), "an image without a registry:\n{manifests}");
        for subcommand in subcommands {
            assert!(manifests.contains(&format!("- {subcommand}\n")), "nothing starts {subcommand}");
            assert!(run(command().args([subcommand, "--help"]), b"").status.success(), "{subcommand}");
        }
    }
    for (folder, _) in FOLDERS {
        let config = root().join(folder).join("pedwatch.toml");
        let checked = run(command().arg("--config").arg(config).args(["config", "check"]), b"");
        assert!(checked.status.success(), "{}", stderr(&checked));
    }
    // What the canary may patch is where no pod may run and nobody has a right.
    let there: Vec<&str> =
        manifests.split("---\n").filter(|text| text.contains("\n  namespace: pedwatch-canary\n")).collect();
    let mut kinds: Vec<&str> =
        there.iter().flat_map(|text| text.lines()).filter_map(|line| line.strip_prefix("kind: ")).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["Deployment", "ResourceQuota", "Role", "RoleBinding"]);
    assert!(there.iter().any(|text| text.contains("  hard:\n    pods: \"0\"\n")), "{manifests}");
    // The shipped roles, for the identities that they have in there.
    for name in ["pedwatch", "pedwatch-canary"] {
        let subject = format!("- kind: ServiceAccount\n  name: {name}\n  namespace: pedwatch\n");
        assert!(manifests.contains(&subject), "{manifests}");
    }
}
