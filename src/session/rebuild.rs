//! Getting the memory back from the tags, when the journal is lost.

use std::path::Path;

use serde::Serialize;

use super::{Session, SessionError};
use crate::apply::survey;
use crate::journal::{LocalStore, Record, State};
use crate::plan::fingerprint;
use crate::resource::{Address, Readiness};

/// What a rebuild found.
#[derive(Debug, Clone, Serialize)]
pub struct Rebuilt {
    pub format: u32,
    pub site: String,
    /// Remembered again.
    pub resources: Vec<Address>,
    /// There, but not ready: the next install finishes them.
    pub unfinished: Vec<Address>,
}

impl Session {
    /// Surveys the site by its tags and returns the records of a journal that remembers all of it.
    pub async fn recover(&self) -> Result<(Rebuilt, Vec<Record>), SessionError> {
        let nothing = State::default();
        let cx = self.cx.fresh(nothing.known());
        let survey = survey(&cx, &nothing, &self.kinds(&nothing)).await?;
        let pins = crate::facts::Pins::default();
        let facts = crate::facts::look_up(&cx, &self.site, &self.profile, &pins).await?;
        let blueprint = crate::blueprint::build(&self.site, &self.profile, &facts);
        let mut records = vec![self.opened()];
        records.extend(
            facts
                .pins()
                .0
                .into_iter()
                .map(|(key, value)| Record::Pinned { key, value }),
        );
        let mut rebuilt = Rebuilt {
            format: 1,
            site: self.cx.site().to_owned(),
            resources: vec![],
            unfinished: vec![],
        };
        for found in survey.found.values() {
            let address = found.address.clone();
            let Readiness::Ready(output) = &found.readiness else {
                rebuilt.unfinished.push(address);
                continue;
            };
            let spec = blueprint
                .get(&address)
                .map(|r| fingerprint(&r.spec()))
                .unwrap_or_default();
            let refs = blueprint.refs(&address);
            records.push(Record::Ready {
                address: address.clone(),
                id: found.id.clone(),
                output: output.clone(),
                spec,
                refs,
            });
            rebuilt.resources.push(address);
        }
        Ok((rebuilt, records))
    }

    /// [`Self::recover`], written to the state directory; the old journal stays beside the new one.
    pub async fn rebuild(&self, dir: &Path) -> Result<Rebuilt, SessionError> {
        let (rebuilt, records) = self.recover().await?;
        LocalStore::rewrite(dir, &records, self.cx.clock().now())?;
        Ok(rebuilt)
    }
}
