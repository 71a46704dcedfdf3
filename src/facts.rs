//! What must be asked of AWS before the blueprint can be drawn, so that drawing it is pure: zones, machine images
//! and the hosted zone.
//!
//! Choices that could come out otherwise next month (a newer image, another order of zones) are pinned: the caller
//! remembers [`Pins`] and hands them in again, so that a second install wants the same world as the first.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{Filter, LocationType};
use miette::Diagnostic;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cloud::Fault;
use crate::kinds::route53::hosted_zones;
use crate::profile::{Architecture, InstanceType, Profile};
use crate::resource::CloudCx;
use crate::site::{AccountId, Domain, Region, Site};

/// What was looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub account: AccountId,
    pub region: Region,
    /// The machine image for each architecture in use, [`Architecture`]'s word to AMI id.
    pub images: BTreeMap<String, String>,
    /// The zones to build in, in a fixed order: a zone's place decides its address range.
    pub zones: Vec<String>,
    /// The public hosted zones that hold the site's names, the one that the site file prefers first; none where DNS is
    /// somebody else's.
    pub hosted_zones: Vec<HostedZone>,
}

/// A public hosted zone of Route 53.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostedZone {
    /// Without `/hostedzone/` before it.
    pub id: String,
    pub name: Domain,
}

/// Choices to keep from one run to the next: `zones`, `image-x86_64`, `image-arm64`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pins(pub BTreeMap<String, String>);

impl Facts {
    /// The image that machines of this type start from; empty if the type was not among those looked up.
    pub fn image(&self, machine: &InstanceType) -> String {
        self.images
            .get(word(machine.architecture()))
            .cloned()
            .unwrap_or_default()
    }

    /// The choices to remember.
    pub fn pins(&self) -> Pins {
        let images = self
            .images
            .iter()
            .map(|(architecture, id)| (format!("image-{architecture}"), id.clone()));
        Pins(
            images
                .chain([("zones".to_owned(), self.zones.join(","))])
                .collect(),
        )
    }

    /// The hosted zone that holds this name.
    pub fn zone_of(&self, name: &Domain) -> Option<&HostedZone> {
        self.hosted_zones
            .iter()
            .find(|zone| name.is_within(&zone.name))
    }
}

/// Why the blueprint cannot be drawn.
#[derive(Debug, Error, Diagnostic)]
pub enum FactsError {
    #[error(transparent)]
    Aws(#[from] Fault),

    #[error("{machine} is not offered in {zone}")]
    #[diagnostic(help(
        "the site lives there already: set another type under [nodes.ROLE], one that every zone of the site has"
    ))]
    NotOfferedInZone { machine: String, zone: String },

    #[error("{region} has {found} zones for this site, and it needs {wanted}: {missing}")]
    #[diagnostic(help(
        "set another instance type under [nodes.ROLE], take fewer zones in [network], or another region"
    ))]
    TooFewZones {
        region: String,
        wanted: usize,
        found: usize,
        missing: String,
    },

    #[error("there is no image of Ubuntu 24.04 for {architecture} by Canonical in {region}")]
    #[diagnostic(help(
        "Canonical's account is 099720109477; ask whether your organisation forbids its images"
    ))]
    NoImage {
        architecture: String,
        region: String,
    },

    #[error("this account has no public hosted zone {name}")]
    #[diagnostic(help(
        "correct `hosted_zone` in [tls]; or leave it out, and install prints the records to create by hand"
    ))]
    NoHostedZone { name: String },
}

/// Canonical, as listed on <https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/>.
const CANONICAL: &str = "099720109477";

/// Looks everything up: one listing of zones, one of offerings, one of images for each architecture that is not
/// pinned, and one of hosted zones.
pub async fn look_up(
    cx: &CloudCx,
    site: &Site,
    profile: &Profile,
    pins: &Pins,
) -> Result<Facts, FactsError> {
    let machines = profile.machines();
    let account = cx
        .scope()
        .account
        .parse()
        .map_err(|_| Fault::internal("the caller's account is not twelve digits"))?;
    let (zones, images, hosted_zones) = futures::try_join!(
        zones(cx, site, &machines, pins),
        images(cx, site, &machines, pins),
        zones_of_names(cx, site),
    )?;
    Ok(Facts {
        account,
        region: site.site.region.clone(),
        images,
        zones,
        hosted_zones,
    })
}

