//! `gantry probe`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::CliError;
use super::open::site;
use crate::app::App;
use crate::exit::Exit;
use crate::probe::{self, Carried, Options, Ports, ProbeError, Target, Verdict};
use crate::site::{Certificate, Domain, Site};

/// Look at the site from outside, as its users do.
///
/// Names, certificate, redirect, sign-in page, Git over HTTPS and SSH, WebSocket, and whether the visitor's address
/// reaches GitLab; for a half-enabled proxy protocol it says which end is wrong. Needs no AWS account, changes nothing
/// and sends no secret. Exits with 8 when a check failed.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// The name to look at [default: the domain of the site file].
    domain: Option<String>,
    /// How long each conversation may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=300))]
    timeout: u64,
    /// Where a name leads, instead of asking DNS; the host may be `*`. Can be repeated.
    #[arg(long, value_name = "HOST:PORT:ADDRESS")]
    resolve: Vec<String>,
    /// A PEM file with trust anchors beside those of this machine. Can be repeated.
    #[arg(long, value_name = "FILE")]
    ca_file: Vec<PathBuf>,
    /// Another port for https, http or ssh. Can be repeated.
    #[arg(long, value_name = "SERVICE=PORT")]
    port: Vec<String>,
    /// A public host key the SSH server may present, as `ssh-ed25519 AAAA…`; without any, every key will do. Can be repeated.
    #[arg(long, value_name = "KEY")]
    host_key: Vec<String>,
}

pub async fn run(app: &App, args: &ProbeArgs) -> Result<Exit, CliError> {
    if app.is_sandbox() {
        return Err(CliError::usage(
            "the sandbox has no GitLab that could be looked at from outside",
        )
        .help("leave --sandbox out"));
    }
    let options = options(args)?;
    let mut target = target(app, args.domain.as_deref())?;
    target.host_keys = all(&args.host_key)?;
    let checks = probe::run(&target, &options).await?;
    let count = |verdict| checks.iter().filter(|c| c.verdict == verdict).count();
    let (failed, warnings) = (count(Verdict::Failed), count(Verdict::Warning));
    app.say.json(&json!({
        "format": 1,
        "domain": target.domain,
        "checks": checks,
        "failed": failed,
        "warnings": warnings,
    }));
    for check in &checks {
        let (verdict, name) = (check.verdict, check.name);
        app.say.data(&format!(
            "{verdict:<8} {name:<15} {}: {}",
            check.subject, check.detail
        ));
        if !check.help.is_empty() {
            app.say.data(&format!("{:<24} -> {}", "", check.help));
        }
    }
    Ok(if failed == 0 { Exit::Done } else { Exit::Check })
}

fn options(args: &ProbeArgs) -> Result<Options, CliError> {
    let mut ports = Ports::default();
    for port in &args.port {
        ports.set(port)?;
    }
    Ok(Options {
        timeout: Duration::from_secs(args.timeout),
        resolve: all(&args.resolve)?,
        ca_files: args.ca_file.clone(),
        ports,
    })
}

fn all<T: std::str::FromStr<Err = ProbeError>>(texts: &[String]) -> Result<Vec<T>, CliError> {
    Ok(texts
        .iter()
        .map(|text| text.parse())
        .collect::<Result<_, _>>()?)
}

/// The site of the site file, or a name alone when another one is asked for.
fn target(app: &App, domain: Option<&str>) -> Result<Target, CliError> {
    let Some(domain) = domain else {
        return Ok(of_site(&site(app)?.0));
    };
    let wanted: Domain = domain
        .parse()
        .map_err(|complaint: crate::text::Complaint| {
            CliError::usage(format!("`{domain}` cannot be looked at: {}", complaint.why))
                .help(complaint.help)
        })?;
    // A site file that is missing or wrong is no reason not to look: the name is enough.
    match site(app) {
        Ok((site, _)) if site.site.domain == wanted => Ok(of_site(&site)),
        _ => Ok(Target::named(wanted.as_str())),
    }
}

fn of_site(site: &Site) -> Target {
    let front = &site.front;
    let carried = match (&site.tls.certificate, front.proxy_protocol) {
        // Only a box without a load balancer makes its certificate itself.
        (Certificate::LetsEncrypt, _) => Carried::Directly,
        (_, true) => Carried::ByHeader,
        (_, false) => Carried::ByPreservation,
    };
    let text = |domain: &Domain| domain.as_str().to_owned();
    Target {
        registry: front.registry_domain.as_ref().map(text),
        pages: front.pages_domain.as_ref().map(text),
        carried,
        ..Target::named(site.site.domain.as_str())
    }
}

impl From<ProbeError> for CliError {
    fn from(error: ProbeError) -> Self {
        let exit = match error {
            ProbeError::Tls(_) => Exit::Unexpected,
            _ => Exit::Usage,
        };
        let told = Self::new(exit, error.to_string()).help(error.help());
        match std::error::Error::source(&error) {
            Some(cause) => told.because(cause.to_string()),
            None => told,
        }
    }
}
