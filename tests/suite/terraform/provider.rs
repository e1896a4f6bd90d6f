//! A stand-in for hashicorp/google: it knows the exact schema, plans by its rules, and invents what the provider computes.
//! Terraform reaches it through `TF_REATTACH_PROVIDERS`, so that `validate`, `plan` and `apply` run for real, offline.
//!
//! Misspelled and missing arguments, wrong types, unknown blocks and values for read-only attributes are refused. Enums,
//! ranges and conflicts between arguments are not seen by it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rmpv::Value;
use serde_json::{Value as Json, json};

use super::protocol::{
    ApplyResponse, Attribute, Block, ChangeRequest, Diagnostic, Diagnostics, DynamicValue, NestedBlock, PlanResponse,
    ProviderSchema, Schema, ServerCapabilities, UpgradeRequest, ValueRequest, ValueResponse,
};

/// The schema of one version of the provider, as `terraform providers schema -json` prints it.
pub struct Provider {
    source: String,
    schemas: Json,
}

impl Provider {
    pub fn load(path: &Path) -> Self {
        let text = std::fs::read(path).expect("a schema");
        let document: Json = serde_json::from_slice(&text).expect("JSON");
        let providers = document["provider_schemas"].as_object().expect("providers");
        let (source, schemas) = providers.iter().next().expect("one");
        Provider { source: source.clone(), schemas: schemas.clone() }
    }

    /// Serves on a port of its own, and returns what `TF_REATTACH_PROVIDERS` has to be.
    pub async fn serve(self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let reattach = json!({&self.source: {"Protocol": "grpc", "ProtocolVersion": 6, "Pid": std::process::id(),
            "Test": true, "Addr": {"Network": "tcp", "String": address}}});
        let provider = Arc::new(self);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let provider = Arc::clone(&provider);
                let answer = hyper::service::service_fn(move |request| Arc::clone(&provider).answer(request));
                let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(http.serve_connection(TokioIo::new(stream), answer));
            }
        });
        reattach.to_string()
    }

    /// One gRPC call: a frame in, a frame and a status out.
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
        let method = request.uri().path().trim_start_matches("/tfplugin6.Provider/").to_owned();
        let frame = request.into_body().collect().await?.to_bytes();
        let response = Response::builder().header("content-type", "application/grpc");
        let Some(message) = frame.get(5..).and_then(|message| self.call(&method, message)) else {
            // 12: unimplemented.
            return Ok(response.header("grpc-status", "12").body(Full::default().boxed()).expect("a response"));
        };
        let length = u32::try_from(message.len()).expect("small");
        let frame = [&[0], &length.to_be_bytes()[..], &message].concat();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().expect("a status"));
        let body = Full::new(Bytes::from(frame)).with_trailers(async move { Some(Ok(trailers)) });
        Ok(response.body(body.boxed()).expect("a response"))
    }

    fn call(&self, method: &str, message: &[u8]) -> Option<Vec<u8>> {
        Some(match method {
            "GetProviderSchema" => self.schema().encode_to_vec(),
            "ValidateProviderConfig" | "ConfigureProvider" | "ValidateDataResourceConfig" | "StopProvider" => {
                Vec::new()
            }
            "ValidateResourceConfig" => {
                let request = ValueRequest::decode(message).ok()?;
                let mut diagnostics = Vec::new();
                let block = self.block("resource_schemas", &request.type_name);
                find_read_only(block, &read(request.value.as_ref()), &request.type_name, &mut diagnostics);
                Diagnostics { diagnostics }.encode_to_vec()
            }
            "UpgradeResourceState" => {
                let state: Json =
                    serde_json::from_slice(&UpgradeRequest::decode(message).ok()?.raw_state?.json).ok()?;
                ValueResponse { value: write(&from_json(&state)) }.encode_to_vec()
            }
            "ReadResource" => ValueResponse { value: ValueRequest::decode(message).ok()?.value }.encode_to_vec(),
            "PlanResourceChange" => {
                let request = ChangeRequest::decode(message).ok()?;
                let new = read(request.new.as_ref());
                let creates = read(request.prior.as_ref()).is_nil() && !new.is_nil();
                let block = self.block("resource_schemas", &request.type_name);
                let planned = if creates { with_unknowns(block, new) } else { new };
                PlanResponse { planned: write(&planned), legacy_type_system: true }.encode_to_vec()
            }
            "ApplyResourceChange" => {
                let request = ChangeRequest::decode(message).ok()?;
                let block = self.block("resource_schemas", &request.type_name);
                let state = with_inventions(&request.type_name, block, read(request.new.as_ref()));
                ApplyResponse { state: write(&state), legacy_type_system: true }.encode_to_vec()
            }
            "ReadDataSource" => {
                let request = ValueRequest::decode(message).ok()?;
                let block = self.block("data_source_schemas", &request.type_name);
                let asked = with_unknowns(block, read(request.value.as_ref()));
                ValueResponse { value: write(&with_inventions(&request.type_name, block, asked)) }.encode_to_vec()
            }
            _ => return None,
        })
    }

    fn schema(&self) -> ProviderSchema {
        let all = |kind: &str| -> HashMap<String, Schema> {
            members(&self.schemas[kind]).map(|(name, schema)| (name.clone(), schema_of(schema))).collect()
        };
        ProviderSchema {
            provider: Some(schema_of(&self.schemas["provider"])),
            resource_schemas: all("resource_schemas"),
            data_source_schemas: all("data_source_schemas"),
            server_capabilities: Some(ServerCapabilities { get_provider_schema_optional: true }),
        }
    }

    fn block(&self, kind: &str, type_name: &str) -> &Json {
        &self.schemas[kind][type_name]["block"]
    }
}

