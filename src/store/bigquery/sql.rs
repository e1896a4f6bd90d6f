//! Questions: parameterised queries, their pages, and their values.

use std::time::Duration;

use chrono::DateTime;
use gcp_bigquery_client::model::data_format_options::DataFormatOptions;
use gcp_bigquery_client::model::field_type::FieldType;
use gcp_bigquery_client::model::get_query_results_parameters::GetQueryResultsParameters;
use gcp_bigquery_client::model::query_parameter::QueryParameter;
use gcp_bigquery_client::model::query_parameter_type::QueryParameterType;
use gcp_bigquery_client::model::query_parameter_value::QueryParameterValue;
use gcp_bigquery_client::model::query_request::QueryRequest;
use gcp_bigquery_client::model::query_response::QueryResponse;
use serde_json::Value as Json;
use tokio::sync::mpsc::Sender;

use super::super::query::{Query, Rows, Value};
use super::super::schema;
use super::client::Failure;
use super::script;
use super::store::BigQuery;
use crate::id;

/// How long to wait before asking for a result again that was not there yet.
const POLL_AGAIN: Duration = Duration::from_millis(200);

impl BigQuery {
    /// Asks, waits, and sends on page after page, until nobody takes them any more.
    pub(super) async fn query(
        &self,
        query: &Query,
        page_rows: Option<i32>,
        pages: Sender<Rows>,
    ) -> Result<(), Failure> {
        let shared = &self.shared;
        let project = shared.name.project.as_str();
        // How long BigQuery may hold one answer back before it says "not yet": well before we would stop waiting for it.
        let poll_ms = i32::try_from(shared.client.attempt().as_millis() / 2).ok();
        let request = QueryRequest {
            location: shared.config.location.clone(),
            parameter_mode: Some("NAMED".to_owned()),
            query_parameters: Some(query.parameters.iter().map(|(name, value)| parameter(name, value)).collect()),
            timeout_ms: poll_ms,
            max_results: page_rows,
            format_options: Some(DataFormatOptions { use_int64_timestamp: Some(true) }),
            ..QueryRequest::new(self.in_dataset(query))
        };
        let ask = |api: gcp_bigquery_client::Client| {
            let request = request.clone();
            async move { Ok(api.job().query(project, request).await?) }
        };
        let mut page: QueryResponse = shared.client.retry(ask).await?;
        loop {
            let complete = page.job_complete.unwrap_or(false);
            if complete && pages.send(rows(&page)).await.is_err() {
                return Ok(());
            }
            let job = page.job_reference.take().and_then(|job| Some((job.job_id?, job.location)));
            let (id, location) = match (complete, page.page_token.take(), job) {
                (true, None, _) => return Ok(()),
                (_, token, Some((id, location))) => (id, (location, token)),
                (_, _, None) => return Err(Failure::transient("BigQuery gave neither a result nor a job")),
            };
            if !complete {
                tokio::time::sleep(POLL_AGAIN).await;
            }
            let (location, page_token) = location;
            let parameters = GetQueryResultsParameters {
                location,
                page_token,
                timeout_ms: poll_ms,
                max_results: page_rows,
                ..GetQueryResultsParameters::default()
            };
            let next = |api: gcp_bigquery_client::Client| {
                let (id, parameters) = (id.clone(), parameters.clone());
                async move { Ok(api.job().get_query_results(project, &id, parameters).await?) }
            };
            page = shared.client.retry(next).await?.into();
        }
    }

    /// In GoogleSQL, over this dataset's tables.
    fn in_dataset(&self, query: &Query) -> String {
        let dataset = format!("{}.", self.quoted());
        let (views, question) = query.steps();
        schema::Dialect { dataset: &dataset, ..schema::BIGQUERY }.fill(&script::of(views, &question))
    }
}

/// A named parameter; `Null` is one without a value.
pub(super) fn parameter(name: &str, value: &Value) -> QueryParameter {
    let (kind, value) = match value {
        Value::Null => ("STRING", None),
        Value::Integer(number) => ("INT64", Some(number.to_string())),
        Value::Boolean(value) => ("BOOL", Some(value.to_string())),
        Value::Text(text) => ("STRING", Some(text.clone())),
        Value::Time(time) => ("TIMESTAMP", Some(id::time(*time))),
    };
    QueryParameter {
        name: Some(name.to_owned()),
        parameter_type: Some(QueryParameterType { array_type: None, struct_types: None, r#type: kind.to_owned() }),
        parameter_value: Some(QueryParameterValue { value, ..QueryParameterValue::default() }),
    }
}

fn rows(page: &QueryResponse) -> Rows {
    let fields = page.schema.as_ref().and_then(|schema| schema.fields.as_deref()).unwrap_or_default();
    let mut rows = Rows { columns: fields.iter().map(|field| field.name.clone()).collect(), rows: Vec::new() };
    for row in page.rows.iter().flatten() {
        let cells = row.columns.iter().flatten().map(|cell| cell.value.as_ref());
        // What cannot be read stays text, and costs its row where that is read as a type.
        let as_text = |cell: Option<&Json>| Value::Text(cell.map_or_else(String::new, Json::to_string));
        let values =
            fields.iter().zip(cells).map(|(field, cell)| value(&field.r#type, cell).unwrap_or_else(|| as_text(cell)));
        rows.rows.push(values.collect());
    }
    rows
}

/// One value; `None` when it is not of its type. BigQuery writes every scalar as a string.
fn value(field_type: &FieldType, value: Option<&Json>) -> Option<Value> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Some(Value::Null) };
    let text = value.as_str()?;
    Some(match field_type {
        FieldType::Integer | FieldType::Int64 => Value::Integer(text.parse().ok()?),
        FieldType::Boolean | FieldType::Bool => Value::Boolean(text.eq_ignore_ascii_case("true")),
        FieldType::Timestamp => Value::Time(DateTime::from_timestamp_micros(micros(text)?)?),
        // The order of keys is BigQuery's own; ours is alphabetical.
        FieldType::Json => Value::Text(serde_json::from_str::<Json>(text).ok()?.to_string()),
        _ => Value::Text(text.to_owned()),
    })
}

/// A time in microseconds, as it was asked for. Further pages come in seconds, because the client cannot ask there:
/// exact to the microsecond until the year 2242, where a double's steps get longer.
fn micros(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| {
        let micros = text.parse::<f64>().ok()? * 1e6;
        // From the year 1 to 9999, the range of a TIMESTAMP: the cast cannot overflow.
        (micros.abs() < 2.6e17).then_some(micros.round() as i64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_read_in_both_of_its_forms() {
        assert_eq!(micros("1756928463889214"), Some(1_756_928_463_889_214));
        assert_eq!(micros("1.756928463889214E9"), Some(1_756_928_463_889_214));
        assert_eq!(micros("0.0"), Some(0));
        assert_eq!(micros("soon"), None);
    }
}
