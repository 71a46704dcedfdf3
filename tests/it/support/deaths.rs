//! Sudden death of a procedure on a site with played nodes: what a killed process leaves behind at each of its moments,
//! and going on from every one of them.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use gantry::blueprint::Role;
use gantry::journal::Record;
use gantry::ops::{Entry, Hosts, MemoryLedger, OpsFault};
use gantry::sandbox::Moment;
use gantry::shell::{Command, Exit, Place as At, RemoteFile, RemotePath, Shell, ShellFault};
use gantry::site::Site;
use jiff::Timestamp;

use super::stage::Stage;
use crate::taking::Place;

/// What a killed process leaves behind.
pub struct Remains {
    what: String,
    world: Vec<u8>,
    nodes: Vec<u8>,
    journal: Vec<Record>,
    entries: usize,
    now: Timestamp,
}

impl Remains {
    /// The site as it was left; its nodes keep what they know in this file.
    pub async fn place(&self, site: Site, file: &Path) -> Result<Place, String> {
        std::fs::write(file, &self.nodes).map_err(|error| error.to_string())?;
        let world = serde_json::from_slice(&self.world).unwrap();
        let stage = Stage::with(site, world, &self.journal, self.now);
        Ok(Place::on(stage, Some(file.to_owned()), None).await)
    }

    /// The ledger as it was left.
    pub fn ledger(&self, entries: &[Entry]) -> Arc<MemoryLedger> {
        Arc::new(MemoryLedger::with(&entries[..self.entries]))
    }
}

/// Which moments of a procedure are places to die at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// Before each entry of the ledger, before each change in AWS, after it with the answer lost.
    Closely,
    /// Before each entry that says more than that a stage has begun: its work is there, and nobody knows. And around
    /// every fifth change in AWS. Of the stages that do the same for a bucket each, the registry's stands for all.
    Sparsely,
}

/// Of the changes that are watched sparsely, every so many is a place to die at.
const EVERY: usize = 5;

impl Watch {
    fn stops_before(self, entry: &Entry) -> bool {
        let passes = match entry {
            Entry::Started { .. } => true,
            Entry::Done { stage, .. } => stage.starts_with("objects-"),
            _ => false,
        };
        self == Self::Closely || !passes
    }

    /// Whether it stops before and after the change of this number, from 1.
    fn stops_around(self, change: usize) -> bool {
        self == Self::Closely || change.is_multiple_of(EVERY)
    }
}

type Kept = Arc<Mutex<(Vec<Remains>, HashSet<(u64, usize)>)>>;

/// Watches a procedure, and keeps what would be left at its moments. Moments that leave the same behind are one.
pub struct Deaths {
    file: PathBuf,
    watch: Watch,
    count: Arc<AtomicUsize>,
    at_work: Arc<AtomicUsize>,
    kept: Kept,
}

impl Deaths {
    /// Watches this site, whose nodes keep what they know in the file.
    pub fn watch(place: &Place, file: &Path, watch: Watch) -> Self {
        let deaths = Self {
            file: file.to_owned(),
            watch,
            count: Arc::default(),
            at_work: Arc::default(),
            kept: Kept::default(),
        };
        let (keep, at_work) = (deaths.keeper(place), deaths.at_work.clone());
        let mut changes = 0_usize;
        place.stage.sandbox.faults(|faults| {
            faults.watch(move |moment, call| {
                // A node at work goes on by itself.
                if is_read(call) || at_work.load(Ordering::SeqCst) > 0 {
                    return;
                }
                changes += usize::from(moment == Moment::Before);
                if !watch.stops_around(changes) {
                    return;
                }
                keep(match moment {
                    Moment::Before => format!("before {call}"),
                    Moment::After => format!("after {call}, the answer lost"),
                });
            });
        });
        deaths
    }

