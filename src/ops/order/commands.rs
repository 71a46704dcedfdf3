//! What is asked of the nodes, in the words of GitLab's own tools.

use std::time::Duration;

use crate::blueprint::WEB_PORT;
use crate::node::{Endpoint, Fleet, RDS_BUNDLE_PATH, SECRETS_PATH};
use crate::session::EXTENSIONS;
use crate::shell::{As, Command};

/// Where the package keeps its programs.
const EMBEDDED: &str = "/opt/gitlab/embedded/bin";

/// Migrations of a large database take their time, and a boot may wait for them; as long as the unit may take.
const BOOT: Duration = Duration::from_hours(2);

/// Rake loads all of Rails, on a busy node too.
const RAKE: Duration = Duration::from_mins(20);

/// Prints what is missing, a line each. The password comes from the file that only root may read, and goes to psql by
/// its environment.
const LOOK: &str = r#"exec python3 -c '
import json, os, subprocess, sys
secrets, psql, authorities, host, port, name, secret, *wanted = sys.argv[1:]
with open(secrets, encoding="utf-8") as file:
    password = json.load(file)[secret]
done = subprocess.run(
    [psql, "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--host=" + host, "--port=" + port,
     "--username=gitlab", "--dbname=" + name, "--command=SELECT extname FROM pg_extension"],
    env=dict(os.environ, PGPASSWORD=password, PGSSLMODE="verify-full", PGSSLROOTCERT=authorities, PGCONNECT_TIMEOUT="10"),
    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
if done.returncode != 0:
    sys.exit(done.returncode)
for extension in sorted(set(wanted) - set(done.stdout.split())):
    print(extension)
' "$@"
"#;

/// Waits until the boot program is not at work, as long as one may take: a restart would end it in the middle of a package
/// or a migration. Where it never ran there is no lock, and nothing to wait for.
pub fn at_rest() -> Command {
    let wait = BOOT.as_secs().to_string();
    Command::new("flock")
        .args(["--timeout", wait.as_str(), "/run/gantry/lock", "true"])
        .sudo()
        .timeout(BOOT)
}

/// Runs the boot program again: the unit is one that stays "active" after its work, so it is not enough to start it.
pub fn boot() -> Command {
    Command::new("systemctl")
        .args(["restart", "gantry-boot.service"])
        .sudo()
        .timeout(BOOT)
}

/// Which extensions are missing in GitLab's database.
pub fn missing_extensions(database: &Endpoint) -> Command {
    let host = database.host.to_string();
    let port = database.port.to_string();
    let psql = format!("{EMBEDDED}/psql");
    Command::script("look for extensions in the database", LOOK)
        .args([SECRETS_PATH, psql.as_str(), RDS_BUNDLE_PATH])
        .args([host.as_str(), &port, "gitlabhq_production"])
        .arg("database-password")
        .args(EXTENSIONS)
        .sudo()
}

/// The state of each migration; one that did not run is `down`.
pub fn migrations() -> Command {
    rake(&["db:migrate:status"]).keep(1 << 20, 1 << 20)
}

/// Whether these services run: code 0 only if all do.
pub fn running(services: &[&str]) -> Command {
    Command::new("gitlab-ctl")
        .arg("status")
        .args(services.iter().copied())
        .sudo()
}

/// Gitaly's own check of its way to GitLab's internal API.
pub fn gitaly_check() -> Command {
    Command::new(format!("{EMBEDDED}/gitaly"))
        .args(["check", "/var/opt/gitlab/gitaly/config.toml"])
        .as_user(As::User("git".into()))
}

/// One of Praefect's own commands: `sql-ping`, `sql-migrate-status`, `check`.
pub fn praefect(verb: &str) -> Command {
    Command::new(format!("{EMBEDDED}/praefect"))
        .args(["-config", "/var/opt/gitlab/praefect/config.toml", verb])
        .as_user(As::User("git".into()))
}

/// Whether a Rails node or a box answers as the load balancer asks it, by the way through nginx.
pub fn readiness(fleet: &Fleet) -> Command {
    let domain = &fleet.front.domain;
    let curl = Command::new("curl").args([
        "--silent",
        "--show-error",
        "--fail",
        "--max-time",
        "20",
        "--output",
        "/dev/null",
    ]);
    if !fleet.front.balancer {
        return curl
            .arg("--resolve")
            .arg(format!("{domain}:443:127.0.0.1"))
            .arg(format!("https://{domain}/-/readiness"));
    }
    // Where the balancer writes a proxy header, nginx takes no connection without one.
    let header = fleet.front.proxy_protocol.then_some("--haproxy-protocol");
    curl.args(header)
        .arg("--header")
        .arg(format!("Host: {domain}"))
        .arg(format!("http://127.0.0.1:{WEB_PORT}/-/readiness"))
}

/// A health check of a service on the node itself.
pub fn answers(port: u16, path: &str) -> Command {
    Command::new("curl").args([
        "--silent",
        "--show-error",
        "--fail",
        "--max-time",
        "20",
        "--output",
        "/dev/null",
        &format!("http://127.0.0.1:{port}{path}"),
    ])
}

/// Rake's checks of GitLab. A check of a service that runs elsewhere fails, so where roles have nodes of their own
/// each is asked about what it has: `gitlab:check` as a whole is for a box.
pub fn gitlab_checks(tasks: &[&str]) -> Command {
    rake(tasks).arg("SANITIZE=true").keep(1 << 20, 1 << 20)
}

fn rake(tasks: &[&str]) -> Command {
    Command::new("gitlab-rake")
        .args(tasks.iter().copied())
        .sudo()
        .timeout(RAKE)
}
