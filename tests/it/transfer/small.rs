//! What a transfer does when calls are lost, keys are taken, and what is stored is not what was saved.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use gantry::cloud::Fault;
use gantry::ops::point::ObjectIndex;
use gantry::ops::transfer::{
    Digest, Findings, IndexLine, Moved, Object, Overwrite, Place, Problem, Restored, Share, Stored,
    TransferFault,
};

use super::server::{BUCKET, Fate, OTHER, Server, noise};

const MIB: usize = 1024 * 1024;

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(test)
}

fn at(key: &str) -> Place {
    Place::new(BUCKET, key)
}

/// The stored object as something to be read.
fn object(stored: &Stored) -> Object {
    Object {
        place: stored.place.clone(),
        version: None,
        bytes: Some(stored.bytes),
        sha256: Some(stored.sha256),
    }
}

/// Flips one bit of a stored file.
fn flip(file: &Path, place: usize) {
    let mut content = std::fs::read(file).unwrap();
    content[place] ^= 1;
    std::fs::write(file, content).unwrap();
}

#[test]
fn streams_of_any_length_become_the_object_they_were() {
    run(async {
        let server = Server::start();
        let transfer = server.transfer();
        for bytes in [0, 1, 16 * MIB - 1, 16 * MIB, 40 * MIB + 1] {
            let content = noise(3, bytes);
            let key = format!("streams/{bytes}");
            let stored = transfer
                .upload_stream(content.as_slice(), &at(&key), Overwrite::Allowed)
                .await
                .unwrap();
            assert_eq!(stored.bytes, bytes as u64);
            assert_eq!(stored.sha256, Digest::of(&content));
            assert!(std::fs::read(server.file(BUCKET, &key)).unwrap() == content);
            assert_eq!(
                transfer.verify_object(&object(&stored)).await.unwrap(),
                None
            );
        }
        assert_eq!(server.unfinished(), Vec::<String>::new());
    });
}

#[test]
fn progress_ends_at_the_total() {
    run(async {
        let server = Server::start();
        let seen: Arc<Mutex<Vec<Moved>>> = Arc::default();
        let told = seen.clone();
        let transfer = server
            .transfer()
            .with_progress(Arc::new(move |moved| told.lock().unwrap().push(moved)));
        let home = tempfile::tempdir().unwrap();
        let source = home.path().join("source");
        std::fs::write(&source, noise(4, 33 * MIB)).unwrap();
        transfer
            .upload_file(&source, &at("p"), Overwrite::Allowed)
            .await
            .unwrap();
        let all = 33 * MIB as u64;
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 3);
        assert!(seen.iter().all(|m| m.total == Some(all)));
        assert_eq!(seen.iter().map(|m| m.done).max(), Some(all));
    });
}

#[test]
fn a_key_that_is_taken_is_not_overwritten() {
    run(async {
        let server = Server::start();
        let transfer = server.transfer();
        for bytes in [10, 20 * MIB] {
            let key = format!("manifests/{bytes}");
            let put = async |seed: u64| {
                let content = noise(seed, bytes);
                transfer
                    .upload_stream(content.as_slice(), &at(&key), Overwrite::Never)
                    .await
            };
            put(1).await.unwrap();
            let fault = put(2).await.unwrap_err();
            assert!(matches!(fault, TransferFault::Taken { .. }), "{fault}");
            assert!(std::fs::read(server.file(BUCKET, &key)).unwrap() == noise(1, bytes));
            assert_eq!(server.unfinished(), Vec::<String>::new());
        }
        // The same content: as if our own answer had been lost.
        transfer
            .upload_bytes(noise(1, 10), &at("manifests/10"), Overwrite::Never)
            .await
            .unwrap();
    });
}

