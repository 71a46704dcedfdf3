//! How an instance comes to be, whether a person asks or an Auto Scaling group.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::compute::{INSTANCES, user_data, when};
use super::storage::{self, Asked};
use super::{arn, catalogue, group_check, images, plug, subnet_check, templates};
use crate::sandbox::call::{Refusal, pairs};
use crate::sandbox::delays;
use crate::sandbox::services::kms;
use crate::sandbox::world::{Due, GLOBAL, Millis, What, World};

/// A launch that AWS would accept.
pub(in crate::sandbox) struct Launch {
    spec: Value,
    image: Value,
    vcpus: u32,
    subnet: String,
    vpc: String,
    zone: String,
    groups: Vec<String>,
    profile: Option<(String, String)>,
    disks: Vec<(String, Asked)>,
}

impl Launch {
    pub fn vcpus(&self) -> u64 {
        u64::from(self.vcpus)
    }
}

/// A parameter of the call, or else of its launch template.
fn merged(world: &World, region: &str, p: &Value) -> Result<Value, Refusal> {
    let mut spec = templates::resolve(world, region, &p["LaunchTemplate"])?;
    if let (Value::Object(all), Value::Object(own)) = (&mut spec, p) {
        for (key, value) in own {
            // Tags of call and template add up; everything else replaces.
            if key == "TagSpecification" {
                let mut both = all
                    .get(key)
                    .and_then(Value::as_array)
                    .cloned()
                    .unwrap_or_default();
                both.extend(value.as_array().cloned().unwrap_or_default());
                all.insert(key.clone(), both.into());
            } else {
                all.insert(key.clone(), value.clone());
            }
        }
    }
    Ok(spec)
}

/// Checks what `RunInstances` checks. `subnet` is where an Auto Scaling group puts this one.
pub(in crate::sandbox) fn prepare(
    world: &World,
    region: &str,
    now: Millis,
    p: &Value,
    subnet: Option<&str>,
) -> Result<Launch, Refusal> {
    let mut spec = merged(world, region, p)?;
    let interface = spec["NetworkInterface"][0].clone();
    if let Some(subnet) = subnet {
        spec["SubnetId"] = subnet.into();
    } else if !interface.is_null() && !spec["SubnetId"].is_null() {
        return Err(Refusal::bad(
            "InvalidParameterCombination",
            "Network interfaces and an instance-level subnet ID may not be specified on the same request",
        ));
    }
    let word = |key: &str| spec[key].as_str().filter(|s| !s.is_empty());

    let image_id = word("ImageId").ok_or_else(|| {
        Refusal::bad(
            "MissingParameter",
            "The request must contain the parameter ImageId",
        )
    })?;
    let image = images::image(world, region, image_id)?;
    let kind = word("InstanceType").unwrap_or("m1.small").to_owned();
    let machine = catalogue::machine(&kind).ok_or_else(|| {
        Refusal::bad(
            "InvalidParameterValue",
            format!("Invalid value '{kind}' for InstanceType."),
        )
    })?;
    if image["architecture"] != "x86_64" {
        return Err(Refusal::bad(
            "InvalidParameterValue",
            format!(
                "The architecture 'x86_64' of the specified instance type does not match the architecture '{}' of the specified AMI.",
                image["architecture"].as_str().unwrap_or_default()
            ),
        ));
    }

    let subnet = word("SubnetId")
        .or_else(|| interface["SubnetId"].as_str())
        .ok_or_else(|| {
            Refusal::bad(
                "MissingInput",
                "No subnets found for the default VPC. Please specify a subnet.",
            )
        })?
        .to_owned();
    let (vpc, zone) = subnet_check(world, region, &subnet)?;
    if !catalogue::offered(world, &kind, &zone) {
        return Err(Refusal::bad(
            "Unsupported",
            format!(
                "Your requested instance type ({kind}) is not supported in your requested Availability Zone ({zone})."
            ),
        ));
    }
    let groups = groups(world, region, &spec, &interface, &vpc)?;
    let profile = profile(world, now, &spec["IamInstanceProfile"])?;
    user_data(&spec)?;
    let disks = disks(world, region, &spec, &image, &zone)?;
    Ok(Launch {
        spec,
        image,
        vcpus: machine.vcpus,
        subnet,
        vpc,
        zone,
        groups,
        profile,
        disks,
    })
}

