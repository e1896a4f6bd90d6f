//! Laws that hold for every input: order, duplication and chunking do not matter, and nothing panics.

use chrono::{DateTime, Duration, Utc};
use pedwatch::pipeline::message::Envelope;
use pedwatch::pipeline::open;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value as Json;

use crate::support::{FACTS, VIEWS, all_entries, block_on, contents, fixture_store, handle};

/// What a run over these chunks leaves in all tables and views.
fn outcome(chunks: &[Vec<Vec<u8>>]) -> Vec<(String, Vec<Json>)> {
    block_on(async {
        let (store, pipeline) = fixture_store().await;
        let mut now = DateTime::<Utc>::UNIX_EPOCH;
        for chunk in chunks {
            now += Duration::seconds(1);
            handle(&store, &pipeline, chunk, now).await;
        }
        contents(&store, &[&FACTS[..], &VIEWS[..]].concat()).await
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_duplication_and_chunking_leaves_the_same_tables(
        order in Just(all_entries()).prop_shuffle(),
        again in prop::collection::vec(any::<Index>(), 0..40),
        cuts in prop::collection::vec(any::<Index>(), 0..12),
    ) {
        let mut shuffled = order;
        for index in again {
            let copy = shuffled[index.index(shuffled.len())].clone();
            shuffled.insert(index.index(shuffled.len() + 1), copy);
        }
        let mut chunks = vec![shuffled];
        for cut in cuts {
            let last = chunks.pop().expect("a chunk");
            let (head, tail) = last.split_at(cut.index(last.len() + 1));
            chunks.extend([head.to_vec(), tail.to_vec()]);
        }
        for ((table, found), (_, expected)) in outcome(&chunks).into_iter().zip(outcome(&[all_entries()])) {
            let differs = |(left, right): (&Json, &Json)| (left != right).then(|| format!("{left}\n{right}"));
            let first = found.iter().zip(&expected).find_map(differs);
            prop_assert!(found == expected, "{table}: {} and {} rows; {first:?}", found.len(), expected.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        open(&bytes, Envelope::default(), |_, _| ());
    }

    #[test]
    fn a_fixture_with_broken_bytes_does_not_panic(
        which in any::<Index>(),
        edits in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6),
        cut in any::<Option<Index>>(),
    ) {
        let entries = all_entries();
        let mut entry = entries[which.index(entries.len())].clone();
        for (at, byte) in edits {
            let at = at.index(entry.len());
            entry[at] = byte;
        }
        if let Some(cut) = cut {
            entry.truncate(cut.index(entry.len()));
        }
        open(&entry, Envelope::default(), |_, _| ());
    }

    #[test]
    fn a_fixture_with_other_values_in_it_is_decoded_or_refused_but_never_lost(
        which in any::<Index>(),
        edits in prop::collection::vec((any::<Index>(), odd_value()), 1..4),
    ) {
        let entries: Vec<Json> = all_entries().iter().filter_map(|entry| serde_json::from_slice(entry).ok()).collect();
        let mut entry = entries[which.index(entries.len())].clone();
        for (at, value) in edits {
            let mut pointers = Vec::new();
            list_pointers(&entry, String::new(), &mut pointers);
            let pointer = &pointers[at.index(pointers.len())];
            *entry.pointer_mut(pointer).expect("listed") = value;
        }
        open(entry.to_string().as_bytes(), Envelope::default(), |_, _| ());
    }
}

fn odd_value() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        any::<String>().prop_map(Json::from),
        Just(Json::Array(vec![Json::Null, Json::from(1)])),
        Just(serde_json::json!({"spec": {"replicas": "5"}, "items": [{}], "status": "Failure"})),
    ]
}

fn list_pointers(value: &Json, at: String, pointers: &mut Vec<String>) {
    match value {
        Json::Object(members) => {
            for (key, value) in members {
                list_pointers(value, format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), pointers);
            }
        }
        Json::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                list_pointers(value, format!("{at}/{index}"), pointers);
            }
        }
        _ => {}
    }
    pointers.push(at);
}
