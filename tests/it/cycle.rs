//! The whole life of recovery points with the real binary, in the sandbox and over HTTP against moto server: taken,
//! listed, shown, verified, pruned, and restored onto another site, which is then the same in everything that the
//! manifest names.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use gantry::blueprint::Role;
use gantry::clock::Clock;
use gantry::cloud::{Aws, Limits};
use gantry::journal::{LocalStore, MemoryStore};
use gantry::node::Fleet;
use gantry::profile::ProfileName;
use gantry::sandbox::machines::{Disks, Machines, difference, installed};
use gantry::sandbox::{Folder, Sandbox};
use gantry::session::{Session, silent};
use serde_json::Value;

use crate::cli_backup::{keep_one, opened_nodes};
use crate::moto::{Moto, REGION};
use crate::restore::Seen;
use crate::support::{Place, Said};

/// Slow enough that the parts of a point are of one day, fast enough that nobody waits.
const SPEED: u32 = 2_000;

/// The site that points are taken of, and the one that they are restored onto.
const FROM: &str = "acme";
const ONTO: &str = "beta";

/// Where gantry runs, and which AWS it meets there.
enum World {
    Sandbox(Place),
    Moto(Moto),
}

impl World {
    fn run(&self, site: &str, line: &str) -> Said {
        let line = format!("--site-file {site}.toml {line}");
        match self {
            Self::Sandbox(place) => place.run(&line),
            Self::Moto(moto) => {
                let said = moto.gantry(&line);
                Said {
                    code: said.code,
                    out: said.out,
                    err: said.err,
                }
            }
        }
    }

    fn ok(&self, site: &str, line: &str) -> Said {
        let said = self.run(site, line);
        assert_eq!(
            said.code, 0,
            "{site}: gantry {line}:\n{}\n{}",
            said.out, said.err
        );
        said
    }

    fn json(&self, site: &str, line: &str) -> Value {
        self.ok(site, &format!("{line} --output json")).json()
    }

    fn file(&self, name: &str) -> PathBuf {
        match self {
            Self::Sandbox(place) => place.file(name),
            Self::Moto(moto) => moto.file(name),
        }
    }

    /// Where the sites have their folders.
    fn state(&self) -> PathBuf {
        self.file(match self {
            Self::Sandbox(_) => ".gantry/sandbox",
            Self::Moto(_) => ".gantry",
        })
    }

    /// The same AWS and the same nodes as the binary has, for the people who use them.
    fn surroundings(&self) -> (Aws, Clock, Disks) {
        match self {
            Self::Sandbox(_) => {
                let folder = Folder::new(self.state().join("world"));
                let sandbox = Sandbox::open(folder, SPEED).unwrap();
                // AWS begins with five addresses: enough for one site.
                sandbox.change(|world| {
                    world.quotas.insert("addresses".into(), 20);
                });
                let aws = Aws::new(&sandbox.config(REGION));
                (aws, sandbox.clock(), Disks::Strict(sandbox))
            }
            Self::Moto(moto) => {
                let disks = Disks::Remembered(self.state().join(".played"));
                (Aws::new(&moto.config(REGION)), Clock::System, disks)
            }
        }
    }

    /// Writes a site file and makes the site.
    fn install(&self, site: &str, profile: ProfileName) {
        let domain = format!("gitlab.{site}.example.com");
        self.ok(
            site,
            &format!("init --profile {profile} --domain {domain} --name {site} --region {REGION}"),
        );
        let path = self.file(&format!("{site}.toml"));
        keep_one(&path);
        if matches!(self, Self::Moto(_)) {
            let text = std::fs::read_to_string(&path).unwrap();
            let without = text.replace("[backup]\n", "[backup]\ndlm = false\n");
            assert_ne!(text, without, "init writes a table [backup]");
            std::fs::write(&path, without).unwrap();
        }
        self.ok(site, "install --yes");
    }

    /// The GitLab of a site, as its people meet it.
    async fn gitlab(&self, name: &str) -> GitLab {
        let loaded = gantry::site::load(&self.file(&format!("{name}.toml")));
        let site = loaded.unwrap().site;
        let profile = gantry::profile::get(site.site.profile);
        let profile = profile.with_overrides(&site).unwrap();
        let folder = self.state().join(name);
        let store = MemoryStore::remembering(LocalStore::peek(&folder).unwrap());
        let (aws, clock, disks) = self.surroundings();
        let limits = Limits::default();
        let store = Arc::new(store);
        let opened = Session::open(site, profile, aws, clock, limits, store, &silent()).await;
        let session = opened.unwrap();
        let fleet = session.known_fleet().unwrap();
        let aws = session.cx.aws().clone();
        let machines = Machines::open(
            fleet.clone(),
            installed(&session.site),
            aws.clone(),
            clock,
            disks,
            Some(folder.join("machines.json")),
        )
        .await
        .unwrap();
        machines.first_life().await.unwrap();
        GitLab {
            aws,
            fleet,
            machines,
        }
    }

