//! A look at one part, by the way it is kept.

use aws_sdk_ec2::types::SnapshotState;
use sha2::{Digest as _, Sha256};

use super::{Finding, Look, Wrong};
use crate::cloud::Fault;
use crate::ops::OpsFault;
use crate::ops::backup::{Ground, read_sealed_secrets};
use crate::ops::gitlab::secrets_mark_of;
use crate::ops::point::seal::{SealContext, open};
use crate::ops::point::{
    Chain, DiskImage, Manifest, ObjectIndex, Outcome, Part, PartName, Points, RegionCopy, Sealed,
    Way,
};
use crate::ops::snapshot::{database, disks};
use crate::ops::transfer::{Findings, Object, Place, Problem, Transfer, TransferFault};
use crate::resource::CloudCx;

pub(super) struct Looking<'a> {
    pub ground: &'a Ground,
    pub points: &'a Points,
    pub manifest: &'a Manifest,
    pub look: Look,
}

/// What a look at one part gave.
#[derive(Default)]
pub(super) struct Seen {
    pub findings: Vec<Finding>,
    pub looked_at: u64,
    pub read: u64,
}

impl Seen {
    fn found(finding: Finding) -> Self {
        Self {
            findings: vec![finding],
            ..Self::default()
        }
    }

    fn of(findings: Vec<Finding>, looked_at: u64) -> Self {
        Self {
            findings,
            looked_at,
            read: 0,
        }
    }

    fn with(mut self, other: Self) -> Self {
        self.findings.extend(other.findings);
        self.looked_at += other.looked_at;
        self.read += other.read;
        self
    }
}

/// What to do about something that is gone or changed in a bucket.
const VERSIONS: &str =
    "the bucket keeps old versions: bring it back from there, or use another point";

