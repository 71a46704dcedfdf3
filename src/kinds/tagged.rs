//! Whose a thing is, for the services whose listings show no tags.

use std::collections::HashMap;

use crate::cloud::Fault;
use crate::resource::{Address, Change, CloudCx, KNOWN_LATER, Kind, Outputs, PlanCx, Tags};

/// A thing of this site: its address, and the tags it carries.
#[derive(Debug, Clone)]
pub(super) struct Owned {
    pub address: Address,
    pub tags: Tags,
}

/// What is known of a thing without asking its own service.
#[derive(Debug)]
pub(super) enum Whose {
    /// The tagging API lists it.
    Listed(Owned),
    /// The journal knows it, but the tagging API does not list it yet: its service must be asked for the tags.
    Remembered(Address),
    /// Not of this site, or of another kind.
    Foreign,
}

/// Looks a thing up by ARN in the shared listing, then by ARN or id in the journal's memory.
pub(super) async fn whose(kind: &Kind, arn: &str, id: &str, cx: &CloudCx) -> Result<Whose, Fault> {
    if let Some(tags) = cx.listing().await?.by_arn.get(arn) {
        return Ok(match tags.address().filter(|a| a.kind() == kind) {
            Some(address) => Whose::Listed(Owned {
                address,
                tags: tags.ours(),
            }),
            None => Whose::Foreign,
        });
    }
    let known = cx.address_of(arn, id).await?;
    Ok(match known.filter(|a| a.kind() == kind) {
        Some(address) => Whose::Remembered(address),
        None => Whose::Foreign,
    })
}

/// The owner that a thing's own tags name, if it is this site and a thing of this kind.
pub(super) fn owned_by_tags(kind: &Kind, tags: &Tags, cx: &CloudCx) -> Option<Owned> {
    let site = tags.get(crate::resource::SITE_TAG)?;
    let address = tags.address()?;
    (site == cx.site() && address.kind() == kind).then(|| Owned {
        address,
        tags: tags.ours(),
    })
}

/// A thing of this site, by the shared listing. What that does not show yet, but bears a name of this site, is asked for
/// its tags: a handful in a site.
pub(super) async fn owned_or_asked(
    kind: &Kind,
    arn: &str,
    name: &str,
    cx: &CloudCx,
    ask: impl AsyncFnOnce() -> Result<Tags, Fault>,
) -> Result<Option<Owned>, Fault> {
    let mut tags = cx.tags_by_arn(arn).await?.ours();
    if tags.address().is_none() {
        if !name.starts_with(&format!("gantry-{}-", cx.site())) {
            return Ok(None);
        }
        tags = match ask().await {
            Ok(tags) => tags,
            // Tags cannot be read while the thing is being made or is on its way out.
            Err(fault) if fault.is_gone() => return Ok(None),
            Err(Fault::Later { .. }) => return Ok(None),
            Err(fault) => return Err(fault),
        };
    }
    Ok(owned_by_tags(kind, &tags, cx))
}

/// The owner of a thing that the journal remembers, by its tags of now: somebody may have taken ours off (that
/// is drift), but what carries another site's tag is another site's.
pub(super) fn still_owned(address: Address, tags: &Tags, cx: &CloudCx) -> Option<Owned> {
    let site = tags.get(crate::resource::SITE_TAG);
    (site.is_none() || site == Some(cx.site())).then(|| Owned {
        address,
        tags: tags.ours(),
    })
}

/// Tags that are on the thing and should not be, by the difference that a plan found.
pub(super) fn surplus(change: Change<'_>, want: &Tags) -> Vec<String> {
    let Change::Fields(diff) = change else {
        return Vec::new();
    };
    diff.fields
        .iter()
        .filter(|f| f.field == "tags")
        .filter_map(|f| f.have.as_object())
        .flat_map(|have| have.keys())
        .filter(|key| want.get(key).is_none())
        .cloned()
        .collect()
}

/// Tags as some of the SDK's calls take them.
pub(super) fn tag_map(tags: &Tags) -> HashMap<String, String> {
    tags.iter()
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

/// The text or empty, for fields of answers that are always there.
pub(super) fn text(value: Option<&str>) -> String {
    value.unwrap_or_default().to_owned()
}

/// For removals: gone already is fine.
pub(super) fn gone_is_fine<T>(answer: Result<T, Fault>) -> Result<(), Fault> {
    match answer {
        Err(fault) if !fault.is_gone() => Err(fault),
        _ => Ok(()),
    }
}

/// One text of a resource's output, by its address: for pointing at kinds of any sort without their types.
pub(super) fn output_text(outputs: &Outputs, of: &Address, key: &str) -> Option<String> {
    Some(outputs.0.get(of)?.get(key)?.as_str()?.to_owned())
}

/// [`output_text`] for a plan: "known later" for what is still to be made.
pub(super) fn want_text(cx: &PlanCx<'_>, of: &Address, key: &str) -> String {
    let known = output_text(cx.outputs, of, key).filter(|_| !cx.later.contains(of));
    known.unwrap_or_else(|| KNOWN_LATER.to_owned())
}

/// The partition of a region, for ARNs that AWS does not hand out itself.
pub(super) fn partition(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "aws-cn"
    } else if region.starts_with("us-gov-") {
        "aws-us-gov"
    } else {
        "aws"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Diff;

    #[test]
    fn surplus_tags_are_those_nobody_wants() {
        let want = Tags::new().with("a", "1");
        let have = Tags::new().with("a", "2").with("b", "3");
        let diff = Diff::new().field("tags", &want, &have);
        assert_eq!(surplus(Change::Fields(&diff), &want), ["b"]);
        assert!(surplus(Change::All, &want).is_empty());
    }
}