    /// Takes a point and gives its id.
    fn create(&self, more: &str) -> String {
        let taken = self.json(FROM, &format!("backup create {more}"));
        assert_eq!(taken["whole"], true, "{taken:#}");
        taken["point"].as_str().unwrap().to_owned()
    }

    fn verified(&self, what: &str, points: usize) {
        let found = self.json(FROM, &format!("backup verify {what} --read-data 100%"));
        assert_eq!(found["sound"], true, "{found:#}");
        assert_eq!(found["points"].as_array().unwrap().len(), points);
    }

    fn listed(&self) -> Vec<String> {
        ids(&self.json(FROM, "backup list")["points"])
    }
}

fn ids(points: &Value) -> Vec<String> {
    let points = points.as_array().unwrap().iter();
    points
        .map(|point| point["id"].as_str().unwrap().to_owned())
        .collect()
}

/// A GitLab that people use.
struct GitLab {
    aws: Aws,
    fleet: Fleet,
    machines: Machines,
}

impl GitLab {
    async fn put(&self, bucket: &str, key: &str, content: &str) {
        let put = self.aws.s3.put_object().bucket(bucket).key(key);
        let body = content.as_bytes().to_vec();
        put.body(body.into()).send().await.unwrap();
    }

    async fn delete(&self, bucket: &str, key: &str) {
        let delete = self.aws.s3.delete_object().bucket(bucket).key(key);
        delete.send().await.unwrap();
    }

    /// Something in every bucket, and host keys.
    async fn fill(&self) {
        let buckets = &self.fleet.buckets;
        for (part, bucket) in &buckets.objects {
            self.put(bucket, "first/object", &format!("of {part}"))
                .await;
            self.put(bucket, "a name with spaces, ü and +%", part).await;
        }
        self.put(&buckets.registry, "docker/blobs/1", "layer").await;
        let put = self.aws.secrets.put_secret_value();
        let put = put.secret_id(&self.fleet.secrets["ssh-host-keys"]);
        let put = put.secret_string("{\"host\":\"key\"}");
        put.send().await.unwrap();
    }

    /// People go on: new projects, commits and objects, some in the place of others.
    async fn work(&self, word: &str) {
        let machines = &self.machines;
        machines.add_project().await.unwrap();
        let pushed = machines.push("group/project-1", "main", word).await;
        pushed.unwrap();
        let (_, bucket) = &self.fleet.buckets.objects[0];
        self.put(bucket, "job.log", word).await;
        self.put(bucket, &format!("only/{word}.log"), word).await;
        self.put(&self.fleet.buckets.registry, word, "layer").await;
    }

    /// What nobody wants to have done.
    async fn ruin(&self) {
        self.work("bad").await;
        self.machines.rotate_secrets("other").await.unwrap();
        for (_, bucket) in &self.fleet.buckets.objects {
            self.delete(bucket, "first/object").await;
        }
    }

    async fn seen(&self) -> Seen {
        Seen::look(&self.aws, &self.fleet, &self.machines).await
    }
}

/// The parts whose content [`Seen`] holds. Configuration stays a site's own and is opened instead, and Praefect's database
/// is made anew.
fn is_compared(part: &str) -> bool {
    let whole = ["database", "repositories", "registry", "secrets"];
    whole.contains(&part) || part.starts_with("objects-")
}

