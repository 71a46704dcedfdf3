//! AWS Backup: vaults, plans and selections as they are kept; the sandbox saves nothing by itself, but a point that
//! somebody puts into a vault stays there until it is deleted.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{iam, kms, tag_rules};
use crate::sandbox::call::{Call, Outcome, Refusal, at};
use crate::sandbox::delays;
use crate::sandbox::world::{GLOBAL, Row, World};

pub const ACTIONS: &[&str] = &[
    "CreateBackupVault",
    "DescribeBackupVault",
    "ListBackupVaults",
    "DeleteBackupVault",
    "ListRecoveryPointsByBackupVault",
    "DeleteRecoveryPoint",
    "CreateBackupPlan",
    "GetBackupPlan",
    "ListBackupPlans",
    "UpdateBackupPlan",
    "DeleteBackupPlan",
    "CreateBackupSelection",
    "GetBackupSelection",
    "ListBackupSelections",
    "DeleteBackupSelection",
    "ListTags",
    "TagResource",
    "UntagResource",
];

const VAULT: &str = "backup/vault";
const PLAN: &str = "backup/plan";
const SELECTION: &str = "backup/selection";
/// What AWS Backup has saved, by ARN; `BackupVaultName` says in which vault it lies.
const POINT: &str = "backup/recovery_point";

/// Finds action and parameters of a call in its path.
pub fn route(call: &mut Call) {
    call.p = serde_json::from_slice(&call.http.body).unwrap_or(json!({}));
    let path = call.http.path.trim_matches('/').to_owned();
    let parts: Vec<&str> = path.splitn(5, '/').collect();
    let method = call.http.method.as_str();
    let (action, named): (&str, Vec<(&str, String)>) = match (method, parts.as_slice()) {
        ("GET", ["backup-vaults"]) => ("ListBackupVaults", vec![]),
        (method, ["backup-vaults", name]) => {
            let action = match method {
                "PUT" => "CreateBackupVault",
                "GET" => "DescribeBackupVault",
                "DELETE" => "DeleteBackupVault",
                _ => "",
            };
            (action, vec![("$vault", (*name).to_owned())])
        }
        ("GET", ["backup-vaults", name, "recovery-points"]) => (
            "ListRecoveryPointsByBackupVault",
            vec![("$vault", (*name).to_owned())],
        ),
        ("DELETE", ["backup-vaults", name, "recovery-points", arn @ ..]) => (
            "DeleteRecoveryPoint",
            vec![("$vault", (*name).to_owned()), ("$point", arn.join("/"))],
        ),
        ("PUT", ["backup", "plans"]) => ("CreateBackupPlan", vec![]),
        ("GET", ["backup", "plans"]) => ("ListBackupPlans", vec![]),
        (method, ["backup", "plans", plan]) => {
            let action = match method {
                "GET" => "GetBackupPlan",
                "POST" => "UpdateBackupPlan",
                "DELETE" => "DeleteBackupPlan",
                _ => "",
            };
            (action, vec![("$plan", (*plan).to_owned())])
        }
        (method, ["backup", "plans", plan, "selections"]) => {
            let action = match method {
                "PUT" => "CreateBackupSelection",
                "GET" => "ListBackupSelections",
                _ => "",
            };
            (action, vec![("$plan", (*plan).to_owned())])
        }
        (method, ["backup", "plans", plan, "selections", selection]) => {
            let action = match method {
                "GET" => "GetBackupSelection",
                "DELETE" => "DeleteBackupSelection",
                _ => "",
            };
            let selection = ("$selection", (*selection).to_owned());
            (action, vec![("$plan", (*plan).to_owned()), selection])
        }
        ("GET", ["tags", arn @ ..]) => ("ListTags", vec![("$arn", arn.join("/"))]),
        ("POST", ["tags", arn @ ..]) => ("TagResource", vec![("$arn", arn.join("/"))]),
        ("POST", ["untag", arn @ ..]) => ("UntagResource", vec![("$arn", arn.join("/"))]),
        _ => ("", vec![]),
    };
    action.clone_into(&mut call.action);
    if let Value::Object(map) = &mut call.p {
        map.extend(
            named
                .into_iter()
                .map(|(key, value)| (key.into(), value.into())),
        );
    }
}