fn members(value: &Json) -> impl Iterator<Item = (&String, &Json)> {
    value.as_object().into_iter().flatten()
}

fn flag(attribute: &Json, name: &str) -> bool {
    attribute[name].as_bool().unwrap_or(false)
}

fn schema_of(schema: &Json) -> Schema {
    Schema { version: schema["version"].as_i64().unwrap_or(0), block: Some(block_of(&schema["block"])) }
}

fn block_of(block: &Json) -> Block {
    let attribute = |(name, attribute): (&String, &Json)| Attribute {
        name: name.clone(),
        attribute_type: attribute["type"].to_string().into_bytes(),
        required: flag(attribute, "required"),
        optional: flag(attribute, "optional"),
        computed: flag(attribute, "computed"),
        sensitive: flag(attribute, "sensitive"),
        write_only: name.ends_with("_wo"),
    };
    let nested = |(name, nested): (&String, &Json)| NestedBlock {
        type_name: name.clone(),
        block: Some(block_of(&nested["block"])),
        nesting: match nested["nesting_mode"].as_str() {
            Some("single") => 1,
            Some("set") => 3,
            Some("map") => 4,
            Some("group") => 5,
            _ => 2, // list
        },
        min_items: nested["min_items"].as_i64().unwrap_or(0),
        max_items: nested["max_items"].as_i64().unwrap_or(0),
    };
    Block {
        version: 0,
        attributes: members(&block["attributes"]).map(attribute).collect(),
        block_types: members(&block["block_types"]).map(nested).collect(),
    }
}

/// Terraform's way to write what is only known after an apply.
fn unknown() -> Value {
    Value::Ext(0, vec![0])
}

fn read(value: Option<&DynamicValue>) -> Value {
    let bytes = value.map(|value| value.msgpack.as_slice()).unwrap_or_default();
    rmpv::decode::read_value(&mut &*bytes).unwrap_or(Value::Nil)
}

fn write(value: &Value) -> Option<DynamicValue> {
    let mut msgpack = Vec::new();
    rmpv::encode::write_value(&mut msgpack, value).ok()?;
    Some(DynamicValue { msgpack })
}