async fn cycle(world: World, profile: ProfileName) {
    world.install(FROM, profile);
    world.gitlab(FROM).await.fill().await;
    let first = world.create("");
    world.gitlab(FROM).await.work("second").await;
    let second = world.create("--whole");
    world.verified(&second, 1);
    world.gitlab(FROM).await.work("third").await;
    let before = world.gitlab(FROM).await.seen().await;
    // A box has its repositories in an archive, which is always whole.
    let third = world.create(if profile == ProfileName::SingleBox {
        ""
    } else {
        "--increment"
    });
    world.gitlab(FROM).await.ruin().await;
    assert!(before.lost_in(&world.gitlab(FROM).await.seen().await).len() > 5);

    let all = [&first, &second, &third].map(Clone::clone);
    assert_eq!(world.listed(), all);
    let shown = world.json(FROM, &format!("backup show {third}"));
    let manifest = &shown["manifest"];
    assert_eq!(manifest["profile"], profile.to_string());
    let parts = manifest["parts"].as_array().unwrap().iter();
    let parts: BTreeSet<&str> = parts.map(|part| part["name"].as_str().unwrap()).collect();
    let others: Vec<&str> = parts.into_iter().filter(|p| !is_compared(p)).collect();
    let cluster = profile == ProfileName::Ha3k;
    let known: &[&str] = if cluster {
        &["configuration", "praefect-database"]
    } else {
        &["configuration"]
    };
    assert_eq!(others, known);

    // The second one is the last that was verified, and what the third adds to.
    let dry = world.run(FROM, "backup prune --dry-run --output json");
    assert_eq!(dry.code, 3, "{}\n{}", dry.out, dry.err);
    let dry = dry.json();
    assert_eq!(ids(&dry["drops"]), std::slice::from_ref(&first));
    assert_eq!(world.listed(), all);
    let done = world.json(FROM, "backup prune --yes");
    assert_eq!(done["complete"], true, "{done:#}");
    assert_eq!(done["drops"], dry["drops"]);
    assert_eq!(world.listed(), all[1..]);
    world.verified("--all", 2);

    world.install(ONTO, profile);
    let bucket = world.gitlab(FROM).await.fleet.buckets.backups.clone();
    let trusted = shown["trusted"].as_str().unwrap();
    let restored = world.json(
        ONTO,
        &format!("restore {third} --from {bucket} --trust {trusted} --yes --site {ONTO}"),
    );
    let report = &restored["report"];
    assert_eq!(report["sound"], true, "{restored:#}");
    let refs = manifest["refs"].as_object().unwrap().len();
    assert_eq!(report["compared"]["repositories"], refs);
    assert_eq!(refs, 5, "three of the first life, and two more");
    let after = world.gitlab(ONTO).await.seen().await;
    assert_eq!(before.lost_in(&after), Vec::<String>::new());
    for (part, objects) in &before.objects {
        let (there, here) = (objects.keys(), after.objects[part].keys());
        assert!(there.eq(here), "{part} has something else");
    }
    world.ok(ONTO, "plan");
    // Configuration is not restored, and is as it was for whoever asks for it.
    let open = format!("backup open {third} --from {bucket} --trust {trusted} --to opened");
    world.ok(ONTO, &open);
    let site_file = world.file(&format!("{FROM}.toml"));
    let domain = format!("gitlab.{FROM}.example.com");
    let opened = opened_nodes(&world.file("opened"), &site_file, &domain);
    let fleet = world.gitlab(FROM).await.fleet;
    let own = fleet.hosts.iter();
    let own = own.filter(|host| !matches!(host.role, Role::Rails | Role::Bastion));
    let own: BTreeSet<String> = own.map(|host| host.name.clone()).collect();
    assert_eq!(opened, own);
    // Restoring takes nothing from the point.
    world.verified(&third, 1);
}

/// Disks and databases of one moment, back in their place.
async fn moment(world: World, profile: ProfileName) {
    world.install(FROM, profile);
    let before = world.gitlab(FROM).await.machines.picture().await.unwrap();
    let taken = world.json(FROM, "snapshot create");
    let point = taken["point"].as_str().unwrap();
    world.gitlab(FROM).await.work("bad").await;
    let line = format!("restore {point} --yes --site {FROM}");
    let restored = world.json(FROM, &line);
    assert_eq!(restored["report"]["sound"], true, "{restored:#}");
    let after = world.gitlab(FROM).await.machines.picture().await.unwrap();
    assert_eq!(difference(&before, &after), Vec::<String>::new());
    world.ok(FROM, "plan");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_of_a_box_come_back_over_http() {
    moment(moto(), ProfileName::SingleBox).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_and_database_of_a_small_site_come_back_over_http() {
    moment(moto(), ProfileName::Poc2k).await;
}

macro_rules! cycles {
    ($($name:ident: $profile:ident in $world:expr),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            cycle($world, ProfileName::$profile).await;
        }
    )*};
}

fn sandbox() -> World {
    World::Sandbox(Place::new().at_speed(SPEED))
}

fn moto() -> World {
    World::Moto(Moto::fresh())
}

cycles! {
    single_box_in_the_sandbox: SingleBox in sandbox(),
    poc_2k_in_the_sandbox: Poc2k in sandbox(),
    ha_3k_in_the_sandbox: Ha3k in sandbox(),
    single_box_over_http: SingleBox in moto(),
    poc_2k_over_http: Poc2k in moto(),
    ha_3k_over_http: Ha3k in moto(),
}
