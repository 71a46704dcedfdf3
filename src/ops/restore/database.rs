//! The database: a new RDS instance from a snapshot, which then takes the place of the present one.
//!
//! RDS restores only into a new instance with a new endpoint
//! (<https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_RestoreFromSnapshot.html>). An endpoint follows its
//! instance's identifier, so the two are renamed: GitLab finds the new one where the old one was, and so does the next
//! install. The old one keeps its data, under another name and without the site's tags.

use std::time::Duration;

use aws_sdk_rds::types::{DbInstance, Tag};
use serde::{Deserialize, Serialize};

use super::super::OpsFault;
use super::super::point::Way;
use super::super::runbook::StageCx;
use super::super::snapshot::Patience;
use super::super::snapshot::database::{available as until_available, find as snapshot_of};
use super::Restoring;
use crate::cloud::Fault;
use crate::engine::Halt;
use crate::journal::Record;
use crate::kinds::rds::DbInstance as Kind;
use crate::resource::{ADDRESS_TAG, Address, CloudCx, Resource as _, SITE_TAG, Tags};
use crate::secret::Secret;

/// Usual time of a Multi-AZ instance from a snapshot.
pub const USUAL: Duration = Duration::from_mins(20);

/// How often an instance is looked at.
const LOOK: Duration = Duration::from_secs(30);

/// Says whose an instance is while it is nobody's.
pub(in crate::ops) const RESTORE_TAG: &str = "gantry:restore";
/// On what was replaced, with the site's name.
pub(in crate::ops) const ASIDE_TAG: &str = "gantry:set-aside";
/// Beside it, with the run that replaced it.
pub(in crate::ops) const ASIDE_BY_TAG: &str = "gantry:set-aside-by";

/// The instance that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    pub identifier: String,
    pub arn: String,
}

/// Where the replaced instance is now; none when there was none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swapped {
    pub aside: Option<String>,
}

/// The resource that the main database is.
fn address() -> Address {
    Address::new(Kind::KIND, "main")
}