fn groups(
    world: &World,
    region: &str,
    spec: &Value,
    interface: &Value,
    vpc: &str,
) -> Result<Vec<String>, Refusal> {
    let asked: Vec<String> = [&interface["SecurityGroupId"], &spec["SecurityGroupId"]]
        .into_iter()
        .find_map(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|g| g.as_str().map(Into::into))
        .collect();
    for group in &asked {
        if group_check(world, region, group)? != vpc {
            return Err(Refusal::bad(
                "InvalidParameter",
                format!("Security group {group} and the subnet belong to different networks."),
            ));
        }
    }
    if asked.len() > 5 {
        return Err(Refusal::bad(
            "SecurityGroupsPerInterfaceLimitExceeded",
            "The maximum number of security groups per interface has been reached.",
        ));
    }
    if !asked.is_empty() {
        return Ok(asked);
    }
    // Nobody named one: the VPC's default group.
    Ok(world
        .rows(region, "ec2/security_group")
        .filter(|(_, r)| r.text("vpcId") == vpc && r.text("groupName") == "default")
        .map(|(id, _)| id.clone())
        .collect())
}

/// Name and ARN of the instance profile, once EC2 knows it.
pub(super) fn profile(
    world: &World,
    now: Millis,
    asked: &Value,
) -> Result<Option<(String, String)>, Refusal> {
    let (field, value) = match (asked["Name"].as_str(), asked["Arn"].as_str()) {
        (Some(name), _) => ("name", name),
        (None, Some(arn)) => ("arn", arn),
        (None, None) => return Ok(None),
    };
    let row = world
        .rows(GLOBAL, "iam/instance_profile")
        .find(|(id, r)| {
            *id == value || r.text("InstanceProfileName") == value || r.text("Arn") == value
        })
        .map(|(_, r)| r)
        .filter(|r| r.v["_usableFrom"].as_i64().unwrap_or(r.born) <= now);
    match row {
        Some(row) => Ok(Some((
            row.text("InstanceProfileName").to_owned(),
            row.text("Arn").to_owned(),
        ))),
        None => Err(Refusal::bad(
            "InvalidParameterValue",
            format!(
                "Value ({value}) for parameter iamInstanceProfile.{field} is invalid. Invalid IAM Instance Profile {field}"
            ),
        )),
    }
}

/// The volumes an instance begins with: the image's own, as the mappings change them, and further ones.
fn disks(
    world: &World,
    region: &str,
    spec: &Value,
    image: &Value,
    zone: &str,
) -> Result<Vec<(String, Asked)>, Refusal> {
    let root = image["rootDeviceName"].as_str().unwrap_or("/dev/sda1");
    let least = image["blockDeviceMapping"]["item"][0]["ebs"]["volumeSize"]
        .as_i64()
        .unwrap_or(8);
    let mut found_root = false;
    let mut all = Vec::new();
    for mapping in spec["BlockDeviceMapping"].as_array().into_iter().flatten() {
        let device = mapping["DeviceName"].as_str().unwrap_or_default();
        if device.is_empty() {
            return Err(Refusal::bad(
                "MissingParameter",
                "The request must contain the parameter DeviceName",
            ));
        }
        let mut asked = Asked::from(&mapping["Ebs"]);
        if device == root {
            found_root = true;
            let size = asked.size.unwrap_or(least);
            if size < least {
                return Err(Refusal::bad(
                    "InvalidBlockDeviceMapping",
                    format!(
                        "Volume of size {size}GB is smaller than snapshot of the image, expect size >= {least}GB"
                    ),
                ));
            }
            asked.size = Some(size);
        }
        zone.clone_into(&mut asked.zone);
        asked.check(world, region)?;
        all.push((device.to_owned(), asked));
    }
    if !found_root {
        let mut asked = Asked::from(
            &json!({"VolumeType": "gp3", "VolumeSize": least, "DeleteOnTermination": "true"}),
        );
        zone.clone_into(&mut asked.zone);
        all.insert(0, (root.to_owned(), asked));
    }
    Ok(all)
}

/// How many processors this account may have, unless its world says otherwise: AWS raises what a new account is given by
/// use.
pub(in crate::sandbox) const PROCESSORS: u64 = 1_152;

/// Refuses what would go beyond the account's processors.
pub(in crate::sandbox) fn quota(world: &World, region: &str, more: u64) -> Result<(), Refusal> {
    let used: u64 = world
        .rows(region, INSTANCES)
        .filter(|(_, r)| matches!(super::compute::state(r), "pending" | "running"))
        .filter_map(|(_, r)| catalogue::machine(r.text("instanceType")))
        .map(|m| u64::from(m.vcpus))
        .sum();
    let limit = world.quota("vcpus", PROCESSORS);
    if used + more > limit {
        return Err(Refusal::bad(
            "VcpuLimitExceeded",
            format!(
                "You have requested more vCPU capacity than your current vCPU limit of {limit} allows for the instance bucket that the specified instance type belongs to. Please visit http://aws.amazon.com/contact-us/ec2-request to request an adjustment to this limit."
            ),
        ));
    }
    Ok(())
}

