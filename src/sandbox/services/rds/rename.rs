//! A DB instance gets another identifier: it restarts, and answers to the old one until then. Its endpoint follows.

use serde_json::{Value, json};

use super::instance::new_name;
use super::{BACKUPS, INSTANCES, arn, combination};
use crate::sandbox::call::{Call, Refusal};
use crate::sandbox::delays;
use crate::sandbox::world::{Row, World};

/// The identifier that an instance is going to have.
const NEXT: &str = "_next";
/// And from when on.
const FROM: &str = "_next_from";

/// The new identifier that a call asks for; none when it is the present one.
pub(super) fn asked(world: &World, call: &Call, id: &str) -> Result<Option<String>, Refusal> {
    let Some(name) = call.opt("NewDBInstanceIdentifier") else {
        return Ok(None);
    };
    if name.eq_ignore_ascii_case(id) {
        return Ok(None);
    }
    let name = new_name(world, call, "NewDBInstanceIdentifier")?;
    let promised = world
        .rows(&call.region, INSTANCES)
        .any(|(_, row)| row.text(NEXT) == name);
    if promised {
        return Err(Refusal::bad(
            "DBInstanceAlreadyExists",
            "DB instance already exists",
        ));
    }
    Ok(Some(name))
}

/// Begins to rename.
pub(super) fn begin(
    world: &mut World,
    call: &Call,
    id: &str,
    name: &str,
    now: bool,
) -> Result<(), Refusal> {
    if !now {
        // It would wait for the maintenance window, which is not played.
        return Err(combination(
            "A new identifier wants ApplyImmediately in this cloud.",
        ));
    }
    if let Some(row) = world.get_mut(&call.region, INSTANCES, id) {
        row.set("DBInstanceStatus", "renaming");
        row.set(
            "PendingModifiedValues",
            json!({"DBInstanceIdentifier": name}),
        );
        row.set(NEXT, name);
        row.set(FROM, call.now + delays::DATABASE_MODIFY);
    }
    Ok(())
}

/// Lets those that have restarted answer to their new names.
pub(super) fn settle(world: &mut World, call: &Call) {
    let due: Vec<(String, String)> = world
        .rows(&call.region, INSTANCES)
        .filter(|(_, row)| row.v[FROM].as_i64().is_some_and(|from| from <= call.now))
        .map(|(id, row)| (id.clone(), row.text(NEXT).to_owned()))
        .collect();
    for (id, name) in due {
        let Some(mut row) = world.remove(&call.region, INSTANCES, &id) else {
            continue;
        };
        give(&mut row, &id, &name);
        row.set("DBInstanceArn", arn(world, call, "db", &name));
        row.set("_arn", arn(world, call, "db", &name));
        world
            .table(&call.region, INSTANCES)
            .insert(name.clone(), row);
        let (before, after) = (format!("rds/{id}"), format!("rds/{name}"));
        for interface in world
            .table(&call.region, "ec2/network_interface")
            .values_mut()
        {
            if interface.text("_owner") == before {
                interface.set("_owner", after.as_str());
            }
        }
        for backup in world.table(&call.region, BACKUPS).values_mut() {
            if backup.text("DBInstanceIdentifier") == id {
                backup.set("DBInstanceIdentifier", name.as_str());
            }
        }
    }
}

fn give(row: &mut Row, id: &str, name: &str) {
    row.set("DBInstanceIdentifier", name);
    row.set("DBInstanceStatus", "available");
    row.set("PendingModifiedValues", json!({}));
    let address = row.v["Endpoint"]["Address"].as_str().unwrap_or_default();
    let address = address.replacen(&format!("{id}."), &format!("{name}."), 1);
    row.v["Endpoint"]["Address"] = json!(address);
    if let Value::Object(fields) = &mut row.v {
        fields.remove(NEXT);
        fields.remove(FROM);
    }
}
