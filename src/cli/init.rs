//! `gantry init`

use clap::Args;
use serde_json::json;

use super::CliError;
use crate::app::App;
use crate::exit::Exit;
use crate::profile::ProfileName;
use crate::site::{Domain, Region, Site, SiteName};
use crate::ui::ask;

/// Write a site file from a few flags, or from questions.
///
/// What no flag says is asked for, where somebody is there to answer. The file holds every setting with its default and a
/// word of explanation; change what you like and run `gantry plan`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gantry init
  gantry init --profile ha-3k --domain gitlab.example.com --region eu-west-1")]
pub struct InitArgs {
    #[command(flatten)]
    new: NewSite,
    /// Overwrite an existing site file.
    #[arg(long)]
    force: bool,
}

/// What a new site needs to be told.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "A new site")]
pub struct NewSite {
    /// The reference size; `gantry profiles` lists them.
    #[arg(long, value_name = "NAME", value_parser = profile)]
    pub profile: Option<ProfileName>,
    /// The name GitLab answers to.
    #[arg(long, value_name = "DOMAIN", value_parser = domain)]
    pub domain: Option<Domain>,
    /// The AWS region [default: the region of the AWS environment].
    #[arg(long, value_name = "REGION", value_parser = region)]
    pub region: Option<Region>,
    /// The site's name, in tags and names [default: made from the domain].
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub name: Option<SiteName>,
}

fn profile(text: &str) -> Result<ProfileName, String> {
    text.parse()
        .map_err(|e: crate::text::Complaint| e.to_string())
}

fn domain(text: &str) -> Result<Domain, String> {
    text.parse()
        .map_err(|e: crate::text::Complaint| e.to_string())
}

fn region(text: &str) -> Result<Region, String> {
    text.parse()
        .map_err(|e: crate::text::Complaint| e.to_string())
}

fn name(text: &str) -> Result<SiteName, String> {
    text.parse()
        .map_err(|e: crate::text::Complaint| e.to_string())
}

impl NewSite {
    fn any(&self) -> bool {
        self.profile.is_some()
            || self.domain.is_some()
            || self.region.is_some()
            || self.name.is_some()
    }

    /// The site the flags describe; none when a site file is there and agrees with them.
    pub fn make(&self, app: &App) -> Result<Option<Site>, CliError> {
        if app.site_file.exists() {
            if self.any() {
                self.agree(app)?;
            }
            return Ok(None);
        }
        if !self.any() {
            return Ok(None);
        }
        self.describe(app).map(Some)
    }

    /// The site the flags describe.
    pub fn describe(&self, app: &App) -> Result<Site, CliError> {
        let missing = |flag: &str, help: &str| {
            CliError::usage(format!("a new site needs {flag}")).help(help.to_owned())
        };
        let profile = self.profile.ok_or_else(|| {
            missing(
                "--profile",
                "`gantry profiles` lists them, `gantry size --users N` picks one",
            )
        })?;
        let domain = self.domain.clone().ok_or_else(|| {
            missing(
                "--domain",
                "the name people will type, for example gitlab.example.com",
            )
        })?;
        let region = match (&self.region, &app.default_region) {
            (Some(region), _) => region.clone(),
            (None, Some(text)) => text
                .parse()
                .map_err(|e: crate::text::Complaint| CliError::usage(e.to_string()))?,
            (None, None) => {
                return Err(missing(
                    "--region",
                    "for example --region eu-west-1, or set AWS_REGION",
                ));
            }
        };
        let name = self
            .name
            .clone()
            .unwrap_or_else(|| SiteName::from_domain(&domain));
        Ok(Site::defaults_for(profile, name, domain, region))
    }

    /// With answers for what no flag says; as it is where nobody answers.
    fn asked(&self, app: &App) -> Self {
        let mut new = self.clone();
        if new.profile.is_none() {
            let all = ProfileName::ALL.map(|name| name.to_string()).join(", ");
            new.profile = ask(&format!("How large? {all}"), Some("poc-2k"));
        }
        if new.domain.is_none() {
            new.domain = ask(
                "What name will people type, for example gitlab.example.com?",
                None,
            );
        }
        if new.region.is_none() {
            let usual = app.default_region.as_deref().unwrap_or("us-east-1");
            new.region = ask("Which AWS region?", Some(usual));
        }
        if new.name.is_none()
            && let Some(domain) = &new.domain
        {
            let usual = SiteName::from_domain(domain).to_string();
            new.name = ask("What is the site called, in tags and names?", Some(&usual));
        }
        new
    }

    /// Flags beside an existing site file must say what the file says.
    fn agree(&self, app: &App) -> Result<(), CliError> {
        let (site, _) = super::open::site(app)?;
        let have = &site.site;
        let differs = [
            (
                "--profile",
                self.profile.map(|p| p.to_string()),
                have.profile.to_string(),
            ),
            (
                "--domain",
                self.domain.as_ref().map(ToString::to_string),
                have.domain.to_string(),
            ),
            (
                "--region",
                self.region.as_ref().map(ToString::to_string),
                have.region.to_string(),
            ),
            (
                "--name",
                self.name.as_ref().map(ToString::to_string),
                have.name.to_string(),
            ),
        ];
        for (flag, asked, file) in differs {
            if asked.as_ref().is_some_and(|a| *a != file) {
                let asked = asked.unwrap_or_default();
                return Err(CliError::usage(format!(
                    "{flag} says {asked}, but the site file {} says {file}",
                    app.site_file.display()
                ))
                .help("change the site file, or name another one with --site-file"));
            }
        }
        Ok(())
    }
}

pub fn run(app: &App, args: &InitArgs) -> Result<Exit, CliError> {
    if app.site_file.exists() && !args.force {
        return Err(
            CliError::usage(format!("{} exists already", app.site_file.display()))
                .help("edit it, or pass --force to write it anew"),
        );
    }
    // Whoever gave every answer that is needed is asked nothing.
    let region = args.new.region.is_some() || app.default_region.is_some();
    let told = region && args.new.profile.is_some() && args.new.domain.is_some();
    let new = if told {
        args.new.clone()
    } else {
        args.new.asked(app)
    };
    let site = new.describe(app)?;
    write_site(app, &site)?;
    app.say.json(
        &json!({"format": 1, "site_file": app.site_file, "site": site.site.name.to_string()}),
    );
    Ok(Exit::Done)
}

/// Writes the site file, whole, and says so.
pub fn write_site(app: &App, site: &Site) -> Result<(), CliError> {
    let cannot = |e: std::io::Error| {
        CliError::usage(format!("cannot write {}: {e}", app.site_file.display()))
    };
    if let Some(dir) = app.site_file.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir).map_err(cannot)?;
    }
    std::fs::write(&app.site_file, site.to_toml()).map_err(cannot)?;
    app.say.tell(&format!("Wrote {}.", app.site_file.display()));
    Ok(())
}