pub fn handle(world: &mut World, call: &Call) -> Outcome {
    match call.action.as_str() {
        "CreateBackupVault" => create_vault(world, call),
        "DescribeBackupVault" => {
            let name = known(world, call, VAULT, "$vault")?;
            let row = world.get(&call.region, VAULT, &name);
            Ok(row
                .map_or(json!({}), |row| shown_vault(world, call, row))
                .into())
        }
        "ListBackupVaults" => list(world, call, "BackupVaultList", VAULT, |row| {
            Some(shown_vault(world, call, row))
        }),
        "DeleteBackupVault" => delete_vault(world, call),
        "ListRecoveryPointsByBackupVault" => {
            let name = known(world, call, VAULT, "$vault")?;
            list(world, call, "RecoveryPoints", POINT, |row| {
                (row.text("BackupVaultName") == name).then(|| row.shown())
            })
        }
        "DeleteRecoveryPoint" => delete_point(world, call),
        "CreateBackupPlan" => create_plan(world, call),
        "GetBackupPlan" => {
            let id = known(world, call, PLAN, "$plan")?;
            let row = world.get(&call.region, PLAN, &id);
            Ok(row.map_or(json!({}), Row::shown).into())
        }
        "ListBackupPlans" => list(world, call, "BackupPlansList", PLAN, |row| {
            let mut shown = row.shown();
            shown["BackupPlanName"] = row.v["BackupPlan"]["BackupPlanName"].clone();
            // A listing has no rules.
            shown.as_object_mut()?.remove("BackupPlan");
            Some(shown)
        }),
        "UpdateBackupPlan" => update_plan(world, call),
        "DeleteBackupPlan" => delete_plan(world, call),
        "CreateBackupSelection" => create_selection(world, call),
        "GetBackupSelection" => {
            let id = selection(world, call)?;
            let row = world.get(&call.region, SELECTION, &id);
            Ok(row.map_or(json!({}), Row::shown).into())
        }
        "ListBackupSelections" => {
            let plan = known(world, call, PLAN, "$plan")?;
            list(world, call, "BackupSelectionsList", SELECTION, |row| {
                let inner = &row.v["BackupSelection"];
                (row.text("BackupPlanId") == plan).then(|| {
                    json!({"SelectionId": row.v["SelectionId"], "BackupPlanId": plan, "CreationDate": row.v["CreationDate"],
                        "SelectionName": inner["SelectionName"], "IamRoleArn": inner["IamRoleArn"]})
                })
            })
        }
        "DeleteBackupSelection" => {
            let id = selection(world, call)?;
            world.remove(&call.region, SELECTION, &id);
            Ok(json!({}).into())
        }
        "ListTags" => {
            let (table, id) = tagged(world, call)?;
            let row = world.get(&call.region, table, &id);
            Ok(json!({"Tags": row.map(|row| row.tags.clone()).unwrap_or_default()}).into())
        }
        "TagResource" => tag(world, call),
        "UntagResource" => {
            let (table, id) = tagged(world, call)?;
            let keys: Vec<String> = call
                .texts("TagKeyList")
                .into_iter()
                .map(Into::into)
                .collect();
            if let Some(row) = world.get_mut(&call.region, table, &id) {
                row.tags.retain(|key, _| !keys.contains(key));
            }
            Ok(json!({}).into())
        }
        _ => Err(Refusal::unknown_action(call)),
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::bad("InvalidParameterValueException", message)
}

fn missing(noun: &str, id: &str) -> Refusal {
    Refusal::bad(
        "ResourceNotFoundException",
        format!("Cannot find {noun} with identifier {id}"),
    )
}

/// The id of a row that the path names and that is there.
fn known(world: &World, call: &Call, table: &str, key: &str) -> Result<String, Refusal> {
    let id = call.opt(key).unwrap_or_default();
    match world.get(&call.region, table, id) {
        Some(_) => Ok(id.to_owned()),
        None => Err(missing(table, id)),
    }
}

fn selection(world: &World, call: &Call) -> Result<String, Refusal> {
    let plan = known(world, call, PLAN, "$plan")?;
    let id = known(world, call, SELECTION, "$selection")?;
    let of_plan = world
        .get(&call.region, SELECTION, &id)
        .is_some_and(|row| row.text("BackupPlanId") == plan);
    if of_plan {
        Ok(id)
    } else {
        Err(missing(SELECTION, &id))
    }
}

/// `[a-zA-Z0-9\-_]{least,50}`, and points where they are allowed.
fn name_problem(name: &str, least: usize, points: bool) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c) || points && c == '.';
    !(least..=50).contains(&name.len()) || !name.chars().all(fits)
}

