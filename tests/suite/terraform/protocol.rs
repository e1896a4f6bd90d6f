//! The part of Terraform's plugin protocol 6 that the stand-in provider speaks. Field numbers are the protocol's:
//! <https://github.com/hashicorp/terraform/blob/main/docs/plugin-protocol/tfplugin6.proto>.

use std::collections::HashMap;

use prost::Message;

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($(#[$tag:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Message)]
        pub struct $name { $($(#[$tag])* pub $field: $type,)* }
    )*};
}

messages! {
    DynamicValue {
        #[prost(bytes, tag = "1")]
        msgpack: Vec<u8>,
    }
    Diagnostic {
        #[prost(int32, tag = "1")]
        severity: i32,
        #[prost(string, tag = "2")]
        summary: String,
        #[prost(string, tag = "3")]
        detail: String,
    }
    Attribute {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(bytes, tag = "2")]
        attribute_type: Vec<u8>,
        #[prost(bool, tag = "4")]
        required: bool,
        #[prost(bool, tag = "5")]
        optional: bool,
        #[prost(bool, tag = "6")]
        computed: bool,
        #[prost(bool, tag = "7")]
        sensitive: bool,
        #[prost(bool, tag = "11")]
        write_only: bool,
    }
    NestedBlock {
        #[prost(string, tag = "1")]
        type_name: String,
        #[prost(message, optional, tag = "2")]
        block: Option<Block>,
        #[prost(int32, tag = "3")]
        nesting: i32,
        #[prost(int64, tag = "4")]
        min_items: i64,
        #[prost(int64, tag = "5")]
        max_items: i64,
    }
    Block {
        #[prost(int64, tag = "1")]
        version: i64,
        #[prost(message, repeated, tag = "2")]
        attributes: Vec<Attribute>,
        #[prost(message, repeated, tag = "3")]
        block_types: Vec<NestedBlock>,
    }
    Schema {
        #[prost(int64, tag = "1")]
        version: i64,
        #[prost(message, optional, tag = "2")]
        block: Option<Block>,
    }
    ServerCapabilities {
        #[prost(bool, tag = "2")]
        get_provider_schema_optional: bool,
    }
    ProviderSchema {
        #[prost(message, optional, tag = "1")]
        provider: Option<Schema>,
        #[prost(map = "string, message", tag = "2")]
        resource_schemas: HashMap<String, Schema>,
        #[prost(map = "string, message", tag = "3")]
        data_source_schemas: HashMap<String, Schema>,
        #[prost(message, optional, tag = "6")]
        server_capabilities: Option<ServerCapabilities>,
    }
    /// ValidateResourceConfig, ReadResource and ReadDataSource.
    ValueRequest {
        #[prost(string, tag = "1")]
        type_name: String,
        #[prost(message, optional, tag = "2")]
        value: Option<DynamicValue>,
    }
    ValueResponse {
        #[prost(message, optional, tag = "1")]
        value: Option<DynamicValue>,
    }
    Diagnostics {
        #[prost(message, repeated, tag = "1")]
        diagnostics: Vec<Diagnostic>,
    }
    RawState {
        #[prost(bytes, tag = "1")]
        json: Vec<u8>,
    }
    UpgradeRequest {
        #[prost(string, tag = "1")]
        type_name: String,
        #[prost(message, optional, tag = "3")]
        raw_state: Option<RawState>,
    }
    /// PlanResourceChange and ApplyResourceChange: the value before, and the one proposed or planned.
    ChangeRequest {
        #[prost(string, tag = "1")]
        type_name: String,
        #[prost(message, optional, tag = "2")]
        prior: Option<DynamicValue>,
        #[prost(message, optional, tag = "3")]
        new: Option<DynamicValue>,
    }
    PlanResponse {
        #[prost(message, optional, tag = "1")]
        planned: Option<DynamicValue>,
        #[prost(bool, tag = "5")]
        legacy_type_system: bool,
    }
    ApplyResponse {
        #[prost(message, optional, tag = "1")]
        state: Option<DynamicValue>,
        #[prost(bool, tag = "4")]
        legacy_type_system: bool,
    }
}