    fn keeper(&self, place: &Place) -> impl Fn(String) + Send + Sync + 'static + use<> {
        let (sandbox, store) = (place.stage.sandbox.clone(), place.stage.store.clone());
        let (file, count, kept) = (self.file.clone(), self.count.clone(), self.kept.clone());
        move |what: String| {
            let world = serde_json::to_vec(&sandbox.world()).unwrap();
            let entries = count.load(Ordering::SeqCst);
            let mut kept = kept.lock().unwrap();
            if kept.1.insert((fingerprint(&world), entries)) {
                kept.0.push(Remains {
                    what,
                    world,
                    nodes: std::fs::read(&file).unwrap(),
                    journal: store.records(),
                    entries,
                    now: sandbox.clock().now(),
                });
            }
        }
    }

    /// The machines of the site; what they do goes on when gantry dies, so nothing is kept meanwhile.
    pub fn hosts(&self, place: &Place) -> Arc<dyn Hosts> {
        Arc::new(Watched {
            hosts: Arc::new(place.machines.hosts()),
            at_work: self.at_work.clone(),
        })
    }

    /// The ledger of the procedure.
    pub fn ledger(&self, place: &Place) -> MemoryLedger {
        let (keep, count, watch) = (self.keeper(place), self.count.clone(), self.watch);
        MemoryLedger::default().gated(Arc::new(move |number, entry| {
            count.store(number, Ordering::SeqCst);
            if watch.stops_before(entry) {
                keep(format!("before the entry {number} ({entry:?})"));
            }
            count.store(number + 1, Ordering::SeqCst);
            true
        }))
    }

    /// Everything that was kept, which is at least so much; nothing is watched any more.
    pub fn end(self, place: &Place, least: usize) -> Vec<Remains> {
        place.stage.sandbox.faults(gantry::sandbox::Faults::clear);
        let remains = std::mem::take(&mut self.kept.lock().unwrap().0);
        assert!(
            remains.len() >= least,
            "only {} moments: the matrix is not empty",
            remains.len()
        );
        remains
    }
}

/// Something that was left behind.
pub trait Left: Sync {
    /// Where the process died.
    fn what(&self) -> &str;
}

impl Left for Remains {
    fn what(&self) -> &str {
        &self.what
    }
}

/// Goes on from each of them, on every core; each thread has a file for the nodes.
pub fn from_each<'a, L: Left>(
    remains: &'a [L],
    folder: &Path,
    go_on: impl AsyncFn(&'a L, &Path) -> Result<(), String> + Sync,
) {
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (next, wrong, go_on) = (&next, &wrong, &go_on);
            let file = folder.join(format!("nodes-{thread}.json"));
            scope.spawn(move || {
                while let Some(left) = remains.get(next.fetch_add(1, Ordering::SeqCst)) {
                    if let Err(why) = runtime().block_on(go_on(left, &file)) {
                        let told = format!("killed {}: {why}", left.what());
                        wrong.lock().unwrap().push(told);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    let shown = wrong.iter().take(3).cloned().collect::<Vec<_>>();
    assert!(
        wrong.is_empty(),
        "{} of {} points of death go wrong:\n{}",
        wrong.len(),
        remains.len(),
        shown.join("\n\n")
    );
}

/// Hosts that say when they are at work.
struct Watched {
    hosts: Arc<dyn Hosts>,
    at_work: Arc<AtomicUsize>,
}

struct WatchedShell {
    shell: Arc<dyn Shell>,
    at_work: Arc<AtomicUsize>,
}

impl Hosts for Watched {
    fn nodes(&self) -> Vec<(String, Role)> {
        self.hosts.nodes()
    }

    fn shell(&self, node: &str) -> Result<Arc<dyn Shell>, OpsFault> {
        Ok(Arc::new(WatchedShell {
            shell: self.hosts.shell(node)?,
            at_work: self.at_work.clone(),
        }))
    }
}

/// Counts as at work as long as it lives.
struct AtWork<'a>(&'a AtomicUsize);

impl<'a> AtWork<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shell for WatchedShell {
    fn host(&self) -> &str {
        self.shell.host()
    }

    fn place(&self) -> At {
        self.shell.place()
    }

    fn run<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Exit, ShellFault>> {
        Box::pin(async move {
            let _at_work = AtWork::new(&self.at_work);
            self.shell.run(command).await
        })
    }

    fn put<'a>(&'a self, file: &'a RemoteFile) -> BoxFuture<'a, Result<(), ShellFault>> {
        self.shell.put(file)
    }

    fn get<'a>(&'a self, path: &'a RemotePath) -> BoxFuture<'a, Result<Vec<u8>, ShellFault>> {
        self.shell.get(path)
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
}

pub fn is_read(call: &str) -> bool {
    let action = call.split(':').nth(1).unwrap_or_default();
    ["Describe", "Get", "List", "Head"]
        .iter()
        .any(|p| action.starts_with(p))
}

pub fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