impl Looking<'_> {
    pub async fn part(&self, part: &Part) -> Result<Seen, OpsFault> {
        let way = match &part.outcome {
            Outcome::Saved(way) => way,
            // Told with the manifest.
            Outcome::Failed { .. } => return Ok(Seen::default()),
        };
        let name = &part.name;
        match way {
            Way::DatabaseSnapshot {
                instance,
                snapshot,
                copies,
                ..
            } => self.database(name, instance, snapshot, copies).await,
            Way::PointInTime { resource, at, .. } => self.point_in_time(name, resource, *at).await,
            Way::Rebuilt { from } => Ok(self.rebuilt(name, from)),
            Way::Archive {
                bucket,
                key,
                sha256,
                ..
            } => {
                self.archive(name, bucket, key, Some(part.bytes), sha256)
                    .await
            }
            Way::GitalyServerSide {
                bucket,
                archive_bucket,
                archive_key,
                archive_sha256,
                chain,
                index,
            } => {
                let archive = self
                    .archive(name, archive_bucket, archive_key, None, archive_sha256)
                    .await?;
                let chained = self.chain(name, chain).await?;
                let objects = self.index(name, bucket, index, Some(chain)).await?;
                Ok(archive.with(chained).with(objects))
            }
            Way::DiskSnapshots { disks } => self.disks(name, disks).await,
            Way::ObjectVersions { bucket, index } => self.index(name, bucket, index, None).await,
            Way::Sealed(sealed) => self.sealed(name, sealed).await,
        }
    }

    fn transfer(&self) -> Transfer {
        Transfer::new(self.ground.cx.clone())
    }

    async fn database(
        &self,
        name: &PartName,
        instance: &str,
        snapshot: &str,
        copies: &[RegionCopy],
    ) -> Result<Seen, OpsFault> {
        let help = "take another point; if somebody deleted it by hand, restore from a copy or another point";
        let mut findings = Vec::new();
        match database::find(&self.ground.cx, snapshot).await? {
            None => findings.push(Finding::of(
                name,
                Wrong::Missing,
                format!("RDS has no snapshot {snapshot}"),
                help,
            )),
            Some(found) => {
                let status = found.status().unwrap_or_default();
                if status != "available" {
                    findings.push(Finding::of(
                        name,
                        Wrong::Snapshot,
                        format!("the snapshot {snapshot} is {status}"),
                        "look at it in the RDS console; take another point",
                    ));
                }
                if found.db_instance_identifier() != Some(instance) {
                    findings.push(Finding::of(
                        name,
                        Wrong::Content,
                        format!("the snapshot {snapshot} is of another database"),
                        help,
                    ));
                }
            }
        }
        for copy in copies {
            let Some(cx) = self.away(copy) else {
                findings.push(out_of_sight(name, copy));
                continue;
            };
            // By its name, which is that of the original; the ARN is for people.
            let found = database::find(cx, snapshot).await?;
            let status = found.as_ref().and_then(|copy| copy.status());
            if status != Some("available") {
                findings.push(bad_copy(name, copy, status));
            }
        }
        Ok(Seen::of(findings, 1 + copies.len() as u64))
    }

    fn away(&self, copy: &RegionCopy) -> Option<&CloudCx> {
        let away = self.ground.away.as_ref()?;
        (away.region.to_string() == copy.region).then_some(&away.cx)
    }

    async fn point_in_time(
        &self,
        name: &PartName,
        resource: &str,
        at: jiff::Timestamp,
    ) -> Result<Seen, OpsFault> {
        let cx = &self.ground.cx;
        let asked = cx
            .read("rds:DescribeDBInstanceAutomatedBackups", || {
                let ask = cx.aws().rds.describe_db_instance_automated_backups();
                ask.dbi_resource_id(resource).send()
            })
            .await;
        let found = match asked {
            Ok(answer) => answer.db_instance_automated_backups.unwrap_or_default(),
            Err(fault) if fault.is_gone() => vec![],
            Err(fault) => return Err(fault.into()),
        };
        let covered = found.iter().filter_map(|backup| backup.restore_window());
        let mut covered = covered.filter_map(|window| {
            Some((window.earliest_time()?.secs(), window.latest_time()?.secs()))
        });
        if covered.any(|(from, to)| (from..=to).contains(&at.as_second())) {
            return Ok(Seen::of(vec![], 1));
        }
        Ok(Seen::found(Finding::of(
            name,
            Wrong::Missing,
            format!("the automated backups of {resource} do not reach back to {at}"),
            "use a point with a snapshot of the database",
        )))
    }

    fn rebuilt(&self, name: &PartName, from: &PartName) -> Seen {
        let there = self
            .manifest
            .part(from)
            .is_some_and(|part| part.way().is_some());
        if there {
            return Seen::default();
        }
        Seen::found(Finding::of(
            name,
            Wrong::Missing,
            format!("it is made again from {from}, which this point has not"),
            "use another point",
        ))
    }

    async fn archive(
        &self,
        name: &PartName,
        bucket: &str,
        key: &str,
        bytes: Option<u64>,
        sha256: &str,
    ) -> Result<Seen, OpsFault> {
        let cx = &self.ground.cx;
        let place = Place::new(bucket, key);
        let asked = cx
            .read("s3:GetObject", || {
                cx.aws().s3.head_object().bucket(bucket).key(key).send()
            })
            .await;
        let is = match asked {
            Ok(answer) => u64::try_from(answer.content_length().unwrap_or_default()).unwrap_or(0),
            Err(fault) if fault.is_gone() => {
                return Ok(Seen::found(missing(name, &place)));
            }
            Err(fault) => return Err(fault.into()),
        };
        let mut seen = Seen::of(vec![], 1);
        if let Some(should) = bytes.filter(|should| *should != is) {
            seen.findings.push(Finding::of(
                name,
                Wrong::Size,
                format!("{place} has {is} bytes and should have {should}"),
                VERSIONS,
            ));
            return Ok(seen);
        }
        // A small archive is read in any case: it names everything that Gitaly wrote.
        if bytes.is_some() && !self.look.read.holds(self.look.seed, key) {
            return Ok(seen);
        }
        let object = Object {
            sha256: sha256.parse().ok(),
            bytes,
            ..Object::newest(place.clone())
        };
        seen.read = 1;
        if let Some(problem) = self.transfer().verify_object(&object).await? {
            seen.findings.push(problem_with(
                name,
                &place.to_string(),
                &problem,
                Wrong::Missing,
            ));
        }
        Ok(seen)
    }

    /// Whether the points that the chain goes over are there.
    async fn chain(&self, name: &PartName, chain: &Chain) -> Result<Seen, OpsFault> {
        let mut findings = Vec::new();
        let mut at = chain.previous.clone();
        let mut steps = 0u64;
        let mut last = self.manifest.id.clone();
        while let Some(id) = at {
            steps += 1;
            let broken = |why: String| {
                Finding::of(
                    name,
                    Wrong::Chain,
                    why,
                    "use a point of another chain; the next `gantry backup create --whole` begins a new one",
                )
            };
            let listed = match self.points.read(&id).await {
                Ok(listed) => listed,
                Err(OpsFault::Refused { .. }) => {
                    findings.push(broken(format!("the step {id} that it builds on is gone")));
                    return Ok(Seen::of(findings, steps));
                }
                Err(fault) => return Err(fault),
            };
            let link = listed.manifest().and_then(Manifest::chain);
            let Some(link) = link.filter(|link| link.first == chain.first) else {
                findings.push(broken(format!(
                    "the step {id} that it builds on is no step of its chain"
                )));
                return Ok(Seen::of(findings, steps));
            };
            if listed.marks.dropping.is_some() {
                findings.push(broken(format!(
                    "the step {id} that it builds on is being removed"
                )));
            }
            last = id;
            at = link.previous.clone();
        }
        if last != chain.first {
            findings.push(Finding::of(
                name,
                Wrong::Chain,
                format!(
                    "its chain ends at {last} and should begin with {}",
                    chain.first
                ),
                "use a point of another chain",
            ));
        }
        Ok(Seen::of(findings, steps))
    }

    async fn index(
        &self,
        name: &PartName,
        bucket: &str,
        index: &ObjectIndex,
        chain: Option<&Chain>,
    ) -> Result<Seen, OpsFault> {
        let list = Place::new(self.points.bucket(), &index.key);
        let of = Place::new(bucket, "");
        let found = self
            .transfer()
            .verify_index(
                self.points.bucket(),
                index,
                &of,
                self.look.read,
                self.look.seed,
            )
            .await;
        match found {
            Ok(found) => Ok(objects(name, bucket, &found, chain)),
            Err(TransferFault::Damaged { place, why }) => Ok(Seen::found(Finding::of(
                name,
                Wrong::Content,
                format!("{place}: {why}"),
                VERSIONS,
            ))),
            Err(TransferFault::Cloud(fault)) if fault.is_gone() => {
                Ok(Seen::found(missing(name, &list)))
            }
            Err(fault) => Err(fault.into()),
        }
    }

    async fn disks(&self, name: &PartName, images: &[DiskImage]) -> Result<Seen, OpsFault> {
        let ids: Vec<String> = images.iter().map(|disk| disk.snapshot.clone()).collect();
        let found = disks::find(&self.ground.cx, &ids).await?;
        let mut findings = Vec::new();
        for image in images {
            let snapshot = found
                .iter()
                .find(|found| found.snapshot_id() == Some(&image.snapshot));
            let finding = |wrong, what: String| {
                Finding::of(name, wrong, what, "take another point, or use a copy of it")
            };
            match snapshot {
                None => findings.push(finding(
                    Wrong::Missing,
                    format!("EC2 has no snapshot {} of {}", image.snapshot, image.node),
                )),
                Some(there) => {
                    if there.state() != Some(&SnapshotState::Completed) {
                        let state = there.state().map_or("unknown", |state| state.as_str());
                        findings.push(finding(
                            Wrong::Snapshot,
                            format!(
                                "the snapshot {} of {} is {state}",
                                image.snapshot, image.node
                            ),
                        ));
                    }
                    if there.volume_id() != Some(&image.volume) {
                        findings.push(finding(
                            Wrong::Content,
                            format!("the snapshot {} is of another volume", image.snapshot),
                        ));
                    }
                }
            }
        }
        let mut seen = images.len() as u64;
        for image in images {
            for copy in &image.copies {
                seen += 1;
                let Some(cx) = self.away(copy) else {
                    findings.push(out_of_sight(name, copy));
                    continue;
                };
                let found = disks::find(cx, std::slice::from_ref(&copy.id)).await?;
                let state = found.first().and_then(|copy| copy.state());
                if state != Some(&SnapshotState::Completed) {
                    findings.push(bad_copy(name, copy, state.map(SnapshotState::as_str)));
                }
            }
        }
        Ok(Seen::of(findings, seen))
    }

    async fn sealed(&self, name: &PartName, sealed: &Sealed) -> Result<Seen, OpsFault> {
        let cx = &self.ground.cx;
        let place = Place::new(&sealed.bucket, &sealed.key);
        let Some(bytes) = read(cx, &place).await? else {
            return Ok(Seen::found(missing(name, &place)));
        };
        let mut seen = Seen {
            findings: vec![],
            looked_at: 1,
            read: 1,
        };
        let digest = Sha256::digest(&bytes);
        let is: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        if is != sealed.sha256 {
            seen.findings.push(Finding::of(
                name,
                Wrong::Content,
                format!(
                    "{place}: its SHA-256 is {is} and should be {}",
                    sealed.sha256
                ),
                VERSIONS,
            ));
        }
        let context = SealContext::new(
            &self.manifest.site.name,
            self.manifest.id.clone(),
            name.clone(),
        );
        let content = match open(cx, &sealed.kms, &context, &bytes).await {
            Ok(content) => content,
            Err(fault) => {
                // No answer is no finding: whoever asks again may get one.
                if let OpsFault::Cloud(Fault::Unknown { .. } | Fault::Throttled { .. }) = &fault {
                    return Err(fault);
                }
                let help = fault.help();
                seen.findings.push(Finding::of(
                    name,
                    Wrong::Seal,
                    format!("it cannot be opened: {fault}"),
                    help,
                ));
                return Ok(seen);
            }
        };
        if *name == PartName::Secrets {
            seen.findings.extend(fits(name, sealed, &content));
        }
        Ok(seen)
    }
}

