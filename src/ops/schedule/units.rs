//! systemd units, from templates.

use std::sync::LazyLock;

use jiff::SignedDuration;
use tera::{Context, Tera};

use super::{Calendar, Name};
use crate::cloud::Fault;
use crate::ops::OpsFault;
use crate::site::Site;

/// Where things are on the appliance host, for one site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub site: String,
    /// The host's name among the nodes: `bastion`, `box-1`.
    pub node: String,
    /// `/opt/gantry/<site>/gantry`
    pub binary: String,
    /// `/etc/opt/gantry/<site>.toml`
    pub site_file: String,
    /// Which units are read from: `/etc/systemd/system`.
    pub unit_dir: String,
}

impl Layout {
    /// The user the runs belong to.
    pub const USER: &'static str = "gantry";
    /// Records, the journal, keys and metrics of all sites; `StateDirectory=gantry`.
    pub const HOME: &'static str = "/var/lib/gantry";

    pub fn new(site: &str, node: &str) -> Self {
        Self {
            site: site.to_owned(),
            node: node.to_owned(),
            binary: format!("/opt/gantry/{site}/gantry"),
            site_file: format!("/etc/opt/gantry/{site}.toml"),
            unit_dir: "/etc/systemd/system".to_owned(),
        }
    }

    /// The root of state directories: `--state-dir`.
    pub fn state_root(&self) -> String {
        format!("{}/state", Self::HOME)
    }

    /// The site's own state directory.
    pub fn state(&self) -> String {
        format!("{}/{}", self.state_root(), self.site)
    }

    /// The key that gantry goes onto the nodes with.
    pub fn key(&self) -> String {
        format!("{}/keys/{}", Self::HOME, self.site)
    }

    /// What Prometheus reads.
    pub fn metrics(&self) -> String {
        format!("{}/metrics/gantry-{}.prom", Self::HOME, self.site)
    }

    /// `gantry-acme-full`
    fn unit(&self, name: Name) -> String {
        format!("gantry-{}-{name}", self.site)
    }

    pub fn timer(&self, name: Name) -> String {
        format!("{}.timer", self.unit(name))
    }

    fn service(&self, name: Name) -> String {
        format!("{}.service", self.unit(name))
    }

    fn failed(&self) -> String {
        format!("gantry-{}-failed@.service", self.site)
    }
}

/// A unit file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// `gantry-acme-full.timer`
    pub name: String,
    pub content: String,
}

static TEMPLATES: LazyLock<Tera> = LazyLock::new(|| {
    let mut tera = Tera::default();
    tera.autoescape_on(Vec::new());
    tera.add_raw_templates([
        (
            "failed",
            include_str!("../../../templates/systemd/failed.tera"),
        ),
        (
            "hardening",
            include_str!("../../../templates/systemd/hardening.tera"),
        ),
        (
            "service",
            include_str!("../../../templates/systemd/service.tera"),
        ),
        (
            "surroundings",
            include_str!("../../../templates/systemd/surroundings.tera"),
        ),
        (
            "timer",
            include_str!("../../../templates/systemd/timer.tera"),
        ),
    ])
    .expect("a test parses the embedded templates");
    tera
});

/// The units of every schedule that is on, and the one that reports failures. Empty when all are off.
pub fn units(site: &Site, layout: &Layout) -> Result<Vec<Unit>, OpsFault> {
    let mut units = Vec::new();
    for name in Name::ALL {
        let schedule = name.of(&site.backup.schedule);
        let Some(calendar) = calendar(site, name)? else {
            continue;
        };
        let mut context = context(layout);
        context.insert("name", name.as_str());
        context.insert("schedule", &schedule.to_string());
        context.insert("zone", calendar.zone());
        context.insert("expressions", &calendar.expressions());
        context.insert("delay", &delay(&calendar));
        context.insert("timeout", timeout(name));
        context.insert("stop", stop(name));
        units.push(unit("service", layout.service(name), &context)?);
        units.push(unit("timer", layout.timer(name), &context)?);
    }
    if !units.is_empty() {
        units.push(unit("failed", layout.failed(), &context(layout))?);
    }
    Ok(units)
}

/// The names of all units that another site file may have asked for, without those that are wanted now.
pub fn stale_units(layout: &Layout, wanted: &[Unit]) -> Vec<String> {
    let mut names: Vec<String> = Name::ALL
        .into_iter()
        .flat_map(|name| [layout.service(name), layout.timer(name)])
        .collect();
    names.push(layout.failed());
    names.retain(|name| !wanted.iter().any(|unit| unit.name == *name));
    names
}

/// The calendar of one of a site's schedules; none where it is off.
pub fn calendar(site: &Site, name: Name) -> Result<Option<Calendar>, OpsFault> {
    let backup = &site.backup;
    Calendar::of(name.of(&backup.schedule), &backup.timezone).map_err(|error| {
        OpsFault::refused(
            format!(
                "this machine does not know the time zone {}",
                backup.timezone
            ),
            error.to_string(),
            "install its tzdata, or write another `timezone` under [backup]",
        )
    })
}

fn context(layout: &Layout) -> Context {
    let mut context = Context::new();
    let (state, metrics, key) = (layout.state_root(), layout.metrics(), layout.key());
    for (word, value) in [
        ("site", layout.site.as_str()),
        ("node", &layout.node),
        ("binary", &layout.binary),
        ("site_file", &layout.site_file),
        ("state", &state),
        ("metrics", &metrics),
        ("key", &key),
        ("user", Layout::USER),
        ("home", Layout::HOME),
        ("state_directory", "gantry"),
    ] {
        context.insert(word, value);
    }
    context
}

fn unit(template: &str, name: String, context: &Context) -> Result<Unit, OpsFault> {
    let content = TEMPLATES
        .render(template, context)
        .map_err(|error| Fault::internal(format!("the template of {name}: {error}")))?;
    Ok(Unit { name, content })
}

/// A twentieth of the shortest time between two runs, and five minutes at most.
fn delay(calendar: &Calendar) -> String {
    let gap = calendar
        .shortest_gap()
        .unwrap_or(SignedDuration::from_hours(1));
    let seconds = (gap.as_secs() / 20).clamp(1, 300);
    format!("{seconds}s")
}

/// How long a run may take. It waits for other runs up to four hours of that.
fn timeout(name: Name) -> &'static str {
    match name {
        Name::Snapshot => "8h",
        Name::Full | Name::Verify | Name::Drill => "24h",
    }
}

/// How long it may take to end when it is told to. A drill removes its site first.
fn stop(name: Name) -> &'static str {
    match name {
        Name::Snapshot | Name::Full | Name::Verify => "15min",
        Name::Drill => "90min",
    }
}
