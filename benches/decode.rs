//! `cargo bench --bench decode`: how far decoding and judging are from the parser's own limit, and from the obvious
//! way. Bytes per second of the same entries, in one run.
#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing, reason = "a benchmark that panics has failed")]

use std::hint::black_box;

use chrono::{DateTime, Utc};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pedwatch::audit::{Entry, decode};
use pedwatch::config::Config;
use pedwatch::ped::limits::{Claim, Limits};
use pedwatch::ped::{Clusters, Subject};
use pedwatch::pipeline::message::Envelope;
use pedwatch::pipeline::{Pipeline, open};
use serde_json::Value;

mod generate;

/// The limit: serde's own derive over the same fields, borrowed, and nothing lenient about it.
mod bare {
    use std::borrow::Cow;

    use serde::Deserialize;

    type Text<'a> = Option<Cow<'a, str>>;

    macro_rules! objects {
        ($($name:ident { $($(#[$rename:meta])? $field:ident: $type:ty,)* })*) => {$(
            #[derive(Deserialize)]
            #[serde(default, rename_all = "camelCase")]
            #[derive(Default)]
            #[allow(dead_code, reason = "read to be measured")]
            pub(crate) struct $name<'a> { $($(#[$rename])? #[serde(borrow)] $field: $type,)* }
        )*};
    }

    objects! {
        Entry { log_name: Text<'a>, insert_id: Text<'a>, timestamp: Text<'a>, receive_timestamp: Text<'a>,
            resource: Option<Resource<'a>>, labels: Option<Labels<'a>>, proto_payload: Option<Payload<'a>>, }
        Resource { labels: Option<ClusterLabels<'a>>, }
        ClusterLabels { #[serde(rename = "project_id")] project_id: Text<'a>, location: Text<'a>,
            #[serde(rename = "cluster_name")] cluster_name: Text<'a>, }
        Labels { #[serde(rename = "command.gke.io/dryRun")] dry_run: Text<'a>,
            #[serde(rename = "audit.k8s.io/truncated")] truncated: Text<'a>,
            #[serde(rename = "authorization.k8s.io/decision")] decision: Text<'a>, }
        Payload { service_name: Text<'a>, method_name: Text<'a>, resource_name: Text<'a>,
            authentication_info: Option<AuthenticationInfo<'a>>, request_metadata: Option<RequestMetadata<'a>>,
            request: Option<Body<'a>>, response: Option<Body<'a>>, }
        AuthenticationInfo { principal_email: Text<'a>, principal_subject: Text<'a>, authority_selector: Text<'a>, }
        RequestMetadata { caller_ip: Text<'a>, caller_supplied_user_agent: Text<'a>, }
        Body { #[serde(rename = "@type")] type_url: Text<'a>, api_version: Text<'a>, kind: Text<'a>,
            metadata: Option<Metadata<'a>>, spec: Option<Spec<'a>>, }
        Metadata { name: Text<'a>, namespace: Text<'a>, uid: Text<'a>, resource_version: Text<'a>,
            generation: Option<Number<'a>>, creation_timestamp: Text<'a>, deletion_timestamp: Text<'a>,
            finalizers: Option<Vec<Text<'a>>>, }
        Spec { replicas: Option<Number<'a>>, min_replicas: Option<Number<'a>>, max_replicas: Option<Number<'a>>, }
    }

    /// A number; the lifetime only makes it a field like the others.
    #[derive(Deserialize, Default)]
    #[serde(transparent)]
    #[allow(dead_code, reason = "read to be measured")]
    pub(crate) struct Number<'a>(i64, #[serde(skip)] std::marker::PhantomData<&'a ()>);
}

/// The obvious way: the whole tree, and then some of it, as owned text.
fn naive(bytes: &[u8]) -> Option<(String, String, i64, DateTime<Utc>)> {
    let entry: Value = serde_json::from_slice(bytes).ok()?;
    let payload = &entry["protoPayload"];
    let time = DateTime::parse_from_rfc3339(entry["timestamp"].as_str()?).ok()?;
    Some((
        payload["resourceName"].as_str()?.to_owned(),
        payload["authenticationInfo"]["principalEmail"].as_str()?.to_owned(),
        payload["response"]["spec"]["replicas"].as_i64()?,
        time.to_utc(),
    ))
}

fn pipeline() -> Pipeline {
    Pipeline::new(
        Config::load(None, [generate::PIPELINE].map(|(name, value)| (name.to_owned(), value.to_owned())))
            .expect("defaults")
            .policy,
        Limits::new((0..generate::DEPLOYMENTS).map(claim)),
    )
}

fn claim(number: u64) -> Claim {
    let (namespace, deployment) = generate::deployment(number);
    Claim {
        id: number.to_string(),
        subject: Subject { namespace, deployment, clusters: Clusters::Any },
        effective_at: DateTime::UNIX_EPOCH,
        until: None,
        registered_at: DateTime::UNIX_EPOCH,
        // Within its limit, as most writes are.
        max_replicas: Some(8),
    }
}

fn bench(criterion: &mut Criterion) {
    let pipeline = pipeline();
    for size_kb in [2, 7, 60] {
        // Even numbers are the successful writes: the longest way through the code.
        let entries: Vec<Vec<u8>> = (0..64).map(|number| generate::entry(2 * number, size_kb << 10)).collect();
        let mut group = criterion.benchmark_group(format!("{size_kb} KB"));
        group.throughput(Throughput::Bytes(entries.iter().map(|entry| entry.len() as u64).sum()));
        let mut each = |name: &str, work: &dyn Fn(&[u8])| {
            group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
                bencher.iter(|| entries.iter().for_each(|entry| work(black_box(entry))));
            });
        };
        each("bare typed parse", &|entry| {
            black_box(serde_json::from_slice::<bare::Entry<'_>>(entry).expect("an entry"));
        });
        each("our parse", &|entry| {
            black_box(Entry::parse(entry).expect("an entry"));
        });
        each("decode", &|entry| {
            let entry = Entry::parse(entry).expect("an entry");
            black_box(decode(&entry).expect("a write"));
        });
        each("decode + judge", &|entry| {
            open(entry, Envelope::default(), |_, decoded| {
                if let Ok(pedwatch::audit::Decoded::Writes(writes)) = decoded {
                    writes.iter().for_each(|write| drop(black_box(pipeline.judge(write, &pipeline.limits()))));
                }
            });
        });
        each("serde_json::Value", &|entry| drop(black_box(naive(entry))));
        group.finish();
    }
}

criterion_group! { name = benches; config = Criterion::default().sample_size(20); targets = bench }
criterion_main!(benches);