fn tags(value: Option<&Value>) -> BTreeMap<String, String> {
    value
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())))
        .collect()
}

fn check_tags(
    have: &BTreeMap<String, String>,
    more: &BTreeMap<String, String>,
) -> Result<(), Refusal> {
    let code = "InvalidParameterValueException";
    tag_rules::check(have, more, code, code)
}

/// Seconds since 1970, as this protocol writes moments.
fn moment(call: &Call) -> Value {
    json!(call.now / 1_000)
}

/// A token that a create came with: 1 to 50 letters, digits, hyphens, underscores and points.
fn token(call: &Call) -> Result<Option<&str>, Refusal> {
    match call.opt("CreatorRequestId") {
        Some(token) if name_problem(token, 1, true) => {
            Err(invalid("CreatorRequestId has 1 to 50 of [a-zA-Z0-9-_.]"))
        }
        token => Ok(token),
    }
}

/// One page of a listing.
fn list(
    world: &World,
    call: &Call,
    field: &str,
    table: &str,
    show: impl Fn(&Row) -> Option<Value>,
) -> Outcome {
    let asked = call.http.query("maxResults");
    let Ok(size @ 1..=1_000) = asked.map_or(Ok(1_000), str::parse::<usize>) else {
        return Err(invalid("MaxResults is from 1 to 1000"));
    };
    let from: usize = match call.http.query("nextToken").map(str::parse) {
        None => 0,
        Some(Ok(from)) => from,
        Some(Err(_)) => return Err(invalid("The token is not valid")),
    };
    let all: Vec<Value> = world
        .seen(&call.region, table, call.now)
        .filter_map(|(_, row)| show(row))
        .collect();
    let total = all.len();
    let page: Vec<Value> = all.into_iter().skip(from).take(size).collect();
    let mut answer = json!({ field: page });
    if from + size < total {
        answer["NextToken"] = json!((from + size).to_string());
    }
    Ok(answer.into())
}

// --- vaults -----------------------------------------------------------------------------------

fn create_vault(world: &mut World, call: &Call) -> Outcome {
    let name = call.opt("$vault").unwrap_or_default().to_owned();
    if name_problem(&name, 2, false) {
        return Err(invalid(
            "The vault's name has 2 to 50 letters, digits, hyphens and underscores",
        ));
    }
    token(call)?;
    if world.get(&call.region, VAULT, &name).is_some() {
        return Err(Refusal::bad(
            "AlreadyExistsException",
            format!("Backup vault with the same name already exists: {name}"),
        ));
    }
    let key = call.opt("EncryptionKeyArn").unwrap_or("alias/aws/backup");
    let key = kms::usable(world, &call.region, key).map_err(invalid)?;
    let more = tags(call.at("BackupVaultTags"));
    check_tags(&BTreeMap::new(), &more)?;
    let arn = format!(
        "arn:aws:backup:{}:{}:backup-vault:{name}",
        call.region, world.account
    );
    let v = json!({"BackupVaultName": name, "BackupVaultArn": arn, "_arn": arn, "EncryptionKeyArn": key,
        "VaultType": "BACKUP_VAULT", "VaultState": "AVAILABLE", "CreationDate": moment(call), "Locked": false,
        "CreatorRequestId": call.opt("CreatorRequestId")});
    let row = world.insert(&call.region, VAULT, &name, v, call.now);
    row.tags = more;
    Ok(
        json!({"BackupVaultName": name, "BackupVaultArn": arn, "CreationDate": moment(call)})
            .into(),
    )
}

