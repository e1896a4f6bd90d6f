//! Registering a version so that of two at once one follows the other.
//!
//! BigQuery neither locks nor knows unique keys, but it runs a job's id once: the id here is made of the versions that
//! the new one follows. The second of two registrations that read the same versions is told that the job exists, reads
//! again and follows the first. Source of truth: <https://cloud.google.com/bigquery/docs/running-jobs#generate-jobid>.

use std::time::Duration;

use gcp_bigquery_client::model::job::Job;
use gcp_bigquery_client::model::job_configuration::JobConfiguration;
use gcp_bigquery_client::model::job_configuration_query::JobConfigurationQuery;
use gcp_bigquery_client::model::job_reference::JobReference;

use super::super::query::{self, Value};
use super::super::row::{self, Cell, DeploymentConfig, Row};
use super::super::{StoreError, schema};
use super::BigQuery;
use super::client::{Failure, Kind};
use super::sql::parameter;
use crate::ped::history::Registration;

/// How long to wait before looking at a running job again.
const POLL_AGAIN: Duration = Duration::from_millis(200);

/// How often a registration may find that others were faster, or that a job failed, before it is given back.
const ROUNDS: u32 = 20;

/// How a job ended.
enum Ended {
    Done,
    Failed(String),
}

impl BigQuery {
    pub(super) async fn register_version(
        &self,
        registration: &Registration,
    ) -> Result<Option<DeploymentConfig>, StoreError> {
        let subject = &registration.ped.subject;
        let versions = query::versions_of(&[(subject.namespace.clone(), subject.deployment.clone())]);
        // A job that failed has used its id up; the next one has another.
        let mut failed = 0;
        for _ in 0..ROUNDS {
            let mut registered: Vec<DeploymentConfig> = self.query(&versions).await?.read()?;
            registered.retain(|version| registration.follows(version));
            let Some(next) = registration.next(&registered) else { return Ok(None) };
            match self.insert_version(&next, &self.job_id(&next, &registered, failed)).await? {
                // Ours, or that of another who registers the same.
                Ended::Done => {
                    let found: Vec<DeploymentConfig> = self.query(&versions).await?.read()?;
                    if found.iter().any(|version| version.config_id == next.config_id) {
                        return Ok(Some(next));
                    }
                }
                Ended::Failed(why) => {
                    tracing::warn!(error = why, "a registration's job failed; trying again");
                    failed += 1;
                }
            }
        }
        Err(StoreError::Transient(format!("others register {subject} all the time; nothing was registered")))
    }

    /// Runs the job that appends a version, or waits for the one that has its id already.
    async fn insert_version(&self, version: &DeploymentConfig, id: &str) -> Result<Ended, Failure> {
        let shared = &self.shared;
        let project = shared.name.project.as_str();
        let reference = JobReference {
            project_id: Some(project.to_owned()),
            job_id: Some(id.to_owned()),
            location: shared.config.location.clone(),
        };
        let configuration = JobConfiguration { query: Some(self.insertion(version)?), ..JobConfiguration::default() };
        let job = Job { job_reference: Some(reference), configuration: Some(configuration), ..Job::default() };
        let insert = |api: gcp_bigquery_client::Client| {
            let job = job.clone();
            async move { Ok(api.job().insert(project, job).await?) }
        };
        let mut job = match shared.client.retry(insert).await {
            Ok(job) => Some(job),
            // Another's, or our own of an attempt whose answer was lost.
            Err(failure) if failure.kind == Kind::AlreadyExists => None,
            Err(failure) => return Err(failure),
        };
        loop {
            if let Some(status) = job.and_then(|job| job.status)
                && status.state.as_deref() == Some("DONE")
            {
                return Ok(match status.error_result {
                    None => Ended::Done,
                    Some(error) => Ended::Failed(error.to_string()),
                });
            }
            tokio::time::sleep(POLL_AGAIN).await;
            let get = |api: gcp_bigquery_client::Client| {
                let location = shared.config.location.clone();
                async move { Ok(api.job().get_job(project, id, location.as_deref()).await?) }
            };
            job = Some(shared.client.retry(get).await?);
        }
    }

    fn insertion(&self, version: &DeploymentConfig) -> Result<JobConfigurationQuery, Failure> {
        let fields = schema::table(DeploymentConfig::TABLE)?;
        let (mut columns, mut values, mut parameters) = (Vec::new(), Vec::new(), Vec::new());
        for (field, cell) in fields.iter().zip(version.cells()) {
            let value = match cell {
                Cell::Null => continue,
                Cell::Integer(number) => Value::Integer(number),
                Cell::Text(text) => Value::Text(text.to_owned()),
                Cell::Time(time) => Value::Time(time),
            };
            columns.push(field.name.as_str());
            values.push(if field.field_type == "JSON" {
                format!("PARSE_JSON(@{})", field.name)
            } else {
                format!("@{}", field.name)
            });
            parameters.push(parameter(&field.name, &value));
        }
        let (columns, values) = (columns.join(", "), values.join(", "));
        let sql = format!("INSERT INTO ${{dataset}}.{} ({columns}) VALUES ({values})", DeploymentConfig::TABLE);
        Ok(JobConfigurationQuery {
            query: self.in_dataset(&sql),
            parameter_mode: Some("NAMED".to_owned()),
            query_parameters: Some(parameters),
            use_legacy_sql: Some(false),
            ..JobConfigurationQuery::default()
        })
    }

    fn job_id(&self, next: &DeploymentConfig, registered: &[DeploymentConfig], failed: u32) -> String {
        let mut known: Vec<&str> = registered.iter().map(|version| version.config_id.as_str()).collect();
        known.sort_unstable();
        let cluster = next.cluster_name.as_deref().unwrap_or_default();
        // Jobs are the project's, not the dataset's.
        let (dataset, round) = (&self.shared.name.dataset, failed.to_string());
        let mut parts = vec![dataset, cluster, &next.namespace, &next.deployment_name, &round];
        parts.extend(known);
        format!("pedwatch_register_{}", row::id(&parts))
    }
}
