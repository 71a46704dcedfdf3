//! 1 GiB, and 100,000 small objects: in bounded memory, killed at random moments and taken up.

use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use gantry::ops::point::ObjectIndex;
use gantry::ops::transfer::Digest;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::job::{Done, Verb, Worker};
use super::server::{Server, noise};

const MIB: usize = 1024 * 1024;

/// What a transfer may take at most, in MiB: the binary, the SDK, and buffers.
const MEMORY: u64 = 128;

/// Random moments. The seed is told where a test fails, and `GANTRY_SEED` plays it again.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let given = std::env::var("GANTRY_SEED").ok();
        let seed = given.map_or_else(
            || RandomState::new().build_hasher().finish(),
            |seed| seed.parse().unwrap(),
        );
        #[expect(clippy::print_stderr, reason = "whoever sees a failure needs the seed")]
        {
            eprintln!("GANTRY_SEED={seed}");
        }
        Self(seed | 1)
    }

    /// From 1 to this.
    fn up_to(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most + 1
    }
}

/// Starts the job, and kills it when this call was carried out so many times since now.
fn killed_at(server: &Server, home: &Path, verb: &Verb, call: &'static str, after: u64) {
    let (told, heard) = mpsc::channel();
    let begin = server.calls(call);
    server.watch(move |name, count| {
        if name == call && count == begin + after {
            told.send(()).unwrap();
        }
    });
    let worker = Worker::start(server, home, verb.clone());
    heard
        .recv_timeout(Duration::from_mins(5))
        .expect("the job comes as far");
    let peak = worker.kill();
    server.quiet();
    assert!(peak < MEMORY, "{peak} MiB");
}

fn finished(server: &Server, home: &Path, verb: Verb) -> Done {
    let told = format!("{verb:?}");
    let done = Worker::start(server, home, verb).wait();
    assert!(done.peak < MEMORY, "{} MiB: {told}", done.peak);
    done
}

/// A folder in memory, if there is room: half a million small files take a disk longer to delete than S3 to store.
fn quick_folder() -> tempfile::TempDir {
    let room = rustix::fs::statvfs("/dev/shm").map_or(0, |fs| fs.f_bavail * fs.f_frsize);
    if room > 6 << 30 {
        tempfile::tempdir_in("/dev/shm").unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut all| all.next().is_none())
}

#[test]
fn a_gibibyte_goes_up_and_comes_back() {
    let server = Server::start();
    let home = tempfile::tempdir().unwrap();
    let source = home.path().join("source");
    let sha256: Digest = {
        // Blocks of noise, each with its number, so that no two parts are the same.
        let (mut file, mut hasher) = (File::create(&source).unwrap(), Sha256::new());
        let mut block = noise(1, 4 * MIB);
        for number in 0..256_u64 {
            block[..8].copy_from_slice(&number.to_le_bytes());
            file.write_all(&block).unwrap();
            hasher.update(&block);
        }
        let digits: String = hasher
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        digits.parse().unwrap()
    };

    // 64 parts of 16 MiB. At most four are under way when it is killed, and one more may be there but not noted.
    let upload = Verb::UploadFile {
        file: source.clone(),
        key: "points/1/archive.tar".into(),
    };
    let mut dice = Dice::new();
    // The first time as early as can be: hardly ever is anything noted then.
    for after in [1, dice.up_to(15), dice.up_to(15)] {
        killed_at(&server, home.path(), &upload, "upload_part", after);
    }
    let done = finished(&server, home.path(), upload.clone());
    assert_eq!(done.answer, json!({"bytes": 1024 * MIB, "sha256": sha256}));
    let sent = server.calls("upload_part");
    assert!((64..=64 + 5 * 3).contains(&sent), "{sent} parts were sent");
    assert_eq!(server.calls("create_multipart_upload"), 1);
    assert_eq!(server.unfinished(), Vec::<String>::new());
    assert!(is_empty(&home.path().join("journals")));

    let verify = Verb::VerifyFile {
        key: "points/1/archive.tar".into(),
        sha256,
    };
    assert_eq!(finished(&server, home.path(), verify).answer, json!(null));

    // 512 pieces of 2 MiB. What was written when it is killed is not fetched again.
    let (file, begin) = (home.path().join("restored"), server.calls("get_object"));
    let download = Verb::Download {
        key: "points/1/archive.tar".into(),
        file: file.clone(),
        sha256,
    };
    for _ in 0..2 {
        let after = dice.up_to(200);
        killed_at(&server, home.path(), &download, "get_object", after);
        assert!(!file.exists(), "it has its name only when it is whole");
    }
    let done = finished(&server, home.path(), download);
    assert_eq!(done.answer, json!({"bytes": 1024 * MIB, "sha256": sha256}));
    let fetched = server.calls("get_object") - begin;
    assert!((512..=512 + 2 * 10).contains(&fetched), "{fetched} pieces");
    assert!(same(&source, &file));
    assert!(!home.path().join("restored.part").exists());
}

