//! Whether the names that must be unique in the world are free.

use super::{Check, Verdict};
use crate::cloud::Fault;
use crate::plan::Action;
use crate::session::{Reading, Session};

impl Session {
    /// Asks S3 for each bucket that the plan makes: nobody else may have one of that name.
    pub(super) async fn names_free(&self, reading: &Reading) -> Result<Check, Fault> {
        let made = reading.plan.changes.iter();
        let made = made.filter(|change| change.action == Action::Create);
        let (mut asked, mut taken) = (0, Vec::new());
        for change in made.filter(|change| change.address.kind().as_str() == "s3/bucket") {
            let spec = reading.blueprint.get(&change.address).map(|r| r.spec());
            let Some(name) = spec.as_ref().and_then(|spec| spec["name"].as_str()) else {
                continue;
            };
            asked += 1;
            let head = || self.cx.aws().s3.head_bucket().bucket(name).send();
            match self.cx.read("s3:ListBucket", head).await {
                Err(Fault::Gone { .. }) => {}
                Ok(_) => taken.push(format!("{name} (this account, without the site's tags)")),
                Err(Fault::Denied { .. } | Fault::Rejected { .. }) => {
                    taken.push(format!("{name} (another account, or out of reach)"));
                }
                Err(other) => return Err(other),
            }
        }
        if taken.is_empty() {
            let seen = format!("the names of {asked} buckets to make are free");
            return Ok(Check::pass("names", seen));
        }
        Ok(Check::new(
            "names",
            Verdict::Fail,
            format!("buckets exist already: {}", taken.join(", ")),
            "choose another [site] name, or remove or tag those buckets",
        ))
    }
}
