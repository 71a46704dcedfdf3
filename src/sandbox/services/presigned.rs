//! URLs signed beforehand, which a copy between regions carries: with it the region of the copy asks the region
//! of the original in the caller's name.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::sandbox::world::Millis;

/// What the URL has to be: a call of this action in the region of the original, with these parameters.
pub(super) struct Wanted<'a> {
    pub service: &'a str,
    pub action: &'a str,
    pub region: &'a str,
    pub parameters: &'a [(&'a str, &'a str)],
}

/// Whether the URL is one. Signatures are not computed here, as for no call of the sandbox.
pub(super) fn fits(url: &str, wanted: &Wanted<'_>, now: Millis) -> bool {
    check(url, wanted, now).is_some()
}

fn check(url: &str, wanted: &Wanted<'_>, now: Millis) -> Option<()> {
    let rest = url.strip_prefix("https://")?;
    let (host, query) = rest.split_once('?')?;
    let host = host.trim_end_matches('/');
    let said: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes())
        .map(|(k, v)| (k.into_owned(), v.into_owned()))
        .collect();
    let is = |key: &str, value: &str| said.get(key).is_some_and(|have| have == value);
    let scope = said.get("X-Amz-Credential")?;
    let mut scope = scope.split('/').skip(2);
    let fine = host == format!("{}.{}.amazonaws.com", wanted.service, wanted.region)
        && is("Action", wanted.action)
        && is("X-Amz-Algorithm", "AWS4-HMAC-SHA256")
        && scope.next() == Some(wanted.region)
        && scope.next() == Some(wanted.service)
        && said.get("X-Amz-Signature").is_some_and(|s| s.len() == 64)
        && wanted.parameters.iter().all(|(key, value)| is(key, value));
    let signed = DateTime::strptime("%Y%m%dT%H%M%SZ", said.get("X-Amz-Date")?).ok()?;
    let signed = signed.to_zoned(TimeZone::UTC).ok()?.timestamp();
    let lasts: i64 = said.get("X-Amz-Expires")?.parse().ok()?;
    let age = Timestamp::from_millisecond(now).ok()?.as_second() - signed.as_second();
    (fine && (-300..=lasts).contains(&age)).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted<'_> = Wanted {
        service: "rds",
        action: "CopyDBSnapshot",
        region: "eu-west-1",
        parameters: &[("DestinationRegion", "eu-central-1")],
    };

    fn url(change: (&str, &str)) -> String {
        let all = format!(
            "https://rds.eu-west-1.amazonaws.com/?Action=CopyDBSnapshot&DestinationRegion=eu-central-1\
             &X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%2F20260105%2Feu-west-1%2Frds%2Faws4_request\
             &X-Amz-Date=20260105T060000Z&X-Amz-Expires=3600&X-Amz-Signature={}",
            "0".repeat(64)
        );
        all.replace(change.0, change.1)
    }

    #[test]
    fn only_the_right_url_fits() {
        let at = |time: &str| time.parse::<Timestamp>().unwrap().as_millisecond();
        let now = at("2026-01-05T06:10:00Z");
        assert!(fits(&url(("", "")), &WANTED, now));
        assert!(!fits(&url(("", "")), &WANTED, at("2026-01-05T07:00:01Z")));
        for change in [
            ("rds.eu-west-1", "rds.eu-central-1"),
            ("CopyDBSnapshot", "CopySnapshot"),
            ("eu-central-1", "us-east-1"),
            ("%2Frds%2F", "%2Fec2%2F"),
            ("X-Amz-Signature", "X-Signature"),
            ("https", "http"),
        ] {
            assert!(!fits(&url(change), &WANTED, now), "{change:?}");
        }
    }
}
