//! What AWS offers before anybody makes anything: zones, instance types and where they are to be had.

use serde_json::{Value, json};

use super::{Handler, page};
use crate::sandbox::call::{Call, Outcome, Refusal};
use crate::sandbox::world::World;

pub(super) const ACTIONS: &[&str] = &[
    "DescribeAvailabilityZones",
    "DescribeInstanceTypes",
    "DescribeInstanceTypeOfferings",
];

pub(super) fn find(action: &str) -> Option<Handler> {
    Some(match action {
        "DescribeAvailabilityZones" => list_zones,
        "DescribeInstanceTypes" => list_types,
        "DescribeInstanceTypeOfferings" => list_offerings,
        _ => return None,
    })
}

/// The letters of a region's zones as a new account sees them. Most regions have three in a row; numbers from
/// <https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-availability-zones.html>.
fn letters(region: &str) -> &'static str {
    match region {
        "us-east-1" => "abcdef",
        "us-west-2" | "ap-northeast-2" => "abcd",
        "us-west-1" => "ac",
        "ap-northeast-1" => "acd",
        "ca-central-1" => "abd",
        _ => "abc",
    }
}

/// The zones of a region, by name.
pub(in crate::sandbox) fn zones(region: &str) -> Vec<String> {
    letters(region)
        .chars()
        .map(|letter| format!("{region}{letter}"))
        .collect()
}

/// `euw1-az2`: the name of a zone that means the same in every account.
fn zone_id(region: &str, number: usize) -> String {
    let mut parts = region.split('-');
    let area = parts.next().unwrap_or_default();
    let direction: String = match parts.next().unwrap_or_default() {
        "northeast" => "ne".into(),
        "northwest" => "nw".into(),
        "southeast" => "se".into(),
        "southwest" => "sw".into(),
        other => other.chars().take(1).collect(),
    };
    let count = parts.next().unwrap_or_default();
    format!("{area}{direction}{count}-az{number}")
}

fn list_zones(_: &mut World, call: &Call) -> Outcome {
    let asked = call.texts("ZoneName");
    let all = zones(&call.region);
    if let Some(wrong) = asked.iter().find(|z| !all.iter().any(|a| a == **z)) {
        return Err(Refusal::bad(
            "InvalidParameterValue",
            format!("Invalid availability zone: [{wrong}]"),
        ));
    }
    let items: Vec<Value> = all
        .iter()
        .enumerate()
        .filter(|(_, zone)| asked.is_empty() || asked.contains(&zone.as_str()))
        .map(|(n, zone)| {
            json!({"zoneName": zone, "zoneId": zone_id(&call.region, n + 1), "zoneState": "available",
                "zoneType": "availability-zone", "regionName": call.region, "groupName": call.region,
                "networkBorderGroup": call.region, "optInStatus": "opt-in-not-required"})
        })
        .filter(|zone| {
            passes(call, |name| {
                let field = match name {
                    "state" => "zoneState",
                    "zone-type" => "zoneType",
                    "zone-name" => "zoneName",
                    "zone-id" => "zoneId",
                    "region-name" => "regionName",
                    "group-name" => "groupName",
                    "opt-in-status" => "optInStatus",
                    _ => "",
                };
                zone[field].as_str().map(Into::into).into_iter().collect()
            })
        })
        .collect();
    Ok(json!({"availabilityZoneInfo": {"item": items}}).into())
}

/// One size of a family.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Machine {
    pub vcpus: u32,
    pub memory_mib: u32,
    pub burstable: bool,
}

