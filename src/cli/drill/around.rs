//! What surrounds a drill on the command line: the machines of its site, by SSH or played.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use super::super::CliError;
use super::super::hosts::hosts_or_played;
use super::super::nodes::{Care, bring_up};
use super::super::open::Writing;
use crate::app::App;
use crate::engine::Halt;
use crate::exit::Exit;
use crate::ops::drill::Surroundings;
use crate::ops::runbook::StageCx;
use crate::ops::{Hosts, OpsFault};
use crate::session::InstallOptions;

/// How long a machine may take to report that it is configured.
const PATIENCE: Duration = Duration::from_hours(1);

pub struct Around {
    app: App,
    opened: Arc<Writing>,
    identities: Vec<PathBuf>,
}

impl Around {
    pub fn new(app: &App, opened: Arc<Writing>, identities: &[PathBuf]) -> Self {
        Self {
            app: app.clone(),
            opened,
            identities: identities.to_vec(),
        }
    }

    async fn up(&self) -> Result<(), Halt<OpsFault>> {
        let session = &self.opened.session;
        let reading = session.read(&InstallOptions::default()).await?;
        let care = Care {
            wait: PATIENCE,
            identities: &self.identities,
        };
        let nodes = bring_up(&self.app, &self.opened, &reading, care)
            .await
            .map_err(|error| Halt::Failed(late(&error)))?;
        if let Some(trouble) = nodes.trouble {
            return Err(late(&trouble).into());
        }
        match nodes.exit {
            Exit::Done => Ok(()),
            Exit::Interrupted => Err(Halt::Interrupted),
            _ => Err(OpsFault::check(
                WHAT,
                "not all of them are ready in time",
                "`gantry drill --keep` leaves them standing, to look at",
            )
            .into()),
        }
    }
}

const WHAT: &str = "the machines of the drill's site";

fn late(error: &CliError) -> OpsFault {
    let (_, why) = error.brief();
    OpsFault::check(
        WHAT,
        why,
        "`gantry drill --keep` leaves them standing, to look at",
    )
}

impl Surroundings for Around {
    fn bring_up<'a>(&'a self, _: &'a StageCx) -> BoxFuture<'a, Result<(), Halt<OpsFault>>> {
        Box::pin(self.up())
    }

    fn hosts(&self) -> BoxFuture<'_, Result<Arc<dyn Hosts>, OpsFault>> {
        Box::pin(async {
            hosts_or_played(&self.app, &self.opened.session, &self.identities)
                .await
                .map_err(|error| late(&error))
        })
    }
}
