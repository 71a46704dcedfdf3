//! Versions and lost answers, in the strict cloud.

use std::collections::BTreeSet;

use aws_sdk_s3::types::{
    BucketLocationConstraint, BucketVersioningStatus, CreateBucketConfiguration,
    VersioningConfiguration,
};
use gantry::clock::Clock;
use gantry::cloud::Aws;
use gantry::ops::point::ObjectIndex;
use gantry::ops::transfer::{
    Copied, IndexLine, Object, Overwrite, Place, Problem, Share, Transfer,
};
use gantry::sandbox::{Fate, Refusal, Sandbox};

use super::server::transfer;
use crate::support::stage::{BEGINNING, account};

const REGION: &str = "eu-west-1";
const DATA: &str = "acme-artifacts";
const BACKUPS: &str = "acme-backups";

struct Cloud {
    sandbox: Sandbox,
    aws: Aws,
    transfer: Transfer,
}

impl Cloud {
    /// Two buckets with versions.
    async fn new() -> Self {
        let sandbox = Sandbox::in_memory(account(), Clock::played(BEGINNING, 1));
        let config = sandbox.config(REGION);
        let aws = Aws::new(&config);
        for bucket in [DATA, BACKUPS] {
            let place = CreateBucketConfiguration::builder()
                .location_constraint(BucketLocationConstraint::EuWest1);
            aws.s3
                .create_bucket()
                .bucket(bucket)
                .create_bucket_configuration(place.build())
                .send()
                .await
                .unwrap();
            let enabled = VersioningConfiguration::builder()
                .status(BucketVersioningStatus::Enabled)
                .build();
            aws.s3
                .put_bucket_versioning()
                .bucket(bucket)
                .versioning_configuration(enabled)
                .send()
                .await
                .unwrap();
        }
        let transfer = transfer(&config, sandbox.clock());
        Self {
            sandbox,
            aws,
            transfer,
        }
    }

    async fn put(&self, key: &str, content: &str) {
        self.transfer
            .upload_bytes(content.into(), &Place::new(DATA, key), Overwrite::Allowed)
            .await
            .unwrap();
    }

    async fn delete(&self, key: &str, version: Option<String>) {
        self.aws
            .s3
            .delete_object()
            .bucket(DATA)
            .key(key)
            .set_version_id(version)
            .send()
            .await
            .unwrap();
    }

    async fn index(&self) -> ObjectIndex {
        self.transfer
            .write_index(&Place::new(DATA, ""), &Place::new(BACKUPS, "index.gz"))
            .await
            .unwrap()
    }

    async fn lines(&self, index: &ObjectIndex) -> Vec<IndexLine> {
        let mut reader = self.transfer.read_index(BACKUPS, index);
        let mut lines = vec![];
        while let Some(line) = reader.next().await.unwrap() {
            lines.push(line);
        }
        lines
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test)
}

#[test]
fn a_list_of_versions_brings_back_what_was_there_then() {
    run(async {
        let cloud = Cloud::new().await;
        // More than a page of them.
        for number in 0..1_100 {
            cloud.put(&format!("a/{number:04}"), "first").await;
        }
        cloud.put("a/0007", "second").await;
        cloud.put("b/deleted", "gone").await;
        cloud.delete("b/deleted", None).await;
        let index = cloud.index().await;
        assert_eq!((index.count, index.bytes), (1_100, 1_100 * 5 + 1));
        let lines = cloud.lines(&index).await;
        assert_eq!(lines.len(), 1_100);
        assert!(lines.iter().all(|line| line.version.is_some()));

        // Afterwards everything changes; the versions are kept.
        cloud.put("a/0001", "third").await;
        cloud.delete("a/0002", None).await;
        let from = Place::new(DATA, "");
        let verify = async || {
            cloud
                .transfer
                .verify_index(BACKUPS, &index, &from, "10%".parse().unwrap(), 3)
                .await
                .unwrap()
        };
        let findings = verify().await;
        assert!(findings.is_good(), "{findings:?}");
        assert_eq!(findings.count, 1_100);
        let to = Place::new(BACKUPS, "restored/");
        let copied = cloud
            .transfer
            .copy_index(BACKUPS, &index, &from, &to)
            .await
            .unwrap();
        let all = Copied {
            count: 1_100,
            bytes: index.bytes,
            kept: 0,
        };
        assert_eq!(copied, all);
        for (key, content) in [
            ("a/0001", "first"),
            ("a/0002", "first"),
            ("a/0007", "second"),
        ] {
            let object = Object::newest(Place::new(BACKUPS, format!("restored/{key}")));
            let file = tempfile::tempdir().unwrap();
            let file = file.path().join("x");
            cloud.transfer.download(&object, &file).await.unwrap();
            assert_eq!(std::fs::read_to_string(file).unwrap(), content, "{key}");
        }

        // Unless somebody removes one for good.
        let lost = lines.iter().find(|line| line.key == "a/0003").unwrap();
        cloud.delete(&lost.key, lost.version.clone()).await;
        let findings = verify().await;
        assert_eq!(findings.problems, [("a/0003".to_owned(), Problem::Missing)]);
    });
}

