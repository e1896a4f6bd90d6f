//! The faults of PED files: for people, as GitHub's annotations, and as SARIF for code scanning.

use percent_encoding::{AsciiSet, utf8_percent_encode};
use serde_json::{Value as Json, json};

use crate::ped::Fault;
use crate::remote::IN_A_URL;
use crate::shown::Shown;
use crate::telemetry::VERSION;

/// How faults are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum FaultFormat {
    /// FILE:LINE:COLUMN: what is wrong, as compilers write it
    #[default]
    Text,
    /// Annotations on the lines of a pull request, in a workflow of GitHub
    Github,
    /// SARIF 2.1.0, for code scanning
    Sarif,
}

/// A line for each.
pub(super) fn text(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("{}\n", Shown(fault))).collect()
}

/// Workflow commands: <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>.
pub(super) fn annotations(faults: &[Fault]) -> String {
    let command = |fault: &Fault| {
        let (file, place) = (property(&fault.file.display().to_string()), fault.place);
        let said = message(&Shown(fault.text()).to_string());
        format!("::error title=PED,file={file},line={},col={}::{said}\n", place.line, place.column)
    };
    faults.iter().map(command).collect()
}

/// Text as the runner reads it back: <https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts>.
fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}

/// One run: <https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html>.
pub(super) fn sarif(faults: &[Fault]) -> Json {
    let result = |fault: &Fault| {
        let region = json!({"startLine": fault.place.line, "startColumn": fault.place.column});
        let uri = utf8_percent_encode(&fault.file.display().to_string(), IN_A_PATH).to_string();
        let location = json!({"artifactLocation": {"uri": uri}, "region": region});
        json!({
            "ruleId": RULE, "level": "error", "message": {"text": fault.text()},
            "locations": [{"physicalLocation": location}],
        })
    };
    let rule = json!({"id": RULE, "shortDescription": {"text": "A PED that cannot be registered"}});
    let driver = json!({"name": "pedwatch", "semanticVersion": SEMANTIC_VERSION, "version": VERSION, "rules": [rule]});
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0",
        "runs": [{
            "tool": {"driver": driver}, "columnKind": "unicodeCodePoints",
            "results": faults.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

const RULE: &str = "ped";
const SEMANTIC_VERSION: &str = env!("CARGO_PKG_VERSION");

/// A path is a reference relative to the checkout, with its slashes.
const IN_A_PATH: &AsciiSet = &IN_A_URL.remove(b'/');

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ped::Place;

    fn fault() -> Fault {
        let place = Place { line: 9, column: 16 };
        let message = "is 99%\n; expected a whole number from 2 to 8".to_owned();
        Fault { file: "peds/a, b.yaml".into(), place, key: "spec.maxReplicas".to_owned(), message }
    }

    #[test]
    fn an_annotation_is_one_command_whatever_the_file_holds() {
        assert_eq!(
            annotations(&[fault()]),
            "::error title=PED,file=peds/a%2C b.yaml,line=9,col=16::spec.maxReplicas is 99%25\\u{a}; expected a whole number \
             from 2 to 8\n"
        );
    }

    #[test]
    fn a_result_points_at_its_place() {
        let sarif = sarif(&[fault()]);
        let result = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
        assert_eq!(result["artifactLocation"]["uri"], "peds/a%2C%20b.yaml");
        assert_eq!(result["region"], json!({"startLine": 9, "startColumn": 16}));
    }
}