/// Whether sealed secrets are those that the database was written with.
fn fits(name: &PartName, sealed: &Sealed, content: &[u8]) -> Option<Finding> {
    let Some(secrets) = read_sealed_secrets(content) else {
        return Some(Finding::of(
            name,
            Wrong::Seal,
            "what was sealed is not in the form that this gantry knows",
            "use the gantry that took the point, or a newer one",
        ));
    };
    let is = secrets_mark_of(secrets.gitlab_secrets.reveal());
    if is.as_deref() == Some(sealed.fits.as_str()) {
        return None;
    }
    Some(Finding::of(
        name,
        Wrong::Fit,
        "gitlab-secrets.json is not the one that the database was written with: what is encrypted there could not be read",
        "use another point; compare gitlab-secrets.json of the deploy node with the entry in Secrets Manager",
    ))
}

async fn read(cx: &CloudCx, place: &Place) -> Result<Option<Vec<u8>>, OpsFault> {
    let asked = cx
        .read("s3:GetObject", || {
            let get = cx.aws().s3.get_object();
            get.bucket(&place.bucket).key(&place.key).send()
        })
        .await;
    match asked {
        Ok(answer) => match answer.body.collect().await {
            Ok(content) => Ok(Some(content.to_vec())),
            Err(error) => Err(Fault::internal(format!("{place} broke off: {error}")).into()),
        },
        Err(fault) if fault.is_gone() => Ok(None),
        Err(fault) => Err(fault.into()),
    }
}