impl Profile {
    /// Every EC2 instance type of this size, once each.
    pub fn machines(&self) -> BTreeSet<InstanceType> {
        let fixed = [
            &self.sidekiq,
            &self.praefect,
            &self.monitoring,
            &self.bastion,
        ]
        .into_iter()
        .flatten()
        .map(|group| &group.instance_type);
        fixed
            .chain(self.single_box.as_ref().map(|node| &node.instance_type))
            .chain(self.rails.as_ref().map(|group| &group.instance_type))
            .chain(self.gitaly.as_ref().map(|group| &group.instance_type))
            .cloned()
            .collect()
    }
}

async fn zones(
    cx: &CloudCx,
    site: &Site,
    machines: &BTreeSet<InstanceType>,
    pins: &Pins,
) -> Result<Vec<String>, FactsError> {
    let wanted = usize::from(site.network.zones);
    let pinned: Vec<String> = pins
        .0
        .get("zones")
        .map(|zones| zones.split(',').map(str::to_owned).collect())
        .unwrap_or_default();
    let available = async {
        // Nothing is chosen where all is pinned.
        if pinned.len() >= wanted {
            return Ok(BTreeSet::new());
        }
        available_zones(cx).await
    };
    let (available, offered) = futures::try_join!(available, offerings(cx, site, machines))?;
    choose(
        site.site.region.as_str(),
        wanted,
        &pinned,
        &available,
        machines,
        &offered,
    )
}

/// The pinned zones first, then the others by name, as many as wanted, each offering every machine.
fn choose(
    region: &str,
    wanted: usize,
    pinned: &[String],
    available: &BTreeSet<String>,
    machines: &BTreeSet<InstanceType>,
    offered: &BTreeSet<(String, String)>,
) -> Result<Vec<String>, FactsError> {
    let missing_in = |zone: &str| {
        machines
            .iter()
            .find(|machine| !offered.contains(&(zone.to_owned(), machine.to_string())))
    };
    let kept = &pinned[..pinned.len().min(wanted)];
    for zone in kept {
        if let Some(machine) = missing_in(zone) {
            return Err(FactsError::NotOfferedInZone {
                machine: machine.to_string(),
                zone: zone.clone(),
            });
        }
    }
    let more = available
        .iter()
        .filter(|zone| !kept.contains(zone) && missing_in(zone).is_none())
        .cloned();
    let chosen: Vec<String> = kept.iter().cloned().chain(more).take(wanted).collect();
    if chosen.len() == wanted {
        return Ok(chosen);
    }
    let lacks: Vec<String> = available
        .iter()
        .filter_map(|zone| Some(format!("{zone} has no {}", missing_in(zone)?)))
        .collect();
    Err(FactsError::TooFewZones {
        region: region.to_owned(),
        wanted,
        found: chosen.len(),
        missing: if lacks.is_empty() {
            "there are no others".to_owned()
        } else {
            lacks.join(", ")
        },
    })
}

async fn available_zones(cx: &CloudCx) -> Result<BTreeSet<String>, FactsError> {
    // Local and Wavelength zones have neither RDS nor network load balancers.
    let answer = cx
        .read("ec2:DescribeAvailabilityZones", || {
            cx.aws()
                .ec2
                .describe_availability_zones()
                .filters(filter("zone-type", ["availability-zone"]))
                .filters(filter("state", ["available"]))
                .send()
        })
        .await?;
    Ok(answer
        .availability_zones()
        .iter()
        .filter_map(|zone| zone.zone_name().map(str::to_owned))
        .collect())
}

/// Zone and type, for every type the site uses.
async fn offerings(
    cx: &CloudCx,
    site: &Site,
    machines: &BTreeSet<InstanceType>,
) -> Result<BTreeSet<(String, String)>, FactsError> {
    let listed = cx
        .read("ec2:DescribeInstanceTypeOfferings", || {
            cx.aws()
                .ec2
                .describe_instance_type_offerings()
                .location_type(LocationType::AvailabilityZone)
                .filters(filter(
                    "instance-type",
                    machines.iter().map(InstanceType::as_str),
                ))
                .into_paginator()
                .items()
                .send()
                .collect::<Result<Vec<_>, _>>()
        })
        .await?;
    let region = site.site.region.as_str();
    Ok(listed
        .iter()
        .filter_map(|offer| {
            Some((
                offer.location()?.to_owned(),
                offer.instance_type()?.as_str().to_owned(),
            ))
        })
        .filter(|(zone, _)| zone.starts_with(region))
        .collect())
}

async fn images(
    cx: &CloudCx,
    site: &Site,
    machines: &BTreeSet<InstanceType>,
    pins: &Pins,
) -> Result<BTreeMap<String, String>, FactsError> {
    let words: BTreeSet<&str> = machines.iter().map(|m| word(m.architecture())).collect();
    let mut images = BTreeMap::new();
    for architecture in words {
        let image = match pins.0.get(&format!("image-{architecture}")) {
            Some(pinned) => pinned.clone(),
            None => newest_image(cx, site, architecture).await?,
        };
        images.insert(architecture.to_owned(), image);
    }
    Ok(images)
}