/// Uploads, lists, verifies, restores and copies while the first call of each sort meets this fate.
fn everything_in_spite_of(fate: Fate) {
    run(async {
        let server = Server::start();
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("source");
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("large"), noise(5, 40 * MIB)).unwrap();
        for name in ["a", "b", "m"] {
            std::fs::write(folder.join(name), noise(6, 1_000)).unwrap();
        }
        server.faults(move |_, count| if count == 1 { fate } else { Fate::Pass });
        let transfer = server.transfer().with_largest_copy(6 * MIB as u64);
        let list = transfer
            .upload_tree(&folder, &at("tree/"), "list.gz")
            .await
            .unwrap();
        assert_eq!(server.unfinished(), Vec::<String>::new());
        let findings = transfer
            .verify_index(BUCKET, &list, &at("tree/"), Share::ALL, 1)
            .await
            .unwrap();
        assert!(findings.is_good() && findings.read == 4, "{findings:?}");
        let copied = transfer
            .copy_index(BUCKET, &list, &at("tree/"), &Place::new(OTHER, "copy/"))
            .await
            .unwrap();
        assert_eq!(copied.count, 4);
        assert_eq!(server.unfinished(), Vec::<String>::new());
        let restored = transfer
            .restore_prefix(&Place::new(OTHER, "copy/"), &home.path().join("restored"))
            .await
            .unwrap();
        assert_eq!((restored.count, restored.kept), (4, 0));
        for name in ["a", "b", "m", "large"] {
            let is = std::fs::read(home.path().join("restored").join(name)).unwrap();
            assert!(is == std::fs::read(folder.join(name)).unwrap(), "{name}");
        }
        for call in [
            "upload_part",
            "upload_part_copy",
            "copy_object",
            "put_object",
            "get_object",
        ] {
            assert!(server.calls(call) > 1, "{call} was called again");
        }
    });
}

#[test]
fn calls_that_are_put_off_are_repeated() {
    everything_in_spite_of(Fate::SlowDown);
}

#[test]
fn lost_answers_do_no_harm() {
    everything_in_spite_of(Fate::Lost);
}

#[test]
fn an_upload_that_fails_and_will_not_be_taken_up_leaves_nothing() {
    run(async {
        let server = Server::start();
        let home = tempfile::tempdir().unwrap();
        let source = home.path().join("source");
        std::fs::write(&source, noise(7, 70 * MIB)).unwrap();
        let refuse = |call: &str, count: u64| {
            if call == "upload_part" && count > 2 {
                Fate::SlowDown
            } else {
                Fate::Pass
            }
        };
        server.faults(refuse);
        let file = tokio::fs::File::open(&source).await.unwrap();
        let fault = server
            .transfer()
            .upload_stream(file, &at("k"), Overwrite::Allowed)
            .await
            .unwrap_err();
        assert!(
            matches!(fault, TransferFault::Cloud(Fault::Throttled { .. })),
            "{fault}"
        );
        assert_eq!(server.unfinished(), Vec::<String>::new());

        // With a journal it waits to be taken up; but not for another content.
        server.faults(refuse);
        let journals = home.path().join("journals");
        let transfer = server.transfer().with_journals(&journals);
        let upload = async || {
            transfer
                .upload_file(&source, &at("k"), Overwrite::Allowed)
                .await
        };
        upload().await.unwrap_err();
        assert!(!server.unfinished().is_empty());
        assert!(std::fs::read_dir(&journals).unwrap().count() == 1);
        std::fs::write(&source, noise(8, 50 * MIB)).unwrap();
        server.faults(|_, _| Fate::Pass);
        let stored = upload().await.unwrap();
        assert_eq!(stored.sha256, Digest::of(&noise(8, 50 * MIB)));
        assert_eq!(
            server.calls("upload_part"),
            4,
            "no part of the old content is taken"
        );
        assert_eq!(server.unfinished(), Vec::<String>::new());
        assert!(std::fs::read_dir(&journals).unwrap().count() == 0);
    });
}

#[test]
fn an_upload_of_which_no_part_was_noted_is_taken_up() {
    run(async {
        let server = Server::start();
        let home = tempfile::tempdir().unwrap();
        let (source, journals) = (home.path().join("source"), home.path().join("journals"));
        std::fs::write(&source, noise(9, 70 * MIB)).unwrap();
        let transfer = server.transfer().with_journals(&journals);
        let upload = async || {
            transfer
                .upload_file(&source, &at("k"), Overwrite::Never)
                .await
        };
        // Every part arrives, and no answer.
        server.faults(|call, _| {
            if call == "upload_part" {
                Fate::Lost
            } else {
                Fate::Pass
            }
        });
        upload().await.unwrap_err();
        assert_eq!(server.calls("create_multipart_upload"), 1);
        server.faults(|_, _| Fate::Pass);
        let stored = upload().await.unwrap();
        assert_eq!(stored.sha256, Digest::of(&noise(9, 70 * MIB)));
        assert_eq!(server.calls("create_multipart_upload"), 0, "no second one");
        assert_eq!(server.unfinished(), Vec::<String>::new());
    });
}

