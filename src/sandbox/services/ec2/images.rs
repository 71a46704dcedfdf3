//! The public machine images: Ubuntu by Canonical and GitLab's own, the same names in every region and other
//! ids in each, as in AWS.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::catalogue::passes;
use super::{Handler, page, shown};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::World;

pub(super) const ACTIONS: &[&str] = &["DescribeImages"];

pub(super) fn find(action: &str) -> Option<Handler> {
    match action {
        "DescribeImages" => Some(list),
        _ => None,
    }
}

const CANONICAL: &str = "099720109477";
const GITLAB: &str = "782774275127";

const UBUNTU: &str = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-";
/// Serials of Canonical's builds, the newest last.
const UBUNTU_SERIALS: &[&str] = &["20260218", "20260515", "20260807", "20261023", "20261112"];
/// Releases GitLab made images of, with the day, the newest last.
const GITLAB_RELEASES: &[(&str, &str)] = &[
    ("18.11.6", "20260611"),
    ("19.3.4", "20260923"),
    ("19.4.2", "20261021"),
    ("19.5.2", "20261105"),
    ("19.5.3", "20261118"),
];

/// One public image.
pub(in crate::sandbox) struct Image {
    pub id: String,
    pub name: String,
    pub owner: &'static str,
    pub architecture: &'static str,
    pub root_gib: i64,
    date: String,
}

/// All public images of a region.
pub(in crate::sandbox) fn public(region: &str) -> Vec<Image> {
    let image = |name: String, owner, arm: bool, root_gib, day: &str| Image {
        id: id(region, &name),
        name,
        owner,
        architecture: if arm { "arm64" } else { "x86_64" },
        root_gib,
        date: format!("{}-{}-{}T06:20:00.000Z", &day[..4], &day[4..6], &day[6..8]),
    };
    let mut all = Vec::new();
    for serial in UBUNTU_SERIALS {
        for (word, arm) in [("amd64", false), ("arm64", true)] {
            let name = format!("{UBUNTU}{word}-server-{serial}");
            all.push(image(name, CANONICAL, arm, 8, serial));
        }
    }
    for (version, day) in GITLAB_RELEASES {
        for edition in ["EE", "CE"] {
            for (suffix, arm) in [("", false), (" (ARM64)", true)] {
                let name = format!("GitLab {edition} {version}{suffix}");
                all.push(image(name, GITLAB, arm, 10, day));
            }
        }
    }
    all
}

/// The newest Ubuntu image: what Canonical's public parameter names.
pub(in crate::sandbox) fn newest_ubuntu(region: &str, word: &str) -> Option<Image> {
    let prefix = format!("{UBUNTU}{word}-");
    public(region)
        .into_iter()
        .filter(|i| i.name.starts_with(&prefix))
        .max_by(|a, b| a.name.cmp(&b.name))
}

fn id(region: &str, name: &str) -> String {
    let digest: String = Sha256::digest(format!("{region}/{name}"))
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("ami-0{}", &digest[..16])
}

/// An image by id: what its root volume must at least hold and which processors run it.
pub(super) fn image(world: &World, region: &str, id: &str) -> Result<Value, Refusal> {
    all(world, region)
        .into_iter()
        .find(|i| i["imageId"] == id)
        .ok_or_else(|| {
            if id.starts_with("ami-") {
                Refusal::bad(
                    "InvalidAMIID.NotFound",
                    format!("The image id '[{id}]' does not exist"),
                )
            } else {
                Refusal::bad("InvalidAMIID.Malformed", format!("Invalid id: \"{id}\""))
            }
        })
}

/// Public images and the account's own.
fn all(world: &World, region: &str) -> Vec<Value> {
    let own = world.rows(region, "ec2/image").map(|(_, r)| shown(r));
    public(region).iter().map(shown_image).chain(own).collect()
}

fn shown_image(image: &Image) -> Value {
    json!({"imageId": image.id, "imageLocation": format!("{}/{}", image.owner, image.name), "imageState": "available",
        "imageOwnerId": image.owner, "creationDate": image.date, "isPublic": true,
        "architecture": image.architecture, "imageType": "machine", "name": image.name, "description": image.name,
        "platformDetails": "Linux/UNIX", "usageOperation": "RunInstances", "rootDeviceType": "ebs",
        "rootDeviceName": "/dev/sda1", "virtualizationType": "hvm", "hypervisor": "xen", "enaSupport": true,
        "sriovNetSupport": "simple", "bootMode": "uefi-preferred", "imdsSupport": "v2.0",
        "blockDeviceMapping": {"item": [{"deviceName": "/dev/sda1", "ebs": {
            "snapshotId": format!("snap-{}", &image.id[4..]), "volumeSize": image.root_gib, "volumeType": "gp3",
            "deleteOnTermination": true, "encrypted": false}}]}})
}

fn list(world: &mut World, call: &Call) -> Outcome {
    let ids = call.texts("ImageId");
    for asked in &ids {
        image(world, &call.region, asked)?;
    }
    let owners = call.texts("Owner");
    let items: Vec<Value> = all(world, &call.region)
        .into_iter()
        .filter(|i| ids.is_empty() || ids.iter().any(|id| i["imageId"] == *id))
        .filter(|i| {
            owners.is_empty()
                || owners.iter().any(|o| {
                    let owner = i["imageOwnerId"].as_str().unwrap_or_default();
                    owner == *o
                        || *o == "self" && owner == world.account
                        || *o == "amazon" && owner == CANONICAL
                })
        })
        .filter(|i| {
            passes(call, |name| {
                let field = match name {
                    "name" => "name",
                    "image-id" => "imageId",
                    "owner-id" => "imageOwnerId",
                    "architecture" => "architecture",
                    "state" => "imageState",
                    "virtualization-type" => "virtualizationType",
                    "root-device-type" => "rootDeviceType",
                    "is-public" => "isPublic",
                    _ => return tagged(i, name),
                };
                match &i[field] {
                    Value::String(s) => vec![s.clone()],
                    Value::Null => vec![],
                    other => vec![other.to_string()],
                }
            })
        })
        .collect();
    Ok(page(call, items, "imagesSet").into())
}

fn tagged(image: &Value, filter: &str) -> Vec<String> {
    let Some(key) = filter.strip_prefix("tag:") else {
        return vec![];
    };
    image["tagSet"]["item"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|t| t["key"] == key)
        .filter_map(|t| t["value"].as_str().map(Into::into))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_other_ids_in_other_regions() {
        let [a, b] = ["eu-west-1", "us-east-1"].map(|r| newest_ubuntu(r, "amd64").unwrap());
        assert_eq!(a.name, b.name);
        assert_ne!(a.id, b.id);
        assert!(a.name.ends_with("20261112"));
    }
}