async fn newest_image(cx: &CloudCx, site: &Site, architecture: &str) -> Result<String, FactsError> {
    // Canonical calls x86_64 amd64 in names; hvm-ssd-gp3 is the series whose root volume is gp3.
    let name = match architecture {
        "arm64" => "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-arm64-server-*",
        _ => "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*",
    };
    let answer = cx
        .read("ec2:DescribeImages", || {
            cx.aws()
                .ec2
                .describe_images()
                .owners(CANONICAL)
                .filters(filter("name", [name]))
                .filters(filter("architecture", [architecture]))
                .filters(filter("state", ["available"]))
                .send()
        })
        .await?;
    // Dates are ISO 8601 and in UTC: they sort as texts.
    answer
        .images()
        .iter()
        .filter_map(|image| Some((image.creation_date().unwrap_or_default(), image.image_id()?)))
        .max()
        .map(|(_, id)| id.to_owned())
        .ok_or_else(|| FactsError::NoImage {
            architecture: architecture.to_owned(),
            region: site.site.region.to_string(),
        })
}

/// The zone of each name of the site: the one that the site file names, where it holds the name, or the longest.
async fn zones_of_names(cx: &CloudCx, site: &Site) -> Result<Vec<HostedZone>, FactsError> {
    let listed = hosted_zones(cx).await?;
    let zones: Vec<HostedZone> = listed
        .iter()
        .filter(|zone| !zone.config().is_some_and(|c| c.private_zone()))
        .filter_map(|zone| {
            Some(HostedZone {
                id: zone.id().trim_start_matches("/hostedzone/").to_owned(),
                name: zone.name().trim_end_matches('.').parse().ok()?,
            })
        })
        .collect();
    let named = match &site.tls.hosted_zone {
        Some(named) => zones
            .iter()
            .filter(|zone| zone.name == *named)
            .min_by(|a, b| a.id.cmp(&b.id))
            .map(Some)
            .ok_or_else(|| FactsError::NoHostedZone {
                name: named.to_string(),
            })?,
        None => None,
    };
    Ok(preferred(site, named, &zones))
}

/// The zones that are wanted, the preferred one first and then the longer before the shorter: the first that holds a name
/// is its zone.
fn preferred(site: &Site, named: Option<&HostedZone>, zones: &[HostedZone]) -> Vec<HostedZone> {
    let mut wanted: Vec<HostedZone> = site
        .names()
        .filter(|name| !named.is_some_and(|zone| name.is_within(&zone.name)))
        .filter_map(|name| longest(name, zones.iter().cloned()))
        .collect();
    wanted.sort_by_key(|zone| (std::cmp::Reverse(zone.name.as_str().len()), zone.id.clone()));
    wanted.dedup();
    named.cloned().into_iter().chain(wanted).collect()
}

/// The zone with the longest name that holds the domain; of several of one name the first by id, so that every run
/// takes the same.
fn longest(domain: &Domain, zones: impl Iterator<Item = HostedZone>) -> Option<HostedZone> {
    zones
        .filter(|zone| domain.is_within(&zone.name))
        .min_by_key(|zone| (std::cmp::Reverse(zone.name.as_str().len()), zone.id.clone()))
}

/// AWS's word for an architecture.
fn word(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "x86_64",
        Architecture::Arm64 => "arm64",
    }
}

fn filter<'a>(name: &str, values: impl IntoIterator<Item = &'a str>) -> Filter {
    Filter::builder()
        .name(name)
        .set_values(Some(values.into_iter().map(str::to_owned).collect()))
        .build()
}