#[test]
fn a_tree_sends_again_only_what_is_not_there() {
    run(async {
        let server = Server::start();
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("source");
        std::fs::create_dir(&folder).unwrap();
        let name = |number: usize| format!("{number:03}");
        for number in 0..200 {
            std::fs::write(folder.join(name(number)), noise(number as u64, 100)).unwrap();
        }
        let transfer = server
            .transfer()
            .with_journals(home.path().join("journals"));
        let upload = async || transfer.upload_tree(&folder, &at("t/"), "list.gz").await;
        server.faults(|call, count| {
            if call == "put_object" && count > 150 {
                Fate::SlowDown
            } else {
                Fate::Pass
            }
        });
        upload().await.unwrap_err();
        // Behind our back: one object is gone, one is cut short, one file is another.
        std::fs::remove_file(server.file(BUCKET, "t/010")).unwrap();
        std::fs::write(server.file(BUCKET, "t/020"), "short").unwrap();
        std::fs::write(folder.join("030"), noise(1_030, 101)).unwrap();
        server.faults(|_, _| Fate::Pass);
        let list = upload().await.unwrap();
        assert_eq!(list.count, 200);
        let sent = server.calls("put_object");
        // The three, the fifty that were refused, the list; and those that were sent but not noted any more.
        assert!((3 + 50 + 1..=3 + 50 + 1 + 32).contains(&sent), "{sent}");
        let findings = verify(&server, &list).await;
        assert!(findings.is_good(), "{findings:?}");
    });
}

async fn verify(server: &Server, list: &ObjectIndex) -> Findings {
    server
        .transfer()
        .verify_index(BUCKET, list, &at("t/"), Share::ALL, 1)
        .await
        .unwrap()
}

#[test]
fn damage_is_found_and_named() {
    run(async {
        let server = Server::start();
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("source");
        std::fs::create_dir(&folder).unwrap();
        for name in ["cut", "flipped", "gone", "good"] {
            std::fs::write(folder.join(name), noise(9, 5_000)).unwrap();
        }
        std::fs::write(folder.join("large"), noise(10, 20 * MIB)).unwrap();
        let transfer = server.transfer();
        let list = transfer
            .upload_tree(&folder, &at("t/"), "list.gz")
            .await
            .unwrap();
        assert!(verify(&server, &list).await.is_good());

        std::fs::write(server.file(BUCKET, "t/cut"), noise(9, 4_999)).unwrap();
        flip(&server.file(BUCKET, "t/flipped"), 4_000);
        flip(&server.file(BUCKET, "t/large"), 17 * MIB);
        std::fs::remove_file(server.file(BUCKET, "t/gone")).unwrap();
        let findings = verify(&server, &list).await;
        let found: BTreeMap<&str, &Problem> = findings
            .problems
            .iter()
            .map(|(key, problem)| (key.as_str(), problem))
            .collect();
        assert_eq!(found.len(), 4, "{found:?}");
        let size = Problem::Size {
            is: 4_999,
            should: 5_000,
        };
        assert_eq!(found["t/cut"], &size);
        assert_eq!(found["t/gone"], &Problem::Missing);
        assert!(found["t/flipped"].to_string().contains("checksum"));
        assert!(found["t/large"].to_string().contains("SHA-256"));

        // A restore refuses them too, and leaves no file that looks whole.
        let large = Object::newest(at("t/large"));
        let file = home.path().join("large");
        let wanted = Object {
            sha256: Some(Digest::of(&noise(10, 20 * MIB))),
            ..large
        };
        let fault = transfer.download(&wanted, &file).await.unwrap_err();
        assert!(matches!(fault, TransferFault::Damaged { .. }), "{fault}");
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);

        // So is damage to the list itself.
        flip(&server.file(BUCKET, "list.gz"), 100);
        let mut reader = transfer.read_index(BUCKET, &list);
        let fault = loop {
            match reader.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("it was taken for good"),
                Err(fault) => break fault,
            }
        };
        assert!(matches!(fault, TransferFault::Damaged { .. }), "{fault}");
    });
}

/// A list of these objects, in the order of their keys, as one of a bucket that others write: it knows no SHA-256.
async fn listed(server: &Server, all: &[Stored]) -> ObjectIndex {
    let mut gzip = flate2::write::GzEncoder::new(vec![], flate2::Compression::default());
    for stored in all {
        let line = IndexLine {
            key: stored.place.key.clone(),
            version: None,
            bytes: stored.bytes,
            etag: stored.etag.clone(),
            sha256: None,
        };
        writeln!(gzip, "{}", serde_json::to_string(&line).unwrap()).unwrap();
    }
    let list = server
        .transfer()
        .upload_bytes(gzip.finish().unwrap(), &at("list.gz"), Overwrite::Allowed)
        .await
        .unwrap();
    ObjectIndex {
        key: list.place.key,
        sha256: list.sha256.to_string(),
        count: all.len() as u64,
        bytes: all.iter().map(|stored| stored.bytes).sum(),
    }
}

