//! What RDS refuses in names, passwords, windows and storage.

use serde_json::Value;

use super::{combination, invalid};
use crate::sandbox::call::{Call, Refusal};

/// An instance or snapshot identifier, in small letters as RDS keeps it.
pub(super) fn identifier(call: &Call, key: &str, most: usize) -> Result<String, Refusal> {
    let id = call.need(key)?.to_lowercase();
    let fine = id.len() <= most
        && id.starts_with(|c: char| c.is_ascii_alphabetic())
        && !id.ends_with('-')
        && !id.contains("--")
        && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if fine {
        return Ok(id);
    }
    Err(invalid(format!(
        "The parameter {key} is not a valid identifier. Identifiers must begin with a letter; must contain only ASCII letters, digits, and hyphens; and must not end with a hyphen or contain two consecutive hyphens."
    )))
}

pub(super) fn master(call: &Call) -> Result<(), Refusal> {
    let user = call.need("MasterUsername")?;
    let word = |text: &str| {
        text.len() <= 63
            && text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if !word(user) {
        return Err(invalid(
            "The parameter MasterUsername must begin with a letter and contain letters, digits and underscores only.",
        ));
    }
    if ["admin", "rdsadmin", "rds_superuser", "public"].contains(&user) {
        return Err(invalid(format!(
            "MasterUsername {user} cannot be used as it is a reserved word used by the engine"
        )));
    }
    if call.opt("DBName").is_some_and(|name| !word(name)) {
        return Err(invalid(
            "DBName must begin with a letter and contain only alphanumeric characters.",
        ));
    }
    password(call.need("MasterUserPassword")?)
}

fn password(text: &str) -> Result<(), Refusal> {
    if !(8..=128).contains(&text.chars().count()) {
        return Err(invalid(
            "The parameter MasterUserPassword is not a valid password because it is shorter than 8 or longer than 128 characters.",
        ));
    }
    let fine = |c: char| c.is_ascii_graphic() && !"/@\"".contains(c);
    if !text.chars().all(fine) {
        return Err(invalid(
            "The parameter MasterUserPassword is not a valid password. Only printable ASCII characters besides '/', '@', '\"', ' ' may be used.",
        ));
    }
    Ok(())
}

/// The storage of an instance.
pub(super) struct Storage {
    pub gib: i64,
    pub kind: String,
    pub iops: Option<i64>,
    pub throughput: Option<i64>,
}

/// Limits of PostgreSQL: <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Storage.html>.
pub(super) fn storage(s: &Storage) -> Result<(), Refusal> {
    let least = if s.kind.starts_with("io") { 100 } else { 20 };
    match s.kind.as_str() {
        "gp2" | "gp3" | "io1" | "io2" => {}
        other => return Err(invalid(format!("Invalid storage type: {other}"))),
    }
    if !(least..=65_536).contains(&s.gib) {
        return Err(invalid(format!(
            "Invalid storage size for engine name postgres and storage type {}: {}",
            s.kind, s.gib
        )));
    }
    if s.kind != "gp3" && s.throughput.is_some() {
        return Err(combination(format!(
            "You can't specify storage throughput for storage type {}",
            s.kind
        )));
    }
    match s.kind.as_str() {
        "gp2" if s.iops.is_some() => {
            Err(combination("You can't specify IOPS for storage type gp2"))
        }
        "gp3" if s.gib < 400 && (s.iops.is_some() || s.throughput.is_some()) => Err(combination(
            "You can't specify IOPS or storage throughput for engine postgres and a storage size less than 400.",
        )),
        "gp3" => gp3(s),
        "io1" | "io2" => {
            let Some(iops) = s.iops else {
                return Err(combination(format!(
                    "You must specify IOPS for storage type {}",
                    s.kind
                )));
            };
            // io1: 0.5 to 50 a GiB; io2 Block Express: 0.5 to 1,000.
            let most = if s.kind == "io1" { 50 } else { 1_000 };
            let fine =
                (1_000..=256_000).contains(&iops) && iops * 2 >= s.gib && iops <= s.gib * most;
            if fine {
                return Ok(());
            }
            Err(combination(format!(
                "The IOPS to GiB ratio must be between 0.5 and {most}, and IOPS between 1000 and 256000; asked for {iops} IOPS on {} GiB",
                s.gib
            )))
        }
        _ => Ok(()),
    }
}

fn gp3(s: &Storage) -> Result<(), Refusal> {
    if let Some(iops) = s.iops
        && (!(12_000..=64_000).contains(&iops) || iops > s.gib * 500)
    {
        return Err(combination(format!(
            "IOPS of gp3 must be between 12000 and 64000 for this size, not {iops}"
        )));
    }
    if let Some(throughput) = s.throughput {
        let iops = s.iops.unwrap_or(12_000);
        if !(500..=4_000).contains(&throughput) || throughput * 4 > iops {
            return Err(combination(format!(
                "Storage throughput of gp3 must be between 500 and 4000 and at most a quarter of the IOPS, not {throughput}"
            )));
        }
    }
    Ok(())
}

/// What RDS shows where nothing was asked for.
pub(super) fn baseline(s: &Storage) -> (Value, Value) {
    match s.kind.as_str() {
        "gp3" if s.gib < 400 => (3_000.into(), 125.into()),
        "gp3" => (
            s.iops.unwrap_or(12_000).into(),
            s.throughput.unwrap_or(500).into(),
        ),
        _ => (s.iops.map_or(Value::Null, Into::into), Value::Null),
    }
}

const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const WEEK: i64 = 7 * 24 * 60;

/// Minutes of `hh:mm`.
fn minutes(text: &str) -> Option<i64> {
    let (h, m) = text.split_once(':')?;
    let (h, m): (i64, i64) = (h.parse().ok()?, m.parse().ok()?);
    ((0..24).contains(&h) && (0..60).contains(&m)).then_some(h * 60 + m)
}

/// Start and length, in minutes, of `hh:mm-hh:mm`.
pub(super) fn daily(text: &str) -> Option<(i64, i64)> {
    let (from, to) = text.split_once('-')?;
    let (from, to) = (minutes(from)?, minutes(to)?);
    Some((from, (to - from).rem_euclid(24 * 60)))
}

/// Start in the week and length, in minutes, of `ddd:hh:mm-ddd:hh:mm`.
pub(super) fn weekly(text: &str) -> Option<(i64, i64)> {
    let at = |text: &str| {
        let (day, time) = text.split_once(':')?;
        let day = DAYS.iter().position(|d| *d == day.to_lowercase())?;
        Some(i64::try_from(day).ok()? * 24 * 60 + minutes(time)?)
    };
    let (from, to) = text.split_once('-')?;
    let (from, to) = (at(from)?, at(to)?);
    Some((from, (to - from).rem_euclid(WEEK)))
}

/// Both windows are well-formed, half an hour long at least, and apart.
pub(super) fn windows(backup: &str, maintenance: &str) -> Result<(), Refusal> {
    let daily = daily(backup).filter(|(_, length)| *length >= 30);
    let Some((start, length)) = daily else {
        return Err(invalid(format!(
            "The backup window {backup} is not of the form hh24:mi-hh24:mi, or shorter than 30 minutes."
        )));
    };
    let weekly = weekly(maintenance).filter(|(_, length)| (30..=24 * 60).contains(length));
    let Some((from, long)) = weekly else {
        return Err(invalid(format!(
            "The maintenance window {maintenance} is not of the form ddd:hh24:mi-ddd:hh24:mi, or shorter than 30 minutes or longer than a day."
        )));
    };
    let overlaps = (0..7).any(|day| {
        let start = day * 24 * 60 + start;
        (start - from).rem_euclid(WEEK) < long || (from - start).rem_euclid(WEEK) < length
    });
    if overlaps {
        return Err(combination(
            "The backup window and maintenance window must not overlap.",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(kind: &str, gib: i64, iops: Option<i64>, throughput: Option<i64>) -> bool {
        storage(&Storage {
            gib,
            kind: kind.into(),
            iops,
            throughput,
        })
        .is_ok()
    }

    #[test]
    fn storage_limits() {
        assert!(ask("gp3", 20, None, None) && !ask("gp3", 19, None, None));
        assert!(!ask("gp3", 399, Some(12_000), None) && ask("gp3", 400, Some(12_000), Some(500)));
        assert!(!ask("gp3", 400, Some(3_000), None));
        assert!(ask("io1", 100, Some(5_000), None) && !ask("io1", 100, Some(5_001), None));
        assert!(ask("io2", 1_600, Some(32_000), None) && !ask("io2", 100, None, None));
        assert!(!ask("io1", 100, Some(1_000), Some(500)));
    }

    #[test]
    fn windows_keep_apart() {
        assert!(windows("02:00-02:30", "sun:03:00-sun:04:00").is_ok());
        assert!(windows("02:00-03:30", "sun:03:00-sun:04:00").is_err());
        assert!(windows("23:30-00:30", "sun:00:00-sun:01:00").is_err());
        assert!(windows("02:00-02:10", "sun:03:00-sun:04:00").is_err());
        assert!(windows("nonsense", "sun:03:00-sun:04:00").is_err());
    }
}
