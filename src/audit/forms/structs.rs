//! A protobuf `Struct` as some client libraries dump it, `{"fields": {"replicas": {"numberValue": 6}}}`, becomes the
//! object that it stands for.

use serde_json::value::RawValue;
use serde_json::{Map, Value as Json};

use super::members::fold;

/// The object that a `Struct` stands for, as JSON; `None` when this is not a `Struct`. The nesting is that of the JSON,
/// which serde_json bounds (128).
pub(super) fn plain(raw: &RawValue) -> Option<String> {
    // Kubernetes' objects have no such member, so nothing else is read twice.
    if !raw.get().contains("\"fields\"") {
        return None;
    }
    struct_of(&serde_json::from_str(raw.get()).ok()?).map(|json| json.to_string())
}

fn struct_of(json: &Json) -> Option<Json> {
    let members = json.as_object().filter(|members| members.len() == 1)?;
    let fields = members.get("fields")?.as_object()?;
    fields
        .iter()
        .map(|(name, value)| Some((name.clone(), value_of(value)?)))
        .collect::<Option<Map<_, _>>>()
        .map(Json::from)
}

/// Exactly one of the six kinds, and perhaps the name of it beside.
fn value_of(json: &Json) -> Option<Json> {
    let mut kinds = json.as_object()?.iter().filter(|(name, _)| *name != "kind");
    let ((kind, value), None) = (kinds.next()?, kinds.next()) else { return None };
    match fold(kind).as_str() {
        "nullvalue" => Some(Json::Null),
        "numbervalue" => value.is_number().then(|| value.clone()),
        "stringvalue" => value.is_string().then(|| value.clone()),
        "boolvalue" => value.is_boolean().then(|| value.clone()),
        "structvalue" => struct_of(value),
        "listvalue" => {
            let items = value.as_object()?.get("values")?.as_array()?;
            items.iter().map(value_of).collect::<Option<Vec<_>>>().map(Json::from)
        }
        _ => None,
    }
}