#[test]
fn listed_versions_become_the_newest_again_where_they_are_not() {
    run(async {
        let cloud = Cloud::new().await;
        for key in ["a/kept", "a/overwritten", "b/deleted"] {
            cloud.put(key, "first").await;
        }
        let index = cloud.index().await;
        cloud.put("a/overwritten", "second").await;
        cloud.put("a/overwritten", "third").await;
        cloud.delete("b/deleted", None).await;
        cloud.put("c/later", "later").await;
        let revert = async || {
            let transfer = &cloud.transfer;
            transfer.revert_index(BACKUPS, &index, DATA).await.unwrap()
        };
        let copied = Copied {
            count: 3,
            bytes: index.bytes,
            kept: 1,
        };
        assert_eq!(revert().await, copied);
        let file = tempfile::tempdir().unwrap();
        for (key, content) in [
            ("a/kept", "first"),
            ("a/overwritten", "first"),
            ("b/deleted", "first"),
            ("c/later", "later"),
        ] {
            let object = Object::newest(Place::new(DATA, key));
            let path = file.path().join(key.replace('/', "-"));
            cloud.transfer.download(&object, &path).await.unwrap();
            assert_eq!(std::fs::read_to_string(path).unwrap(), content, "{key}");
        }
        let writes = || {
            let log = cloud.sandbox.log();
            log.iter().filter(|l| l.call == "s3:CopyObject").count()
        };
        let before = writes();
        assert_eq!(before, 2);
        assert_eq!(revert().await, Copied { kept: 3, ..copied });
        assert_eq!(writes(), before, "what is there is not copied again");
    });
}

/// A list, a verification and a copy, while the first call of each sort meets this fate.
fn in_spite_of(fate: &Fate) {
    run(async {
        let cloud = Cloud::new().await;
        let (mut met, fate) = (BTreeSet::new(), fate.clone());
        cloud.sandbox.faults(|f| {
            f.set(move |call, _| {
                if met.insert(call.to_owned()) {
                    fate.clone()
                } else {
                    Fate::Pass
                }
            });
        });
        for key in ["x/1", "x/2"] {
            cloud.put(key, key).await;
        }
        // A manifest is written once, whether or not the answer came.
        let manifest = Place::new(BACKUPS, "manifest.json");
        cloud
            .transfer
            .upload_bytes(b"{}".to_vec(), &manifest, Overwrite::Never)
            .await
            .unwrap();
        let index = cloud.index().await;
        assert_eq!(index.count, 2);
        let from = Place::new(DATA, "x/");
        let findings = cloud
            .transfer
            .verify_index(BACKUPS, &index, &from, Share::ALL, 3)
            .await
            .unwrap();
        assert!(findings.is_good() && findings.read == 2, "{findings:?}");
        cloud
            .transfer
            .copy_index(BACKUPS, &index, &from, &Place::new(BACKUPS, "copy/"))
            .await
            .unwrap();
        let calls: BTreeSet<String> = cloud.sandbox.log().into_iter().map(|l| l.call).collect();
        for call in ["PutObject", "GetObject", "CopyObject", "ListObjectVersions"] {
            assert!(calls.contains(&format!("s3:{call}")), "{call}: {calls:?}");
        }
    });
}

#[test]
fn lost_calls_are_sent_again() {
    in_spite_of(&Fate::LostBefore);
}

#[test]
fn lost_answers_are_asked_for_again() {
    in_spite_of(&Fate::LostAfter);
}

#[test]
fn throttled_calls_are_put_off() {
    in_spite_of(&Fate::Refuse(Refusal::new(
        503,
        "SlowDown",
        "Reduce your request rate.",
    )));
}

#[test]
fn a_conditional_put_whose_answer_is_lost_has_happened() {
    run(async {
        let cloud = Cloud::new().await;
        let manifest = Place::new(BACKUPS, "manifest.json");
        let put = async |content: &str| {
            cloud
                .transfer
                .upload_bytes(content.into(), &manifest, Overwrite::Never)
                .await
        };
        cloud.sandbox.faults(|f| {
            f.set(|_, number| {
                if number == 0 {
                    Fate::LostAfter
                } else {
                    Fate::Pass
                }
            });
        });
        let stored = put("{\"a\":1}").await.unwrap();
        assert!(stored.version.is_some());
        let fault = put("{\"b\":1}").await.unwrap_err();
        assert!(fault.to_string().contains("taken"), "{fault}");
    });
}