fn from_json(value: &Json) -> Value {
    match value {
        Json::Null => Value::Nil,
        Json::Bool(value) => (*value).into(),
        Json::Number(number) => number.as_i64().map_or_else(|| number.as_f64().unwrap_or_default().into(), Value::from),
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => Value::Array(items.iter().map(from_json).collect()),
        Json::Object(map) => {
            Value::Map(map.iter().map(|(key, value)| (key.as_str().into(), from_json(value))).collect())
        }
    }
}

/// Rewrites every attribute that the schema names, those of nested blocks included.
fn rewrite(block: &Json, value: Value, change: &dyn Fn(&str, &Json, Value) -> Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(|item| rewrite(block, item, change)).collect()),
        Value::Map(map) => {
            let member = |(key, value): (Value, Value)| {
                let name = key.as_str().unwrap_or_default().to_owned();
                let attribute = &block["attributes"][&name];
                let value = match attribute.is_null() {
                    true => rewrite(&block["block_types"][&name]["block"], value, change),
                    false => change(&name, attribute, value),
                };
                (key, value)
            };
            Value::Map(map.into_iter().map(member).collect())
        }
        other => other,
    }
}

/// What the provider computes is unknown until it is applied.
fn with_unknowns(block: &Json, value: Value) -> Value {
    rewrite(block, value, &|_, attribute, value| {
        if flag(attribute, "computed") && value.is_nil() { unknown() } else { value }
    })
}

/// What is unknown gets a value that the provider could have given.
fn with_inventions(type_name: &str, block: &Json, value: Value) -> Value {
    let named = |key: &str| {
        let member = value.as_map().and_then(|map| map.iter().find(|(name, _)| name.as_str() == Some(key)));
        member.and_then(|(_, value)| value.as_str()).map(str::to_owned)
    };
    let who = ["name", "account_id", "dataset_id"].into_iter().find_map(named);
    // What has no name is Google's own.
    let who = who.unwrap_or_else(|| type_name.trim_start_matches("google_").to_owned());
    rewrite(block, value, &|name, attribute, value| match value {
        Value::Ext(..) => invent(type_name, &who, name, &attribute["type"]),
        value => value,
    })
}

fn invent(type_name: &str, who: &str, name: &str, attribute_type: &Json) -> Value {
    let account = format!("{who}@acme-prod.iam.gserviceaccount.com");
    match (attribute_type.as_str(), attribute_type[0].as_str()) {
        (Some("string"), _) => Value::from(match name {
            "writer_identity" => format!("serviceAccount:writer-of-{type_name}@gcp-sa-logging.iam.gserviceaccount.com"),
            "number" => "123456789012".to_owned(),
            "email" => account,
            "member" => format!("serviceAccount:{account}"),
            "uri" => format!("https://{who}-123.europe-west1.run.app"),
            "id" => format!("{type_name}/{who}"),
            _ => format!("computed-{name}"),
        }),
        (Some("number"), _) => Value::from(0),
        (Some("bool"), _) => Value::from(false),
        (_, Some("list" | "set")) => Value::Array(Vec::new()),
        (_, Some("map")) => Value::Map(Vec::new()),
        (_, Some("object")) => {
            let member =
                |(name, kind): (&String, &Json)| (Value::from(name.as_str()), invent(type_name, who, name, kind));
            Value::Map(members(&attribute_type[1]).map(member).collect())
        }
        _ => Value::Nil,
    }
}

/// What Terraform itself lets through and the provider refuses: a value for an attribute that only the provider sets.
fn find_read_only(block: &Json, value: &Value, at: &str, found: &mut Vec<Diagnostic>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| find_read_only(block, item, at, found)),
        Value::Map(map) => {
            for (key, value) in map {
                let name = key.as_str().unwrap_or_default();
                let (attribute, place) = (&block["attributes"][name], format!("{at}.{name}"));
                if attribute.is_null() {
                    find_read_only(&block["block_types"][name]["block"], value, &place, found);
                } else if flag(attribute, "computed") && !flag(attribute, "optional") && !value.is_nil() {
                    let (summary, detail) = ("Value for unconfigurable attribute".to_owned(), place);
                    found.push(Diagnostic { severity: 1, summary, detail });
                }
            }
        }
        _ => {}
    }
}