fn points<'w>(world: &'w World, call: &Call, vault: &str) -> impl Iterator<Item = &'w Row> {
    world
        .rows(&call.region, POINT)
        .map(|(_, row)| row)
        .filter(move |row| row.text("BackupVaultName") == vault)
}

fn shown_vault(world: &World, call: &Call, row: &Row) -> Value {
    let mut shown = row.shown();
    let name = row.text("BackupVaultName").to_owned();
    let count = world
        .rows(&call.region, POINT)
        .filter(|(_, point)| point.text("BackupVaultName") == name)
        .count();
    shown["NumberOfRecoveryPoints"] = json!(count);
    shown
}

fn delete_vault(world: &mut World, call: &Call) -> Outcome {
    let name = known(world, call, VAULT, "$vault")?;
    if points(world, call, &name).next().is_some() {
        return Err(Refusal::bad(
            "InvalidRequestException",
            "Backup vault cannot be deleted because it contains recovery points.",
        ));
    }
    world.remove(&call.region, VAULT, &name);
    Ok(json!({}).into())
}

/// A locked vault keeps what it has. Elsewhere AWS Backup takes a point away by the role that it was saved with; where
/// that role is gone it says yes and only marks the point as expired.
fn delete_point(world: &mut World, call: &Call) -> Outcome {
    let vault = known(world, call, VAULT, "$vault")?;
    let arn = known(world, call, POINT, "$point")?;
    let locked = world
        .get(&call.region, VAULT, &vault)
        .is_some_and(|row| row.is("Locked"));
    if locked {
        return Err(Refusal::bad(
            "InvalidRequestException",
            "Recovery point cannot be deleted: the vault has a lock configuration",
        ));
    }
    let point = world.get(&call.region, POINT, &arn);
    if point.is_some_and(|row| row.text("Status") == "DELETING") {
        return Err(Refusal::bad(
            "InvalidResourceStateException",
            "AWS Backup is already performing an action on this recovery point",
        ));
    }
    let role = point.map_or_else(String::new, |row| row.text("IamRoleArn").to_owned());
    let there = role.is_empty() || assumable(world, call, &role);
    if let Some(row) = world.get_mut(&call.region, POINT, &arn) {
        if there {
            row.set("Status", "DELETING");
            row.vanish(call.now, delays::RECOVERY_POINT_DELETE);
        } else {
            row.set("Status", "EXPIRED");
        }
    }
    Ok(json!({}).into())
}

// --- plans ------------------------------------------------------------------------------------

fn create_plan(world: &mut World, call: &Call) -> Outcome {
    let plan = check_plan(world, call)?;
    if let Some(token) = token(call)? {
        let same = world
            .rows(&call.region, PLAN)
            .find(|(_, row)| row.text("CreatorRequestId") == token);
        if let Some((_, row)) = same {
            return Ok(made(row));
        }
    }
    let same = world
        .rows(&call.region, PLAN)
        .any(|(_, row)| row.v["_asked"] == plan);
    if same {
        return Err(Refusal::bad(
            "AlreadyExistsException",
            "Backup plan with the same plan document already exists",
        ));
    }
    let more = tags(call.at("BackupPlanTags"));
    check_tags(&BTreeMap::new(), &more)?;
    let id = uuid(world);
    let arn = format!(
        "arn:aws:backup:{}:{}:backup-plan:{id}",
        call.region, world.account
    );
    let version = world.hex(40);
    let v = json!({"BackupPlanId": id, "BackupPlanArn": arn, "_arn": arn, "VersionId": version,
        "CreationDate": moment(call), "CreatorRequestId": call.opt("CreatorRequestId"), "_asked": plan,
        "BackupPlan": with_rule_ids(world, plan.clone())});
    let row = world.insert(&call.region, PLAN, &id, v, call.now);
    row.tags = more;
    Ok(made(row))
}