fn missing(name: &PartName, place: &Place) -> Finding {
    Finding::of(
        name,
        Wrong::Missing,
        format!("{place} is not there"),
        VERSIONS,
    )
}

fn out_of_sight(name: &PartName, copy: &RegionCopy) -> Finding {
    Finding::of(
        name,
        Wrong::Copy,
        format!("its copy in {} cannot be looked at", copy.region),
        format!(
            "write copy_to_region = \"{}\" below [backup] in the site file",
            copy.region
        ),
    )
}

fn bad_copy(name: &PartName, copy: &RegionCopy, state: Option<&str>) -> Finding {
    Finding::of(
        name,
        Wrong::Copy,
        match state {
            None => format!("its copy {} in {} is gone", copy.id, copy.region),
            Some(state) => format!("its copy {} in {} is {state}", copy.id, copy.region),
        },
        "the original still restores; take another point to have a copy there again",
    )
}

/// What is wrong with an object. One that is gone is `gone`, which of an earlier step is a broken chain.
fn problem_with(name: &PartName, place: &str, problem: &Problem, gone: Wrong) -> Finding {
    let wrong = match problem {
        Problem::Missing => gone,
        Problem::Size { .. } => Wrong::Size,
        Problem::Content(_) => Wrong::Content,
    };
    let help = if wrong == Wrong::Chain {
        "use a point of another chain; bring the object back from the bucket's old versions where it has any"
    } else {
        VERSIONS
    };
    Finding::of(name, wrong, format!("{place} {problem}"), help)
}

fn objects(name: &PartName, bucket: &str, found: &Findings, chain: Option<&Chain>) -> Seen {
    let mut findings: Vec<Finding> = found
        .problems
        .iter()
        .map(|(key, problem)| {
            let own = chain.is_none_or(|chain| {
                crate::ops::backup::belongs(key, std::slice::from_ref(&chain.backup))
            });
            let gone = if own { Wrong::Missing } else { Wrong::Chain };
            problem_with(name, &format!("s3://{bucket}/{key}"), problem, gone)
        })
        .collect();
    if found.more > 0 {
        findings.push(Finding::of(
            name,
            Wrong::Missing,
            format!("{} more objects are missing or changed", found.more),
            "use another point",
        ));
    }
    Seen {
        findings,
        looked_at: found.count,
        read: found.read,
    }
}
