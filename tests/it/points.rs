//! Recovery points in their bucket: written once, read back, and what is not believed.

use gantry::ops::OpsFault;
use gantry::ops::point::{
    Condition, Drilled, Dropping, Health, Kind, Listed, Mark, Pin, Points, Purpose, Standing,
    Verified, manifest_key,
};
use gantry::sandbox::{Fate, Refusal};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use crate::support::shelf::{BACKUPS, Shelf, TODAY, id, manifest, signer};

const ONE: &str = "20261124T023000Z-000001";
const TWO: &str = "20261125T023000Z-000002";

fn hours(count: i64) -> Timestamp {
    TODAY - SignedDuration::from_hours(count)
}

fn verified(at: Timestamp, outcome: Health) -> Mark {
    Mark::Verified(Verified {
        at,
        share: 5,
        outcome,
        findings: vec![],
    })
}

fn pin(at: Timestamp) -> Pin {
    Pin {
        at,
        by: "ann".into(),
        why: "audit".into(),
    }
}

async fn two_points() -> Shelf {
    let shelf = Shelf::new().await;
    for (text, began) in [(ONE, hours(48)), (TWO, hours(24))] {
        shelf
            .write(&manifest(&id(text), Purpose::Full, began))
            .await;
    }
    shelf
}

async fn only(shelf: &Shelf, text: &str) -> Listed {
    shelf.points.read(&id(text)).await.unwrap()
}

fn refusal(fault: OpsFault) -> (String, String) {
    (fault.to_string(), fault.help())
}