fn made(row: &Row) -> crate::sandbox::call::Answer {
    let mut answer = json!({});
    for key in ["BackupPlanId", "BackupPlanArn", "VersionId", "CreationDate"] {
        answer[key] = row.v[key].clone();
    }
    answer.into()
}

fn uuid(world: &mut World) -> String {
    let hex = world.hex(32);
    let parts = [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ];
    parts.join("-")
}

fn with_rule_ids(world: &mut World, mut plan: Value) -> Value {
    for rule in plan["Rules"].as_array_mut().into_iter().flatten() {
        rule["RuleId"] = json!(uuid(world));
    }
    plan
}

fn update_plan(world: &mut World, call: &Call) -> Outcome {
    let id = known(world, call, PLAN, "$plan")?;
    let plan = check_plan(world, call)?;
    let (shown, version) = (with_rule_ids(world, plan.clone()), world.hex(40));
    match world.get_mut(&call.region, PLAN, &id) {
        Some(row) => {
            row.set("BackupPlan", shown);
            row.set("_asked", plan);
            row.set("VersionId", version);
            Ok(made(row))
        }
        None => Err(missing(PLAN, &id)),
    }
}

fn delete_plan(world: &mut World, call: &Call) -> Outcome {
    let id = known(world, call, PLAN, "$plan")?;
    let used = world
        .rows(&call.region, SELECTION)
        .any(|(_, row)| row.text("BackupPlanId") == id);
    if used {
        return Err(Refusal::bad(
            "InvalidRequestException",
            "Related backup plan selections must be deleted prior to backup plan deletion.",
        ));
    }
    let gone = world.remove(&call.region, PLAN, &id);
    Ok(gone.as_ref().map_or_else(|| json!({}).into(), made))
}

/// The document of a plan, if it is one that AWS takes
/// (<https://docs.aws.amazon.com/aws-backup/latest/devguide/API_BackupRuleInput.html>).
fn check_plan(world: &World, call: &Call) -> Result<Value, Refusal> {
    let plan = call.at("BackupPlan").cloned().unwrap_or(json!({}));
    if plan["BackupPlanName"].as_str().is_none_or(str::is_empty) {
        return Err(Refusal::bad(
            "MissingParameterValueException",
            "BackupPlanName is required",
        ));
    }
    let rules = plan["Rules"].as_array().cloned().unwrap_or_default();
    if rules.is_empty() {
        return Err(Refusal::bad(
            "MissingParameterValueException",
            "A plan has at least one rule",
        ));
    }
    for rule in &rules {
        check_rule(world, call, rule)?;
    }
    Ok(plan)
}