#[test]
fn damage_to_what_others_wrote_is_found_by_the_checksum_that_s3_keeps() {
    run(async {
        let server = Server::start();
        let mut all = vec![];
        for key in ["o/damaged", "o/good"] {
            let stored = server
                .transfer()
                .upload_bytes(noise(11, 3 * MIB), &at(key), Overwrite::Allowed)
                .await
                .unwrap();
            all.push(stored);
        }
        let list = listed(&server, &all).await;
        let verify = async |share: Share| {
            server
                .transfer()
                .verify_index(BUCKET, &list, &at("o/"), share, 1)
                .await
                .unwrap()
        };
        let findings = verify(Share::ALL).await;
        assert!(findings.is_good(), "{findings:?}");
        assert_eq!((findings.read, findings.read_bytes), (2, 6 * MIB as u64));

        let damaged = server.file(BUCKET, "o/damaged");
        std::fs::write(damaged, noise(12, 3 * MIB)).unwrap();
        let findings = verify(Share::NONE).await;
        assert!(findings.is_good(), "{findings:?}");
        assert_eq!((findings.count, findings.read), (2, 0));

        // What comes first is put off: the list, and one of the objects.
        server.faults(|call, count| match (call, count) {
            ("get_object", 1 | 3) => Fate::SlowDown,
            _ => Fate::Pass,
        });
        let findings = verify(Share::ALL).await;
        let [(key, problem)] = findings.problems.as_slice() else {
            panic!("{findings:?}");
        };
        assert_eq!(key, "o/damaged");
        assert!(problem.to_string().contains("checksum"), "{problem}");
        let calls = server.calls("get_object");
        assert_eq!(calls, 3 + 2, "each object is one call, and no ranges");
    });
}

#[test]
fn a_download_goes_on_only_with_the_same_content() {
    run(async {
        let server = Server::start();
        let home = tempfile::tempdir().unwrap();
        let transfer = server.transfer();
        let put = async |seed: u64| {
            let content = noise(seed, 20 * MIB);
            transfer
                .upload_stream(content.as_slice(), &at("k"), Overwrite::Allowed)
                .await
                .unwrap()
        };
        let file = home.path().join("file");
        // Four of ten pieces come. Which, the line decides; those from the beginning on are kept.
        let break_off = async |stored: &Stored| {
            server.faults(|call, count| {
                if call == "get_object" && count > 4 {
                    Fate::SlowDown
                } else {
                    Fate::Pass
                }
            });
            transfer.download(&object(stored), &file).await.unwrap_err();
            assert!(home.path().join("file.part").exists() && !file.exists());
            server.faults(|_, _| Fate::Pass);
        };
        let first = put(1).await;
        break_off(&first).await;
        transfer.download(&object(&first), &file).await.unwrap();
        let again = server.calls("get_object");
        assert!((6..10).contains(&again), "what was there is kept: {again}");
        std::fs::remove_file(&file).unwrap();

        break_off(&first).await;
        let second = put(2).await;
        transfer.download(&object(&second), &file).await.unwrap();
        assert_eq!(server.calls("get_object"), 10, "all of the new content");
        assert!(std::fs::read(&file).unwrap() == noise(2, 20 * MIB));
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
    });
}

#[test]
fn a_restored_folder_is_left_as_it_is() {
    run(async {
        let server = Server::start();
        let home = tempfile::tempdir().unwrap();
        let transfer = server.transfer();
        for key in ["r/a", "r/b/c", "other"] {
            transfer
                .upload_bytes(key.into(), &at(key), Overwrite::Allowed)
                .await
                .unwrap();
        }
        let restore = async || {
            transfer
                .restore_prefix(&at("r/"), home.path())
                .await
                .unwrap()
        };
        let all = Restored {
            count: 2,
            bytes: 8,
            kept: 0,
        };
        assert_eq!(restore().await, all);
        assert_eq!(restore().await, Restored { kept: 2, ..all });
        assert_eq!(std::fs::read(home.path().join("b/c")).unwrap(), b"r/b/c");
    });
}

#[test]
fn wrong_credentials_are_refused() {
    run(async {
        let server = Server::start();
        let fault = server
            .transfer_with("not-the-key")
            .upload_bytes(b"x".to_vec(), &at("k"), Overwrite::Allowed)
            .await
            .unwrap_err();
        assert!(
            matches!(fault, TransferFault::Cloud(Fault::Credentials { .. })),
            "{fault}"
        );
        assert!(!server.file(BUCKET, "k").exists());
        assert_eq!(server.calls("put_object"), 0);
    });
}