/// The tags asked for a type of resource.
fn tags(spec: &Value, resource: &str) -> BTreeMap<String, String> {
    spec["TagSpecification"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|s| s["ResourceType"] == resource)
        .flat_map(|s| pairs(s["Tag"].as_array().map_or(&[], Vec::as_slice)))
        .collect()
}

/// Makes one instance with its interface and volumes, and answers its id.
pub(in crate::sandbox) fn launch(
    world: &mut World,
    region: &str,
    now: Millis,
    launch: &Launch,
    more_tags: &BTreeMap<String, String>,
) -> String {
    let spec = &launch.spec;
    let id = world.id("i");
    let interface = plug(
        world,
        region,
        now,
        &launch.subnet,
        &launch.groups,
        "",
        &format!("ec2/{id}"),
    );
    let address = world
        .get(region, "ec2/network_interface", &interface)
        .map(|r| r.text("privateIpAddress").to_owned())
        .unwrap_or_default();
    let options = &spec["MetadataOptions"];
    let user_data = spec["UserData"].as_str().unwrap_or_default();
    let mut v = json!({"instanceId": id, "imageId": launch.image["imageId"], "instanceState": {"code": 0, "name": "pending"},
        "instanceType": spec["InstanceType"], "launchTime": when(now), "subnetId": launch.subnet, "vpcId": launch.vpc,
        "placement": {"availabilityZone": launch.zone, "tenancy": "default"}, "privateIpAddress": address,
        "privateDnsName": format!("ip-{}.{region}.compute.internal", address.replace('.', "-")),
        "architecture": "x86_64", "rootDeviceType": "ebs", "rootDeviceName": launch.image["rootDeviceName"],
        "virtualizationType": "hvm", "hypervisor": "xen", "ebsOptimized": spec["EbsOptimized"] == "true",
        "enaSupport": true, "sourceDestCheck": true, "monitoring": {"state": "disabled"}, "amiLaunchIndex": 0,
        "clientToken": spec["ClientToken"].as_str().unwrap_or_default(),
        "metadataOptions": {"state": "applied", "httpEndpoint": "enabled",
            "httpTokens": options["HttpTokens"].as_str().unwrap_or("optional"),
            "httpPutResponseHopLimit": options["HttpPutResponseHopLimit"].as_str().unwrap_or("1")},
        "_protected": spec["DisableApiTermination"] == "true",
        "_userData": STANDARD.decode(user_data).map(|d| String::from_utf8_lossy(&d).into_owned()).unwrap_or_default(),
        "_shutdown": spec["InstanceInitiatedShutdownBehavior"].as_str().unwrap_or("stop"),
        "_arn": arn(world, region, "instance", &id)});
    if let Some((_, arn)) = &launch.profile {
        v["iamInstanceProfile"] =
            json!({"arn": arn, "id": format!("AIPA{}", world.hex(16).to_uppercase())});
    }
    let volume_tags = tags(spec, "volume");
    let mut unusable = None;
    for (device, asked) in &launch.disks {
        if let Err(why) = asked.key(world, region) {
            unusable = Some(why);
        }
        let disk = storage::make(world, region, now, asked, volume_tags.clone());
        storage::plug_in(
            world,
            region,
            now,
            &disk,
            &id,
            device,
            asked.ends_with_instance,
        );
    }
    let row = world.insert(region, INSTANCES, &id, v, now);
    row.tags = tags(spec, "instance");
    row.tags.extend(more_tags.clone());
    match unusable {
        None => row.later(
            now,
            delays::INSTANCE_RUNNING,
            json!({"instanceState": {"code": 16, "name": "running"}}),
        ),
        // The launch is accepted; that the volume cannot be made is found out afterwards.
        Some(why) => {
            super::compute::end(
                world,
                region,
                now,
                &id,
                json!({"code": "Client.InternalError", "message": format!("Client.InternalError: Client error on launch ({why})")}),
            );
        }
    }
    id
}

/// Keeps a row's other plans and adds its end.
pub(super) fn forget_at(row: &mut crate::sandbox::world::Row, at: Millis) {
    row.due.push(Due {
        at,
        what: What::Remove,
    });
}

/// The key a volume is to be encrypted with.
pub(super) fn usable_key(world: &World, region: &str, name: &str) -> Result<String, String> {
    kms::usable(world, region, name)
}