fn check_rule(world: &World, call: &Call, rule: &Value) -> Result<(), Refusal> {
    let text = |key: &str| rule[key].as_str().unwrap_or_default();
    if name_problem(text("RuleName"), 1, true) {
        return Err(invalid("RuleName has 1 to 50 of [a-zA-Z0-9-_.]"));
    }
    let vault = text("TargetBackupVaultName");
    if world.get(&call.region, VAULT, vault).is_none() {
        return Err(invalid(format!("Backup vault {vault} does not exist")));
    }
    if let Some(cron) = rule["ScheduleExpression"].as_str() {
        check_cron(cron).map_err(invalid)?;
    }
    if let Some(zone) = rule["ScheduleExpressionTimezone"].as_str()
        && jiff::tz::TimeZone::get(zone).is_err()
    {
        return Err(invalid(format!("{zone} is not a time zone")));
    }
    let start = rule["StartWindowMinutes"].as_i64();
    if start.is_some_and(|minutes| minutes < 60) {
        return Err(invalid("StartWindowMinutes is at least 60"));
    }
    if let (Some(start), Some(end)) = (start, rule["CompletionWindowMinutes"].as_i64())
        && end < start + 60
    {
        return Err(invalid(
            "CompletionWindowMinutes is at least an hour more than StartWindowMinutes",
        ));
    }
    check_lifecycle(&rule["Lifecycle"])?;
    for copy in rule["CopyActions"].as_array().into_iter().flatten() {
        let arn = copy["DestinationBackupVaultArn"]
            .as_str()
            .unwrap_or_default();
        let parts: Vec<&str> = arn.split(':').collect();
        let fits = matches!(parts.as_slice(), ["arn", _, "backup", region, account, "backup-vault", name]
            if !region.is_empty() && account.len() == 12 && !name_problem(name, 2, false));
        if !fits {
            return Err(invalid(format!("{arn} is not the ARN of a backup vault")));
        }
        check_lifecycle(&copy["Lifecycle"])?;
    }
    Ok(())
}

/// At least a day, and 90 in cold storage.
fn check_lifecycle(lifecycle: &Value) -> Result<(), Refusal> {
    let delete = lifecycle["DeleteAfterDays"].as_i64();
    let cold = lifecycle["MoveToColdStorageAfterDays"].as_i64();
    if delete.is_some_and(|days| days < 1) || cold.is_some_and(|days| days < 1) {
        return Err(invalid("Days of a lifecycle are at least 1"));
    }
    if let (Some(delete), Some(cold)) = (delete, cold)
        && delete < cold + 90
    {
        return Err(invalid(
            "DeleteAfterDays cannot be less than 90 days apart from MoveToColdStorageAfterDays",
        ));
    }
    Ok(())
}

const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// AWS's six fields: one of the two days is `?`, and nothing runs more often than hourly.
fn check_cron(text: &str) -> Result<(), String> {
    let refuse = |why: &str| format!("Provided cron expression {text} is not valid: {why}");
    let inner = text
        .strip_prefix("cron(")
        .and_then(|rest| rest.strip_suffix(')'))
        .ok_or_else(|| refuse("it is not cron(…)"))?;
    let fields: Vec<&str> = inner.split_whitespace().collect();
    let [minute, hour, day, month, weekday, year] = fields.as_slice() else {
        return Err(refuse("it has six fields"));
    };
    if (*day == "?") == (*weekday == "?") {
        return Err(refuse("one of the two days is ?, and not both"));
    }
    if minute.parse::<u8>().is_err() {
        return Err(refuse("it runs more often than hourly"));
    }
    let limits: [(&str, u16, u16, &[&str]); 6] = [
        (minute, 0, 59, &[]),
        (hour, 0, 23, &[]),
        (day, 1, 31, &[]),
        (month, 1, 12, &MONTHS),
        (weekday, 1, 7, &DAYS),
        (year, 1970, 2199, &[]),
    ];
    for (field, least, most, names) in limits {
        if field == "?" {
            continue;
        }
        let number = |word: &str| {
            names.contains(&word)
                || word
                    .parse::<u16>()
                    .is_ok_and(|n| (least..=most).contains(&n))
        };
        for part in field.split(',') {
            let (range, step) = part.split_once('/').unwrap_or((part, "1"));
            let ends = range == "*" || range.split('-').all(number);
            if !ends || step.parse::<u16>().is_err() {
                return Err(refuse(field));
            }
        }
    }
    Ok(())
}

// --- selections -------------------------------------------------------------------------------

/// Whether a role is there, usable, and lets AWS Backup take it.
fn assumable(world: &World, call: &Call, arn: &str) -> bool {
    let role = world
        .rows(GLOBAL, "iam/role")
        .map(|(_, row)| row)
        .find(|row| row.text("Arn") == arn);
    role.is_some_and(|row| {
        iam::usable(row, call.now) && row.text("_trust").contains("backup.amazonaws.com")
    })
}