impl Facts {
    /// Facts as AWS might have given them, for tests and for drawing a blueprint without an account: three zones
    /// `a`, `b`, `c` and so on, and a hosted zone one label above the domain.
    pub fn imagined(site: &Site, profile: &Profile) -> Self {
        let letters = ('a'..='f').take(usize::from(site.network.zones));
        let parent = site
            .site
            .domain
            .as_str()
            .split_once('.')
            .and_then(|(_, parent)| parent.parse().ok());
        let images = profile
            .machines()
            .iter()
            .map(|machine| word(machine.architecture()))
            .map(|word| (word.to_owned(), format!("ami-{word:0>17}")))
            .collect();
        Self {
            account: site
                .site
                .account
                .clone()
                .or_else(|| "123456789012".parse().ok())
                .expect("twelve digits are an account"),
            region: site.site.region.clone(),
            images,
            zones: letters
                .map(|letter| format!("{}{letter}", site.site.region))
                .collect(),
            hosted_zones: parent
                .map(|name| HostedZone {
                    id: "Z0123456789ABCDEFGHIJ".to_owned(),
                    name,
                })
                .into_iter()
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set<const N: usize>(words: [&str; N]) -> BTreeSet<String> {
        words.into_iter().map(str::to_owned).collect()
    }

    fn machines(words: &[&str]) -> BTreeSet<InstanceType> {
        words.iter().map(|word| word.parse().unwrap()).collect()
    }

    fn offered(pairs: &[(&str, &str)]) -> BTreeSet<(String, String)> {
        pairs
            .iter()
            .map(|(zone, machine)| ((*zone).to_owned(), (*machine).to_owned()))
            .collect()
    }

    const EVERYWHERE: [(&str, &str); 3] = [
        ("r-1a", "c5.large"),
        ("r-1b", "c5.large"),
        ("r-1c", "c5.large"),
    ];

    fn chosen(
        wanted: usize,
        pinned: &[&str],
        offers: &[(&str, &str)],
    ) -> Result<Vec<String>, String> {
        let pinned: Vec<String> = pinned.iter().map(|zone| (*zone).to_owned()).collect();
        choose(
            "r-1",
            wanted,
            &pinned,
            &set(["r-1a", "r-1b", "r-1c"]),
            &machines(&["c5.large"]),
            &offered(offers),
        )
        .map_err(|error| error.to_string())
    }

    #[test]
    fn zones_by_name_where_everything_is_offered() {
        assert_eq!(chosen(2, &[], &EVERYWHERE).unwrap(), ["r-1a", "r-1b"]);
        assert_eq!(chosen(2, &[], &EVERYWHERE[1..]).unwrap(), ["r-1b", "r-1c"]);
    }

    #[test]
    fn pinned_zones_stay_and_keep_their_places() {
        assert_eq!(
            chosen(3, &["r-1c", "r-1a"], &EVERYWHERE).unwrap(),
            ["r-1c", "r-1a", "r-1b"]
        );
        assert_eq!(chosen(1, &["r-1c", "r-1a"], &EVERYWHERE).unwrap(), ["r-1c"]);
        assert_eq!(
            chosen(2, &["r-1a", "r-1b"], &EVERYWHERE[1..]).unwrap_err(),
            "c5.large is not offered in r-1a"
        );
    }

    #[test]
    fn too_few_zones_name_what_is_missing_where() {
        assert_eq!(
            chosen(3, &[], &EVERYWHERE[..2]).unwrap_err(),
            "r-1 has 2 zones for this site, and it needs 3: r-1c has no c5.large"
        );
    }

    #[test]
    fn the_longest_zone_holds_the_domain() {
        let zone = |id: &str, name: &str| HostedZone {
            id: id.to_owned(),
            name: name.parse().unwrap(),
        };
        let zones = [
            zone("Z1", "example.com"),
            zone("Z3", "acme.example.com"),
            zone("Z2", "acme.example.com"),
            zone("Z4", "me.example.com"),
        ];
        let found = |domain: &str| {
            longest(&domain.parse().unwrap(), zones.iter().cloned()).map(|zone| zone.id)
        };
        assert_eq!(found("gitlab.acme.example.com").as_deref(), Some("Z2"));
        assert_eq!(found("gitlab.example.com").as_deref(), Some("Z1"));
        assert_eq!(found("gitlab.example.org"), None);
    }

    #[test]
    fn each_name_has_the_zone_that_holds_it() {
        let zone = |id: &str, name: &str| HostedZone {
            id: id.to_owned(),
            name: name.parse().unwrap(),
        };
        let zones = [
            zone("Z1", "example.com"),
            zone("Z2", "acme.example.com"),
            zone("Z3", "pages.example"),
            zone("Z4", "unused.example"),
        ];
        let mut site = Site::defaults_for(
            crate::profile::ProfileName::Poc2k,
            "acme".parse().unwrap(),
            "gitlab.acme.example.com".parse().unwrap(),
            "eu-west-1".parse().unwrap(),
        );
        site.front.registry_domain = Some("registry.example.com".parse().unwrap());
        site.front.pages_domain = Some("pages.example".parse().unwrap());
        let ids = |named: Option<&HostedZone>| {
            let all = preferred(&site, named, &zones).into_iter().map(|z| z.id);
            all.collect::<Vec<_>>()
        };
        assert_eq!(ids(None), ["Z2", "Z3", "Z1"]);
        assert_eq!(ids(Some(&zones[0])), ["Z1", "Z3"], "the named one first");
    }
}
