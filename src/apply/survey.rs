//! One reading of the live world: a listing per kind, all kinds at once.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::try_join_all;
use serde_json::Value;

use crate::cloud::Fault;
use crate::journal::{Phase, State};
use crate::plan::Survey;
use crate::resource::{Address, AnyFound, CloudCx, KindInfo, Readiness};

/// How often, and how long apart, a listing is asked again when memory says something must be there.
const LOOKS: u32 = 4;
const BETWEEN_LOOKS: Duration = Duration::from_secs(3);

/// Surveys these kinds. What the journal remembers and no listing shows is asked for by id: a listing by tag
/// lags behind, and a tag can be taken off by hand. `cx` is fresh and knows what the journal remembers.
pub async fn survey(
    cx: &CloudCx,
    state: &State,
    kinds: &[&'static KindInfo],
) -> Result<Survey, Fault> {
    let mut listed = list(cx, kinds).await?;
    for look in 1..=LOOKS {
        let missing = missing(cx, state, &listed, kinds).await?;
        if missing.is_empty() {
            break;
        }
        if look == LOOKS {
            listed.extend(missing.into_values().flatten());
            break;
        }
        cx.clock().sleep(BETWEEN_LOOKS).await;
        let again: Vec<_> = kinds
            .iter()
            .copied()
            .filter(|k| missing.contains_key(k.kind.as_str()))
            .collect();
        let words: Vec<_> = again.iter().map(|k| k.kind.clone()).collect();
        listed.retain(|f| !words.contains(f.address.kind()));
        listed.extend(list(&cx.fresh(state.known()), &again).await?);
    }
    Ok(Survey::new(listed, state))
}

async fn list(cx: &CloudCx, kinds: &[&'static KindInfo]) -> Result<Vec<AnyFound>, Fault> {
    let each = try_join_all(kinds.iter().map(|kind| (kind.survey)(cx))).await?;
    Ok(each.into_iter().flatten().collect())
}

/// Things remembered as made, that no listing shows although AWS knows their ids; by kind.
async fn missing(
    cx: &CloudCx,
    state: &State,
    listed: &[AnyFound],
    kinds: &[&'static KindInfo],
) -> Result<BTreeMap<String, Vec<AnyFound>>, Fault> {
    let mut asked: BTreeMap<&str, Vec<(&Address, &Value)>> = BTreeMap::new();
    let mut missing: BTreeMap<String, Vec<AnyFound>> = BTreeMap::new();
    for (address, entry) in &state.resources {
        if listed.iter().any(|f| f.address == *address) {
            continue;
        }
        // Nobody knows whether an intended thing was made; only listings can tell, and they lag.
        if entry.phase == Phase::Intended {
            missing.entry(address.kind().to_string()).or_default();
        } else if !entry.id.is_null() {
            asked
                .entry(address.kind().as_str())
                .or_default()
                .push((address, &entry.id));
        }
    }
    for (word, things) in asked {
        let Some(kind) = kinds.iter().find(|k| k.kind.as_str() == word) else {
            continue;
        };
        let ids: Vec<Value> = things.iter().map(|(_, id)| (*id).clone()).collect();
        for ((address, id), readiness) in things.into_iter().zip((kind.poll)(&ids, cx).await?) {
            if readiness != Readiness::Absent {
                // Shown as pending: what cannot be listed cannot be compared, so install finishes it once more.
                let readiness = Readiness::Pending("not listed under this site's tags".into());
                let found = AnyFound {
                    address: address.clone(),
                    id: id.clone(),
                    live: Value::Null,
                    readiness,
                };
                missing.entry(word.to_owned()).or_default().push(found);
            }
        }
    }
    Ok(missing)
}