/// Families with a fixed ratio of memory to processors: MiB for each vCPU, and the sizes there are.
/// From <https://docs.aws.amazon.com/ec2/latest/instancetypes/instance-type-specifications.html>.
const FAMILIES: &[(&str, u32, &[&str])] = &[
    (
        "c5",
        2_048,
        &[
            "large", "xlarge", "2xlarge", "4xlarge", "9xlarge", "12xlarge", "18xlarge", "24xlarge",
        ],
    ),
    (
        "c5n",
        2_688,
        &[
            "large", "xlarge", "2xlarge", "4xlarge", "9xlarge", "18xlarge",
        ],
    ),
    ("c6i", 2_048, SIXTH),
    ("c7i", 2_048, SEVENTH),
    (
        "m5",
        4_096,
        &[
            "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge",
        ],
    ),
    ("m6i", 4_096, SIXTH),
    ("m7i", 4_096, SEVENTH),
    ("r6i", 8_192, SIXTH),
];
const SIXTH: &[&str] = &[
    "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge",
    "32xlarge",
];
const SEVENTH: &[&str] = &[
    "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge",
    "48xlarge",
];
/// The burstable family has a table of its own: size, vCPUs, MiB.
const T3: &[(&str, u32, u32)] = &[
    ("nano", 2, 512),
    ("micro", 2, 1_024),
    ("small", 2, 2_048),
    ("medium", 2, 4_096),
    ("large", 2, 8_192),
    ("xlarge", 4, 16_384),
    ("2xlarge", 8, 32_768),
];

/// A type by its name, `c5.2xlarge`.
pub(super) fn machine(name: &str) -> Option<Machine> {
    let (family, size) = name.split_once('.')?;
    if family == "t3" {
        let (_, vcpus, memory_mib) = *T3.iter().find(|(s, _, _)| *s == size)?;
        return Some(Machine {
            vcpus,
            memory_mib,
            burstable: true,
        });
    }
    let (_, ratio, sizes) = FAMILIES.iter().find(|(f, _, _)| *f == family)?;
    if !sizes.contains(&size) {
        return None;
    }
    let vcpus = match size.strip_suffix("xlarge") {
        None => 2,
        Some("") => 4,
        Some(times) => 4 * times.parse::<u32>().ok()?,
    };
    // The large c5n have the full 96 and 192 GiB of their hosts.
    let memory_mib = match name {
        "c5n.9xlarge" => 98_304,
        "c5n.18xlarge" => 196_608,
        _ => vcpus * ratio,
    };
    Some(Machine {
        vcpus,
        memory_mib,
        burstable: false,
    })
}

fn names() -> impl Iterator<Item = String> {
    FAMILIES
        .iter()
        .flat_map(|(family, _, sizes)| sizes.iter().map(move |s| format!("{family}.{s}")))
        .chain(T3.iter().map(|(size, _, _)| format!("t3.{size}")))
}

/// Whether the zone has machines of this type. `us-east-1e` has only generations older than those known
/// here; a world can take a type out of any other zone by setting `offered:TYPE:ZONE` to 0.
pub(super) fn offered(world: &World, name: &str, zone: &str) -> bool {
    zone != "us-east-1e" && world.quota(&format!("offered:{name}:{zone}"), 1) != 0
}

fn list_types(_: &mut World, call: &Call) -> Outcome {
    let asked = call.texts("InstanceType");
    let unknown: Vec<&str> = asked
        .iter()
        .copied()
        .filter(|t| machine(t).is_none())
        .collect();
    if !unknown.is_empty() {
        return Err(Refusal::bad(
            "InvalidInstanceType",
            format!(
                "The following supplied instance types do not exist: [{}]",
                unknown.join(", ")
            ),
        ));
    }
    let items: Vec<Value> = names()
        .filter(|name| asked.is_empty() || asked.contains(&name.as_str()))
        .filter_map(|name| Some(shown_type(&name, machine(&name)?)))
        .filter(|shown| {
            passes(call, |name| match name {
                "instance-type" => texts(&shown["instanceType"]),
                "current-generation" => texts(&shown["currentGeneration"]),
                "processor-info.supported-architecture" => vec!["x86_64".into()],
                "vcpu-info.default-vcpus" => texts(&shown["vCpuInfo"]["defaultVCpus"]),
                "memory-info.size-in-mib" => texts(&shown["memoryInfo"]["sizeInMiB"]),
                "burstable-performance-supported" => texts(&shown["burstablePerformanceSupported"]),
                _ => vec![],
            })
        })
        .collect();
    Ok(page(call, items, "instanceTypeSet").into())
}