fn tag(key: &str, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

/// Makes the new instance, or finds it being made, and waits until it is there.
pub async fn make(r: &Restoring, cx: &StageCx, way: &Way) -> Result<Made, Halt<OpsFault>> {
    let identifier = r
        .ground
        .names
        .database(&format!("main-{}", super::stamp(&cx.id)));
    let cloud = &r.ground.cx;
    if find(cloud, &identifier).await?.is_none() {
        // The present one says where it belongs: subnets, groups, parameters.
        let present = present(r).await?;
        let made = begin(r, cx, way, &identifier, &present).await;
        match made {
            Ok(()) | Err(Halt::Failed(OpsFault::Cloud(Fault::Exists { .. }))) => {}
            Err(Halt::Failed(OpsFault::Cloud(fault @ Fault::Unknown { .. }))) => {
                if find(cloud, &identifier).await?.is_none() {
                    return Err(fault.into());
                }
            }
            Err(halt) => return Err(halt),
        }
    }
    let found = available(r, cx, &identifier).await?;
    Ok(Made {
        identifier,
        arn: found.db_instance_arn().unwrap_or_default().to_owned(),
    })
}

async fn begin(
    r: &Restoring,
    cx: &StageCx,
    way: &Way,
    identifier: &str,
    present: &DbInstance,
) -> Result<(), Halt<OpsFault>> {
    let cloud = &r.ground.cx;
    let rds = &cloud.aws().rds;
    let subnets = present
        .db_subnet_group()
        .and_then(|group| group.db_subnet_group_name())
        .unwrap_or_default()
        .to_owned();
    let groups: Vec<String> = present
        .vpc_security_groups()
        .iter()
        .filter_map(|group| group.vpc_security_group_id())
        .map(str::to_owned)
        .collect();
    let parameters = present
        .db_parameter_groups()
        .first()
        .and_then(|group| group.db_parameter_group_name())
        .map(str::to_owned);
    let tags = vec![tag(RESTORE_TAG, &cx.id)];
    match way {
        Way::DatabaseSnapshot {
            snapshot,
            arn,
            class,
            ..
        } => {
            let snapshot = own_snapshot(r, cx, snapshot, arn, present).await?;
            let patience = Patience::new(cx, "RDS is busy");
            loop {
                let made = cloud
                    .write("rds:RestoreDBInstanceFromDBSnapshot", || {
                        rds.restore_db_instance_from_db_snapshot()
                            .db_instance_identifier(identifier)
                            .db_snapshot_identifier(&snapshot)
                            .db_instance_class(present.db_instance_class().unwrap_or(class))
                            .db_subnet_group_name(&subnets)
                            .set_vpc_security_group_ids(Some(groups.clone()))
                            .set_db_parameter_group_name(parameters.clone())
                            .set_multi_az(present.multi_az())
                            .publicly_accessible(false)
                            .copy_tags_to_snapshot(true)
                            .auto_minor_version_upgrade(false)
                            .deletion_protection(false)
                            .set_tags(Some(tags.clone()))
                            .send()
                    })
                    .await;
                match made {
                    Ok(_) => return Ok(()),
                    Err(fault) => patience.with(fault).await?,
                }
            }
        }
        Way::PointInTime { instance, at, .. } => {
            let at = aws_sdk_rds::primitives::DateTime::from_secs(at.as_second());
            let patience = Patience::new(cx, "RDS is busy");
            loop {
                let made = cloud
                    .write("rds:RestoreDBInstanceToPointInTime", || {
                        rds.restore_db_instance_to_point_in_time()
                            .source_db_instance_identifier(instance)
                            .target_db_instance_identifier(identifier)
                            .restore_time(at)
                            .set_db_instance_class(present.db_instance_class().map(str::to_owned))
                            .db_subnet_group_name(&subnets)
                            .set_vpc_security_group_ids(Some(groups.clone()))
                            .set_db_parameter_group_name(parameters.clone())
                            .set_multi_az(present.multi_az())
                            .publicly_accessible(false)
                            .copy_tags_to_snapshot(true)
                            .auto_minor_version_upgrade(false)
                            .deletion_protection(false)
                            .set_tags(Some(tags.clone()))
                            .send()
                    })
                    .await;
                match made {
                    Ok(_) => return Ok(()),
                    Err(fault) => patience.with(fault).await?,
                }
            }
        }
        _ => Err(OpsFault::internal("no database comes back that way").into()),
    }
}

/// The snapshot under this site's own key. One of another site is copied first: an instance keeps the key of what it
/// was restored from.
async fn own_snapshot(
    r: &Restoring,
    cx: &StageCx,
    snapshot: &str,
    arn: &str,
    present: &DbInstance,
) -> Result<String, Halt<OpsFault>> {
    if r.onto == super::Onto::Same {
        return Ok(snapshot.to_owned());
    }
    let cloud = &r.ground.cx;
    let copy = r
        .ground
        .names
        .database_snapshot("restore", &super::stamp(&cx.id));
    if snapshot_of(cloud, &copy).await?.is_none() {
        let key = present.kms_key_id().map(str::to_owned);
        let made = cloud
            .write("rds:CopyDBSnapshot", || {
                cloud
                    .aws()
                    .rds
                    .copy_db_snapshot()
                    .source_db_snapshot_identifier(arn)
                    .target_db_snapshot_identifier(&copy)
                    .set_kms_key_id(key.clone())
                    .copy_tags(false)
                    .tags(tag(RESTORE_TAG, &cx.id))
                    .send()
            })
            .await;
        match made {
            Ok(_) | Err(Fault::Exists { .. }) => {}
            // Carried out, and only the answer was lost; or not.
            Err(fault @ Fault::Unknown { .. }) => {
                if snapshot_of(cloud, &copy).await?.is_none() {
                    return Err(fault.into());
                }
            }
            Err(fault) => return Err(fault.into()),
        }
    }
    until_available(cx, cloud, &copy).await?;
    Ok(copy)
}

/// The instance that the site has now.
async fn present(r: &Restoring) -> Result<DbInstance, OpsFault> {
    let name = r.ground.names.database("main");
    find(&r.ground.cx, &name).await?.ok_or_else(|| {
        OpsFault::refused(
            "the database is not restored",
            format!("this site has no RDS instance {name} whose place it could take"),
            "run `gantry install` first: it makes everything around the database",
        )
    })
}

/// The instance of this identifier, as it is now.
async fn find(cx: &CloudCx, identifier: &str) -> Result<Option<DbInstance>, Fault> {
    let asked = cx
        .read("rds:DescribeDBInstances", || {
            cx.aws()
                .rds
                .describe_db_instances()
                .db_instance_identifier(identifier)
                .send()
        })
        .await;
    match asked {
        Ok(answer) => Ok(answer.db_instances.unwrap_or_default().into_iter().next()),
        Err(fault) if fault.is_gone() => Ok(None),
        Err(fault) => Err(fault),
    }
}

async fn available(
    r: &Restoring,
    cx: &StageCx,
    identifier: &str,
) -> Result<DbInstance, Halt<OpsFault>> {
    loop {
        // A new instance, and one with a new name, may take a moment to be listed.
        let found = find(&r.ground.cx, identifier).await?;
        let status = found
            .as_ref()
            .and_then(|instance| instance.db_instance_status())
            .unwrap_or("not listed yet")
            .to_owned();
        match status.as_str() {
            "available" => {
                if let Some(found) = found {
                    return Ok(found);
                }
            }
            "failed"
            | "incompatible-restore"
            | "incompatible-network"
            | "incompatible-parameters"
            | "storage-full"
            | "restore-error" => {
                return Err(OpsFault::check(
                    format!("the RDS instance {identifier}"),
                    format!("RDS says {status}"),
                    "look at its events in the RDS console, delete it there, and run the restore again",
                )
                .into());
            }
            _ => cx.waiting(status),
        }
        cx.pause(LOOK).await?;
    }
}

/// Gives the new instance the name of the present one, which is set aside. What was done before is found done.
pub async fn swap(r: &Restoring, cx: &StageCx, made: &Made) -> Result<Swapped, Halt<OpsFault>> {
    let cloud = &r.ground.cx;
    let name = r.ground.names.database("main");
    let aside = r
        .ground
        .names
        .database(&format!("main-before-{}", super::stamp(&cx.id)));
    // Until the new one has the name: the old one gives it up, the new one takes it. A rename that an earlier attempt
    // began may end at any moment, so everything is looked at again after each wait.
    let new = loop {
        let holder = find(cloud, &name).await?;
        if let Some(holder) = holder {
            if !carries(&holder, cx) {
                untag(r, cx, &holder).await?;
                rename(r, cx, &name, &aside).await?;
            } else if is_available(&holder) {
                break holder;
            } else {
                cx.waiting(format!("{name}: {}", status(&holder)));
                cx.pause(LOOK).await?;
            }
            continue;
        }
        match find(cloud, &made.identifier).await? {
            Some(new) if is_available(&new) => rename(r, cx, &made.identifier, &name).await?,
            Some(new) => {
                cx.waiting(format!("{}: {}", made.identifier, status(&new)));
                cx.pause(LOOK).await?;
            }
            None => {
                cx.waiting(format!("{name} is not listed yet"));
                cx.pause(LOOK).await?;
                if find(cloud, &name).await?.is_none()
                    && find(cloud, &made.identifier).await?.is_none()
                {
                    return Err(OpsFault::check(
                        "the restored database",
                        format!("RDS knows neither {} nor {name}", made.identifier),
                        "somebody deleted it; what it replaces is kept under a name that begins alike: begin the restore anew",
                    )
                    .into());
                }
            }
        }
    };
    password(r, cx, &name).await?;
    let arn = new.db_instance_arn().unwrap_or_default().to_owned();
    let address = address();
    let tags = cloud.scope().tags_of(&address, &Tags::new());
    // The mark of this restore stays until the install afterwards takes it off: a run that is taken up here knows the
    // new instance by it.
    retag(cloud, &arn, &tags, &[]).await?;
    // The journal knows the old one; the next survey takes this one over by its tags.
    let store = &r.session.store;
    if store.state().resources.contains_key(&address) {
        store
            .append(&Record::Gone { address })
            .map_err(crate::session::SessionError::from)?;
    }
    Ok(Swapped {
        aside: find(cloud, &aside).await?.map(|_| aside),
    })
}

fn status(instance: &DbInstance) -> &str {
    instance.db_instance_status().unwrap_or("of no status")
}

fn is_available(instance: &DbInstance) -> bool {
    status(instance) == "available"
}

/// Whether an instance is the one that this restore made.
fn carries(instance: &DbInstance, cx: &StageCx) -> bool {
    instance
        .tag_list()
        .iter()
        .any(|tag| tag.key() == Some(RESTORE_TAG) && tag.value() == Some(&cx.id))
}

/// Renames, or finds it begun, and waits: AWS renames when the instance has been restarted, and until then the old name
/// answers.
async fn rename(r: &Restoring, cx: &StageCx, from: &str, to: &str) -> Result<(), Halt<OpsFault>> {
    let cloud = &r.ground.cx;
    let patience = Patience::new(cx, "the instance is busy");
    let mut looked = false;
    loop {
        match find(cloud, from).await? {
            None if find(cloud, to).await?.is_some() => return Ok(()),
            Some(old) if next_name(&old) != Some(to) => {
                let asked = cloud
                    .write("rds:ModifyDBInstance", || {
                        cloud
                            .aws()
                            .rds
                            .modify_db_instance()
                            .db_instance_identifier(from)
                            .new_db_instance_identifier(to)
                            .apply_immediately(true)
                            .send()
                    })
                    .await;
                match asked {
                    // Where that takes no time, nobody waits.
                    Ok(_) if !std::mem::replace(&mut looked, true) => continue,
                    // Carried out or not, the next look tells.
                    Ok(_) | Err(Fault::Unknown { .. } | Fault::Gone { .. }) => {}
                    Err(fault) => patience.with(fault).await?,
                }
            }
            _ => {}
        }
        cx.waiting(format!("renaming to {to}"));
        cx.pause(LOOK).await?;
    }
}

/// The name that an instance is about to get.
fn next_name(instance: &DbInstance) -> Option<&str> {
    instance.pending_modified_values()?.db_instance_identifier()
}

/// The password of the site, which is not the one that the point's site had.
async fn password(r: &Restoring, cx: &StageCx, name: &str) -> Result<(), Halt<OpsFault>> {
    let cloud = &r.ground.cx;
    let entry = r.ground.names.secret("database-password");
    let value = cloud
        .read("secretsmanager:GetSecretValue", || {
            let ask = cloud.aws().secrets.get_secret_value();
            ask.secret_id(&entry).send()
        })
        .await?;
    let password = Secret::new(value.secret_string.unwrap_or_default());
    let patience = Patience::new(cx, "the instance is busy");
    loop {
        let made = cloud
            .put("rds:ModifyDBInstance", || {
                cloud
                    .aws()
                    .rds
                    .modify_db_instance()
                    .db_instance_identifier(name)
                    .master_user_password(password.reveal())
                    .apply_immediately(true)
                    .send()
            })
            .await;
        match made {
            Ok(_) => break,
            Err(fault) => patience.with(fault).await?,
        }
    }
    available(r, cx, name).await?;
    Ok(())
}

/// Takes the site's marks off an instance, so that nobody takes it for the site's own.
async fn untag(r: &Restoring, cx: &StageCx, old: &DbInstance) -> Result<(), Halt<OpsFault>> {
    let cloud = &r.ground.cx;
    let arn = old.db_instance_arn().unwrap_or_default();
    let tags = Tags::new()
        .with(ASIDE_TAG, cloud.site())
        .with(ASIDE_BY_TAG, &cx.id);
    retag(cloud, arn, &tags, &[SITE_TAG, ADDRESS_TAG]).await?;
    Ok(())
}

async fn retag(cx: &CloudCx, arn: &str, add: &Tags, remove: &[&str]) -> Result<(), Fault> {
    let tags: Vec<Tag> = add.0.iter().map(|(key, value)| tag(key, value)).collect();
    cx.put("rds:AddTagsToResource", || {
        cx.aws()
            .rds
            .add_tags_to_resource()
            .resource_name(arn)
            .set_tags(Some(tags.clone()))
            .send()
    })
    .await?;
    if remove.is_empty() {
        return Ok(());
    }
    let keys: Vec<String> = remove.iter().map(|key| (*key).to_owned()).collect();
    cx.put("rds:RemoveTagsFromResource", || {
        cx.aws()
            .rds
            .remove_tags_from_resource()
            .resource_name(arn)
            .set_tag_keys(Some(keys.clone()))
            .send()
    })
    .await?;
    Ok(())
}