/// Whether two files have the same content.
fn same(one: &Path, other: &Path) -> bool {
    let read = |path: &Path| {
        let (mut file, mut hasher) = (File::open(path).unwrap(), Sha256::new());
        let mut buffer = vec![0; MIB];
        loop {
            match std::io::Read::read(&mut file, &mut buffer).unwrap() {
                0 => return hasher.finalize(),
                some => hasher.update(&buffer[..some]),
            }
        }
    };
    read(one) == read(other)
}

#[test]
fn a_hundred_thousand_objects_go_up_and_come_back() {
    const COUNT: u64 = 100_000;
    let server = Server::start_in(quick_folder());
    let home = quick_folder();
    let folder = home.path().join("source");
    let content = |number: u64| {
        let size = usize::try_from(number * 7_919 % 600).unwrap();
        noise(number + 1, size)
    };
    let name = |number: u64| format!("{:03}/{number:06}", number % 250);
    for part in 0..250 {
        std::fs::create_dir_all(folder.join(format!("{part:03}"))).unwrap();
    }
    let mut bytes = 0;
    for number in 0..COUNT {
        let content = content(number);
        bytes += content.len() as u64;
        std::fs::write(folder.join(name(number)), content).unwrap();
    }

    let prefix = "points/1/uploads/".to_owned();
    let upload = Verb::UploadTree {
        folder: folder.clone(),
        prefix: prefix.clone(),
        list: "points/1/parts/uploads.jsonl.gz".into(),
    };
    let mut dice = Dice::new();
    for _ in 0..2 {
        let after = dice.up_to(40_000);
        killed_at(&server, home.path(), &upload, "put_object", after);
    }
    let done = finished(&server, home.path(), upload);
    let list: ObjectIndex = serde_json::from_value(done.answer).unwrap();
    assert_eq!((list.count, list.bytes), (COUNT, bytes));
    // Those under way when it was killed, and the list itself.
    let sent = server.calls("put_object");
    assert!(
        (COUNT + 1..COUNT + 1 + 2 * 64).contains(&sent),
        "{sent} objects were sent"
    );
    assert!(is_empty(&home.path().join("journals")));

    let verify = Verb::VerifyTree {
        list: list.clone(),
        prefix: prefix.clone(),
        share: "5%".into(),
    };
    let done = finished(&server, home.path(), verify);
    assert_eq!(done.answer["good"], json!(true));
    assert_eq!(done.answer["count"], json!(COUNT));
    let read = done.answer["read"].as_u64().unwrap();
    assert!((4_000..6_000).contains(&read), "{read} were read");

    // Every object is read and compared with the list on its way back.
    let (restored, begin) = (home.path().join("restored"), server.calls("get_object"));
    let restore = Verb::RestoreTree {
        list,
        prefix,
        folder: restored.clone(),
    };
    let after = dice.up_to(60_000);
    killed_at(&server, home.path(), &restore, "get_object", after);
    let done = finished(&server, home.path(), restore);
    assert_eq!(done.answer["count"], json!(COUNT));
    assert_eq!(done.answer["bytes"], json!(bytes));
    let fetched = server.calls("get_object") - begin;
    assert!(
        (COUNT..COUNT + 200).contains(&fetched),
        "{fetched} objects were fetched"
    );
    for number in 0..COUNT {
        let is = std::fs::read(restored.join(name(number))).unwrap();
        assert!(is == content(number), "{} is another", name(number));
    }
}