fn shown_type(name: &str, machine: Machine) -> Value {
    json!({"instanceType": name, "currentGeneration": true, "freeTierEligible": false,
        "supportedUsageClasses": {"item": ["on-demand", "spot"]}, "supportedRootDeviceTypes": {"item": ["ebs"]},
        "supportedVirtualizationTypes": {"item": ["hvm"]}, "bareMetal": false, "hypervisor": "nitro",
        "processorInfo": {"supportedArchitectures": {"item": ["x86_64"]}},
        "vCpuInfo": {"defaultVCpus": machine.vcpus, "defaultCores": machine.vcpus / 2, "defaultThreadsPerCore": 2},
        "memoryInfo": {"sizeInMiB": machine.memory_mib}, "instanceStorageSupported": false,
        "ebsInfo": {"ebsOptimizedSupport": "default", "encryptionSupport": "supported", "nvmeSupport": "required"},
        "burstablePerformanceSupported": machine.burstable, "hibernationSupported": false,
        "autoRecoverySupported": true})
}

fn list_offerings(world: &mut World, call: &Call) -> Outcome {
    let kind = call.opt("LocationType").unwrap_or("region");
    let places = match kind {
        "region" => vec![call.region.clone()],
        "availability-zone" => zones(&call.region),
        other => {
            return Err(Refusal::bad(
                "InvalidParameterValue",
                format!("The location type '{other}' is not known here"),
            ));
        }
    };
    let items: Vec<Value> = names()
        .flat_map(|name| {
            places
                .iter()
                .map(move |place| (name.clone(), place.clone()))
        })
        .filter(|(name, place)| offered(world, name, place))
        .filter(|(name, place)| {
            passes(call, |filter| match filter {
                "instance-type" => vec![name.clone()],
                "location" => vec![place.clone()],
                _ => vec![],
            })
        })
        .map(|(name, place)| json!({"instanceType": name, "locationType": kind, "location": place}))
        .collect();
    Ok(page(call, items, "instanceTypeOfferingSet").into())
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Null => vec![],
        Value::String(s) => vec![s.clone()],
        other => vec![other.to_string()],
    }
}

/// Whether something passes the call's filters; `have` gives the values a filter of a name looks at.
pub(super) fn passes(call: &Call, have: impl Fn(&str) -> Vec<String>) -> bool {
    call.list("Filter").iter().all(|filter| {
        let name = filter["Name"].as_str().unwrap_or_default();
        let have = have(name);
        filter["Value"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .any(|pattern| have.iter().any(|h| glob(pattern, h)))
    })
}

/// EC2's filter patterns with any number of `*` and `?`.
fn glob(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            text.char_indices()
                .map(|(n, _)| n)
                .chain([text.len()])
                .any(|n| glob(rest, &text[n..]))
        }
        Some(c) => {
            let mut letters = text.chars();
            match letters.next() {
                Some(t) if c == '?' || c == t => glob(&pattern[c.len_utf8()..], letters.as_str()),
                _ => false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_have_the_size_aws_gives_them() {
        let size = |name: &str| machine(name).map(|m| (m.vcpus, m.memory_mib / 1_024));
        assert_eq!(size("c5.9xlarge"), Some((36, 72)));
        assert_eq!(size("c5.large"), Some((2, 4)));
        assert_eq!(size("m5.16xlarge"), Some((64, 256)));
        assert_eq!(size("r6i.2xlarge"), Some((8, 64)));
        assert_eq!(size("c5n.4xlarge"), Some((16, 42)));
        assert_eq!(size("c5n.18xlarge"), Some((72, 192)));
        assert_eq!(size("t3.small"), Some((2, 2)));
        assert_eq!(size("m7i.48xlarge"), Some((192, 768)));
        assert_eq!(size("c5.8xlarge"), None);
        assert_eq!(size("nonsense"), None);
    }

    #[test]
    fn zones_have_their_names_and_ids() {
        assert_eq!(
            zones("eu-west-1"),
            ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
        );
        assert_eq!(zones("us-east-1").len(), 6);
        assert_eq!(zone_id("ap-southeast-2", 3), "apse2-az3");
        assert_eq!(zone_id("eu-central-1", 1), "euc1-az1");
    }

    #[test]
    fn patterns_match_as_in_filters() {
        assert!(glob(
            "ubuntu/*noble-*-server-*",
            "ubuntu/images/ubuntu-noble-24.04-amd64-server-1"
        ));
        assert!(glob("?at", "cat"));
        assert!(!glob("ubuntu", "ubuntu/images"));
    }
}