#[tokio::test(start_paused = true)]
async fn a_manifest_is_written_once() {
    let shelf = two_points().await;
    // Once more is the same thing.
    let same = manifest(&id(ONE), Purpose::Full, hours(48));
    shelf.points.write(&shelf.signer, &same).await.unwrap();
    let mut other = same.clone();
    other.profile = "ha-3k".into();
    let fault = shelf.points.write(&shelf.signer, &other).await.unwrap_err();
    let (said, help) = refusal(fault);
    assert!(said.contains("never overwritten"), "{said}");
    assert!(help.contains("gantry backup show"), "{help}");
    assert_eq!(only(&shelf, ONE).await.manifest(), Some(&same));
    // A key that nobody here would believe is a mistake of ours.
    let fault = shelf.points.write(&signer('b'), &other).await.unwrap_err();
    assert!(fault.to_string().contains("not trusted"), "{fault}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_lost_is_no_second_manifest() {
    let shelf = Shelf::new().await;
    let mut lost = false;
    shelf.sandbox.faults(|faults| {
        faults.set(move |call, _| {
            if call != "s3:PutObject" || lost {
                return Fate::Pass;
            }
            lost = true;
            Fate::LostAfter
        });
    });
    shelf
        .write(&manifest(&id(ONE), Purpose::Full, hours(1)))
        .await;
    assert_eq!(only(&shelf, ONE).await.condition(), Condition::Whole);
}

#[tokio::test(start_paused = true)]
async fn another_write_at_the_same_moment_is_waited_for() {
    let shelf = Shelf::new().await;
    let mut puts = 0;
    shelf.sandbox.faults(|faults| {
        faults.set(move |call, _| {
            puts += u32::from(call == "s3:PutObject");
            match puts {
                1 | 2 if call == "s3:PutObject" => Fate::Refuse(Refusal::new(
                    409,
                    "ConditionalRequestConflict",
                    "A conflicting conditional operation is in progress against this resource.",
                )),
                _ => Fate::Pass,
            }
        });
    });
    shelf
        .write(&manifest(&id(ONE), Purpose::Full, hours(1)))
        .await;
    assert_eq!(only(&shelf, ONE).await.condition(), Condition::Whole);
}

#[tokio::test(start_paused = true)]
async fn a_list_costs_a_listing_and_a_get_for_each_thing_that_matters() {
    let shelf = two_points().await;
    let marks = [
        verified(hours(20), Health::Faulty),
        verified(hours(10), Health::Sound),
        Mark::Pinned(pin(hours(9))),
        Mark::Unpinned(pin(hours(8))),
        Mark::Drilled(Drilled {
            at: hours(7),
            outcome: Health::Sound,
            proof: json!({"minutes": 42}),
        }),
    ];
    for mark in &marks {
        shelf
            .points
            .mark(&shelf.signer, &id(ONE), mark)
            .await
            .unwrap();
    }
    shelf.put(BACKUPS, "points/README", b"not a point").await;
    shelf.sandbox.clear_log();
    let listed = shelf.points.list().await.unwrap();
    let calls: Vec<String> = shelf.sandbox.log().into_iter().map(|c| c.call).collect();
    let count = |name: &str| calls.iter().filter(|call| *call == name).count();
    // Two manifests, and of five marks the newest of three families.
    assert_eq!(
        (
            count("s3:ListObjectsV2"),
            count("s3:GetObject"),
            calls.len()
        ),
        (1, 5, 6)
    );
    let ids: Vec<&str> = listed.iter().map(|point| point.id.as_str()).collect();
    assert_eq!(ids, [ONE, TWO]);
    let marks = &listed[0].marks;
    assert_eq!(marks.verified.as_ref().unwrap().outcome, Health::Sound);
    assert_eq!(marks.pinned, None);
    assert_eq!(
        marks.drilled.as_ref().unwrap().proof,
        json!({"minutes": 42})
    );
    assert!(listed[0].doubts.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_long_list_has_pages() {
    let shelf = two_points().await;
    let now = TODAY.as_millisecond();
    shelf.sandbox.change(|world| {
        for number in 0..1_100 {
            let key = format!("points/{ONE}/parts/{number:04}");
            let v = json!({"Bucket": BACKUPS, "Key": key, "VersionId": "v", "_at": 1, "Size": 0, "ETag": "\"e\"",
                "_body": ""});
            world.insert("eu-west-1", "s3/object", &format!("{BACKUPS}/{key}#v"), v, now);
        }
    });
    shelf.sandbox.clear_log();
    let listed = shelf.points.list().await.unwrap();
    let listings = shelf.sandbox.log();
    let listings = listings.iter().filter(|c| c.call == "s3:ListObjectsV2");
    assert_eq!(listings.count(), 2);
    assert_eq!(listed[0].keys.len(), 1_101);
    assert_eq!(listed[1].condition(), Condition::Whole);
}

/// What somebody may do to a manifest, what the list says then, and what a restore is told.
#[tokio::test(start_paused = true)]
async fn a_manifest_that_is_not_believed_is_still_listed() {
    let key = manifest_key(&id(TWO));
    let shelf = two_points().await;
    let own = shelf.get(BACKUPS, &key).await;
    let text = String::from_utf8(own.clone()).unwrap();
    let of_another = shelf.get(BACKUPS, &manifest_key(&id(ONE))).await;
    let foreign = signer('b')
        .sign(
            Kind::Manifest,
            &key,
            &manifest(&id(TWO), Purpose::Full, hours(24)),
        )
        .unwrap();
    let misnamed = shelf
        .signer
        .sign(
            Kind::Manifest,
            &key,
            &manifest(&id(ONE), Purpose::Full, hours(24)),
        )
        .unwrap();
    let cases: [(&str, Vec<u8>, &str); 7] = [
        (
            "another version",
            text.replace("19.5.3", "19.5.4").into(),
            "its signature does not fit",
        ),
        (
            "cut short",
            own[..own.len() - 9].to_vec(),
            "no signed document",
        ),
        ("swapped", of_another, "its signature does not fit"),
        ("of another site", foreign, "it is signed with the key"),
        ("of another name", misnamed, "it says that it is"),
        (
            "of the future",
            text.replacen("\"format\":1", "\"format\":2", 1).into(),
            "it is written in format 2",
        ),
        ("empty", vec![], "no signed document"),
    ];
    for (what, content, why) in cases {
        let shelf = two_points().await;
        shelf.put(BACKUPS, &key, &content).await;
        let listed = shelf.points.list().await.unwrap();
        assert_eq!(listed.len(), 2, "{what}");
        assert_eq!(listed[0].condition(), Condition::Whole, "{what}");
        assert_eq!(listed[1].condition(), Condition::Untrusted, "{what}");
        let Standing::Untrusted { why: said, .. } = &listed[1].standing else {
            panic!("{what}: {:?}", listed[1].standing);
        };
        assert!(said.contains(why), "{what}: {said}");
        let (said, help) = refusal(listed[1].restorable().unwrap_err());
        assert!(said.contains(why), "{what}: {said}");
        assert!(help.contains("gantry backup list"), "{what}: {help}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_whole_points_restore() {
    let shelf = two_points().await;
    assert!(only(&shelf, ONE).await.restorable().is_ok());
    let mut broken = manifest(&id("20261126T023000Z-000003"), Purpose::Full, TODAY);
    broken.whole = false;
    shelf.write(&broken).await;
    shelf
        .put(
            BACKUPS,
            "points/20261127T023000Z-000004/parts/lfs.jsonl.gz",
            b"",
        )
        .await;
    let mark = Mark::Dropping(Dropping {
        at: TODAY,
        run: "20261126T000000Z-00000a".into(),
    });
    shelf
        .points
        .mark(&shelf.signer, &id(TWO), &mark)
        .await
        .unwrap();
    let listed = shelf.points.list().await.unwrap();
    let told: Vec<(Condition, String)> = listed[1..]
        .iter()
        .map(|point| {
            let why = point.restorable().unwrap_err().to_string();
            let why = why.split(": ").nth(1).unwrap_or_default().to_owned();
            (point.condition(), why)
        })
        .collect();
    let wanted = [
        (
            Condition::Dropping,
            "its parts are being removed since 2026-11-26 00:00:00 UTC (run 20261126T000000Z-00000a)",
        ),
        (Condition::Incomplete, "it is incomplete"),
        (Condition::Unfinished, "it has no manifest"),
    ];
    assert_eq!(told, wanted.map(|(c, why)| (c, why.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_is_not_believed_does_not_count() {
    let shelf = two_points().await;
    let id = id(ONE);
    let points = &shelf.points;
    points
        .mark(&shelf.signer, &id, &Mark::Pinned(pin(hours(9))))
        .await
        .unwrap();
    // Somebody who may write to the bucket, but has not the key.
    let unpinned = Mark::Unpinned(pin(hours(8)));
    let dropping = Mark::Dropping(Dropping {
        at: hours(7),
        run: "x".into(),
    });
    for mark in [&unpinned, &dropping] {
        let key = mark.key(&id);
        let forged = signer('b').sign(Kind::Mark, &key, mark).unwrap();
        shelf.put(BACKUPS, &key, &forged).await;
    }
    // A mark of the other point, under this one's name.
    let other = verified(hours(6), Health::Sound);
    points
        .mark(&shelf.signer, &crate::support::shelf::id(TWO), &other)
        .await
        .unwrap();
    let moved = shelf
        .get(BACKUPS, &other.key(&crate::support::shelf::id(TWO)))
        .await;
    shelf.put(BACKUPS, &other.key(&id), &moved).await;
    let listed = only(&shelf, ONE).await;
    assert_eq!(listed.marks.pinned, Some(pin(hours(9))));
    assert_eq!(listed.marks.verified, None);
    assert_eq!(listed.condition(), Condition::Whole);
    assert_eq!(listed.doubts.len(), 3, "{:#?}", listed.doubts);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_said() {
    let shelf = two_points().await;
    let missing = id("20261101T000000Z-ffffff");
    let (said, _) = refusal(shelf.points.read(&missing).await.unwrap_err());
    assert!(
        said.contains("there is no recovery point 20261101T000000Z-ffffff"),
        "{said}"
    );
    let cx = shelf.points.cloud().clone();
    let elsewhere = Points::new(cx, "no-such-bucket", shelf.points.trusted());
    let (said, help) = refusal(elsewhere.list().await.unwrap_err());
    assert!(said.contains("the bucket no-such-bucket does not exist"));
    assert!(help.contains("gantry install"), "{help}");
}
