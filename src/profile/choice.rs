//! Which size fits: by users, by requests a second, or by both.
//!
//! The rules are the reference architectures' own (facts: `meta.selection_rules`, `meta.rps_rule`): a peak up
//! to 10-15 % over a size may stay on it, more takes the next size; in doubt start larger.

use miette::Diagnostic;
use serde::Serialize;
use thiserror::Error;

use super::{Profile, ProfileName, all};

/// A peak this far over a size may stay on it: 10 %, the careful end of the documented 10-15 %.
const TOLERANCE_PERCENT: u64 = 10;

/// The size chosen, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    pub profile: ProfileName,
    /// One sentence for people.
    pub reason: String,
    /// Per cent of the size left over at the peak asked for; negative when the peak is over by the tolerated few per cent.
    pub headroom: i32,
}

/// No reference size answers the question.
#[derive(Debug, Clone, PartialEq, Eq, Error, Diagnostic)]
pub enum NoSuchSize {
    #[error("neither users nor requests a second were given")]
    #[diagnostic(help("say `--users N`, `--rps N` or both"))]
    NothingAsked,
    #[error("{asked} is more than the largest reference size, {limit}, allows")]
    #[diagnostic(help(
        "split the load over several sites, or start from ha-50k and raise its counts in the site file together with GitLab's support"
    ))]
    TooLarge { asked: String, limit: String },
}

/// The smallest size that carries the users and the headline requests a second, whichever asks for more.
///
/// Fails when neither is given, and when the load is above the largest size.
pub fn size(users: Option<u32>, rps: Option<u32>) -> Result<Choice, NoSuchSize> {
    if users.is_none() && rps.is_none() {
        return Err(NoSuchSize::NothingAsked);
    }
    let Some(profile) = all().find(|profile| fits(profile, users, rps)) else {
        let largest = super::get(ProfileName::Ha50k);
        let limit = format!(
            "{} ({} users, {} requests a second)",
            largest.name, largest.users, largest.target_rps.headline
        );
        return Err(NoSuchSize::TooLarge {
            asked: asked(users, rps),
            limit,
        });
    };
    Ok(Choice {
        profile: profile.name,
        reason: reason(profile, users, rps),
        headroom: headroom(profile, users, rps),
    })
}

fn fits(profile: &Profile, users: Option<u32>, rps: Option<u32>) -> bool {
    let within = |asked: Option<u32>, limit: u32| {
        asked.is_none_or(|asked| {
            u64::from(asked) * 100 <= u64::from(limit) * (100 + TOLERANCE_PERCENT)
        })
    };
    within(users, profile.users) && within(rps, profile.target_rps.headline)
}

fn headroom(profile: &Profile, users: Option<u32>, rps: Option<u32>) -> i32 {
    let left = |asked: Option<u32>, limit: u32| {
        asked.map(|asked| 100 - i64::from(asked) * 100 / i64::from(limit.max(1)))
    };
    let least = [
        left(users, profile.users),
        left(rps, profile.target_rps.headline),
    ]
    .into_iter()
    .flatten()
    .min()
    .unwrap_or(100);
    i32::try_from(least).unwrap_or(i32::MIN)
}

fn asked(users: Option<u32>, rps: Option<u32>) -> String {
    match (users, rps) {
        (Some(users), Some(rps)) => format!("{users} users and {rps} requests a second"),
        (Some(users), None) => format!("{users} users"),
        (None, Some(rps)) => format!("{rps} requests a second"),
        (None, None) => "nothing".to_owned(),
    }
}

fn reason(profile: &Profile, users: Option<u32>, rps: Option<u32>) -> String {
    let limits = format!(
        "{} is meant for {} users or {} requests a second at peak",
        profile.name, profile.users, profile.target_rps.headline
    );
    let fit = if headroom(profile, users, rps) < 0 {
        format!(
            "{} is over that by less than the {TOLERANCE_PERCENT} % that may stay on the smaller size",
            asked(users, rps)
        )
    } else {
        format!("{} fit", asked(users, rps))
    };
    let note = if profile.name.is_ha() {
        ""
    } else {
        "; it is not highly available: for that, ha-3k is the smallest"
    };
    format!("{limits}; {fit}{note}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_rates_choose() {
        let chosen = |users, rps| size(users, rps).map(|choice| (choice.profile, choice.headroom));
        assert_eq!(chosen(Some(500), None), Ok((ProfileName::SingleBox, 50)));
        assert_eq!(chosen(Some(2000), None), Ok((ProfileName::Poc2k, 0)));
        assert_eq!(chosen(Some(3300), None), Ok((ProfileName::Ha3k, -10)));
        assert_eq!(chosen(Some(3301), None), Ok((ProfileName::Ha5k, 34)));
        assert_eq!(chosen(Some(1000), Some(190)), Ok((ProfileName::Ha10k, 5)));
        assert_eq!(chosen(None, Some(1100)), Ok((ProfileName::Ha50k, -10)));
        assert_eq!(chosen(None, None), Err(NoSuchSize::NothingAsked));
        assert!(matches!(
            size(Some(60_000), None),
            Err(NoSuchSize::TooLarge { .. })
        ));
    }
}
