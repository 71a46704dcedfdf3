//! One site, one world, one journal.

use std::sync::Arc;
use std::time::Duration;

use gantry::clock::Clock;
use gantry::cloud::{Aws, Fault, Limits};
use gantry::engine::{Observer, Report, Stop};
use gantry::journal::{MemoryStore, Record, Store};
use gantry::profile::{self, Profile, ProfileName};
use gantry::sandbox::world::World;
use gantry::sandbox::{ACCOUNT, Sandbox};
use gantry::session::{Destroy, InstallOptions, Reading, Session, SessionError, silent};
use gantry::site::Site;
use jiff::Timestamp;

/// The moment at which every test world begins.
pub const BEGINNING: Timestamp = Timestamp::constant(1_790_000_000, 0);

/// A site in the strict cloud.
pub struct Stage {
    pub site: Site,
    pub profile: Profile,
    pub sandbox: Sandbox,
    pub store: Arc<MemoryStore>,
    runs: std::sync::atomic::AtomicU32,
}

/// The site file a first install would write for this profile.
pub fn site(profile: ProfileName) -> Site {
    Site::defaults_for(
        profile,
        "acme".parse().unwrap(),
        "gitlab.example.com".parse().unwrap(),
        "eu-west-1".parse().unwrap(),
    )
}

/// An account nobody has used, with quotas large enough for every profile.
pub fn account() -> World {
    let mut world = World::new(ACCOUNT);
    world.quotas.insert("addresses".into(), 20);
    world
}

impl Stage {
    /// A new account and an empty journal.
    pub fn new(profile: ProfileName) -> Self {
        Self::with(site(profile), account(), &[], BEGINNING)
    }

    /// A new account, and a site whose backups are copied into a vault of another.
    pub fn with_a_vault(profile: ProfileName) -> Self {
        let mut site = site(profile);
        let arn = "arn:aws:backup:eu-west-1:210987654321:backup-vault:acme";
        site.backup.vault =
            Some(serde_json::from_value(serde_json::json!({ "arn": arn })).unwrap());
        Self::with(site, account(), &[], BEGINNING)
    }

    /// A site in this world, with this journal, at this moment.
    pub fn with(site: Site, world: World, records: &[Record], now: Timestamp) -> Self {
        let profile = profile::get(site.site.profile)
            .with_overrides(&site)
            .unwrap();
        let sandbox = Sandbox::in_memory(world, Clock::played(now, 1));
        let store = Arc::new(MemoryStore::with(records).unwrap());
        Self {
            site,
            profile,
            sandbox,
            store,
            runs: 0.into(),
        }
    }

    /// Opens the site as a command would.
    pub async fn session(&self) -> Result<Session, SessionError> {
        let region = self.site.site.region.to_string();
        let aws = Aws::new(&self.sandbox.config(&region));
        let store: Arc<dyn Store> = self.store.clone();
        let clock = self.sandbox.clock();
        Session::open(
            self.site.clone(),
            self.profile.clone(),
            aws,
            clock,
            Limits::default(),
            store,
            &silent(),
        )
        .await
    }

    /// Looks at the world and plans.
    pub async fn read(&self) -> Reading {
        self.session()
            .await
            .unwrap()
            .read(&InstallOptions::default())
            .await
            .unwrap()
    }

    /// A run's id: different each time, the same in every test.
    fn run(&self) -> String {
        let n = self.runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        format!("run-{}-{n}", self.store.records().len())
    }

    /// Installs; the report says what became of each step.
    pub async fn try_install(
        &self,
        stop: &Stop,
        observe: &Observer,
    ) -> Result<Report<Fault>, SessionError> {
        let session = self.session().await?;
        let reading = session.read(&InstallOptions::default()).await?;
        session.install(&self.run(), &reading, stop, observe).await
    }

    /// Installs, and everything must work.
    pub async fn install(&self) -> Report<Fault> {
        let report = self.try_install(&Stop::default(), &silent()).await.unwrap();
        let failures: Vec<String> = report
            .failures()
            .map(|(name, f)| format!("{name}: {f}"))
            .collect();
        assert!(report.complete(), "install did not complete: {failures:#?}");
        report
    }

    /// Destroys, and everything must work.
    pub async fn destroy(&self, choice: &Destroy) -> Report<Fault> {
        let session = self.session().await.unwrap();
        let plan = session.plan_destroy(choice).await.unwrap();
        let report = session
            .destroy(&self.run(), &plan, choice, &Stop::default(), &silent())
            .await
            .unwrap();
        let failures: Vec<String> = report
            .failures()
            .map(|(name, f)| format!("{name}: {f}"))
            .collect();
        assert!(report.complete(), "destroy did not complete: {failures:#?}");
        report
    }

    /// Lets forty days of cloud time pass: by then keys and names that AWS keeps for a month are gone too.
    pub async fn settle(&self) {
        self.sandbox.clock().sleep(Duration::from_hours(960)).await;
    }
}

/// Removes everything, data too, without a last snapshot.
pub fn everything() -> Destroy {
    Destroy {
        delete_data: true,
        final_snapshot: None,
    }
}

/// What a new sandbox holds before anybody makes anything.
pub fn empty_sandbox() -> World {
    Sandbox::in_memory(World::new(ACCOUNT), Clock::System).world()
}