fn create_selection(world: &mut World, call: &Call) -> Outcome {
    let plan = call.opt("$plan").unwrap_or_default().to_owned();
    if world.get(&call.region, PLAN, &plan).is_none() {
        return Err(invalid(format!("Cannot find Backup plan with ID {plan}")));
    }
    let selection = call.at("BackupSelection").cloned().unwrap_or(json!({}));
    let text = |key: &str| {
        at(&selection, key)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    if name_problem(text("SelectionName"), 1, true) {
        return Err(invalid("SelectionName has 1 to 50 of [a-zA-Z0-9-_.]"));
    }
    let role = text("IamRoleArn");
    if !assumable(world, call, role) {
        return Err(invalid(format!(
            "IAM Role {role} cannot be assumed by AWS Backup"
        )));
    }
    let resources = selection["Resources"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let named = resources.iter().all(|arn| {
        arn.as_str()
            .is_some_and(|arn| arn == "*" || arn.starts_with("arn:"))
    });
    if !named || resources.len() > 500 {
        return Err(invalid("Resources are at most 500 ARNs"));
    }
    if resources.is_empty()
        && selection["ListOfTags"].is_null()
        && selection["Conditions"].is_null()
    {
        return Err(Refusal::bad(
            "MissingParameterValueException",
            "A selection needs resources or tags",
        ));
    }
    let answer = |row: &Row| {
        json!({"SelectionId": row.v["SelectionId"], "BackupPlanId": row.v["BackupPlanId"],
            "CreationDate": row.v["CreationDate"]})
    };
    if let Some(token) = token(call)? {
        let same = world.rows(&call.region, SELECTION).find(|(_, row)| {
            row.text("CreatorRequestId") == token && row.text("BackupPlanId") == plan
        });
        if let Some((_, row)) = same {
            return Ok(answer(row).into());
        }
    }
    let id = uuid(world);
    let v = json!({"SelectionId": id, "BackupPlanId": plan, "CreationDate": moment(call),
        "CreatorRequestId": call.opt("CreatorRequestId"), "BackupSelection": selection});
    let row = world.insert(&call.region, SELECTION, &id, v, call.now);
    Ok(answer(row).into())
}

// --- tags -------------------------------------------------------------------------------------

/// Table and id of what an ARN names.
fn tagged(world: &World, call: &Call) -> Result<(&'static str, String), Refusal> {
    let arn = call.opt("$arn").unwrap_or_default();
    for table in [VAULT, PLAN, POINT] {
        let found = world
            .rows(&call.region, table)
            .find(|(_, row)| row.text("_arn") == arn);
        if let Some((id, _)) = found {
            return Ok((table, id.clone()));
        }
    }
    Err(missing("a resource", arn))
}

fn tag(world: &mut World, call: &Call) -> Outcome {
    let (table, id) = tagged(world, call)?;
    let more = tags(call.at("Tags"));
    if let Some(row) = world.get_mut(&call.region, table, &id) {
        check_tags(&row.tags, &more)?;
        row.tags.extend(more);
    }
    Ok(json!({}).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cron_as_aws_takes_it() {
        for fine in [
            "cron(30 3 * * ? *)",
            "cron(0 * * * ? *)",
            "cron(0 5 ? * SUN *)",
            "cron(0 6 1 * ? *)",
            "cron(15 2,3,4 ? 1,2 MON,TUE *)",
        ] {
            assert_eq!(check_cron(fine), Ok(()), "{fine}");
        }
        for wrong in [
            "30 3 * * ? *",
            "cron(30 3 * * *)",
            "cron(30 3 * * * *)",
            "cron(30 3 ? * ? *)",
            "cron(0/15 * * * ? *)",
            "cron(0,30 * * * ? *)",
            "cron(61 3 * * ? *)",
            "cron(30 24 * * ? *)",
            "cron(0 5 ? * 8 *)",
            "rate(1 day)",
        ] {
            assert!(check_cron(wrong).is_err(), "{wrong}");
        }
    }
}
