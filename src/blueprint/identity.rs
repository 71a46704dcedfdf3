//! What the machines of each role may do in AWS: exactly what that role's software calls.

use std::collections::BTreeMap;

use super::secrets::{Kept, Secrets, valkey_token};
use super::storage::{ARCHIVES, Storage};
use super::{Draft, Role, appliance};
use crate::boot::reports_prefix;
use crate::kinds::ec2::BOOT_TAG;
use crate::kinds::iam::{self, Grant, InstanceProfile, Target};
use crate::kinds::s3::Bucket;
use crate::resource::Ref;

/// The instance profiles, by role.
pub(super) struct Profiles(BTreeMap<Role, Ref<InstanceProfile>>);

impl Profiles {
    pub fn get(&self, role: Role) -> Option<&Ref<InstanceProfile>> {
        self.0.get(&role)
    }
}

pub(super) fn add(draft: &mut Draft<'_>, storage: &Storage, secrets: &Secrets) -> Profiles {
    let mut profiles = BTreeMap::new();
    for role in Role::of(draft.sizes) {
        let grants = Allow {
            draft,
            storage,
            secrets,
            grants: Vec::new(),
        }
        .for_role(role);
        let spec = iam::Role {
            name: draft.names.role(role.as_str()),
            path: iam::path(draft.site.site.name.as_str()),
            service: "ec2.amazonaws.com".to_owned(),
            grants,
        };
        let reference = draft.world.add(role.as_str(), spec);
        let spec = InstanceProfile {
            name: draft.names.instance_profile(role.as_str()),
            path: iam::path(draft.site.site.name.as_str()),
            role: reference,
        };
        profiles.insert(role, draft.world.add(role.as_str(), spec));
    }
    Profiles(profiles)
}

/// What only the node that sets GitLab up reads.
const FIRST_SET_UP: [&str; 3] = ["initial-root-password", "license", "activation-code"];

/// The folder of the config bucket that a role reads; no role reads another's.
pub fn config_prefix(role: Role) -> String {
    format!("{}/", role.as_str())
}

pub(super) struct Allow<'a, 's> {
    pub draft: &'a Draft<'s>,
    pub storage: &'a Storage,
    pub secrets: &'a Secrets,
    pub grants: Vec<Grant>,
}

impl Allow<'_, '_> {
    fn for_role(mut self, role: Role) -> Vec<Grant> {
        self.config(role);
        self.report(role);
        match role {
            Role::Rails => {
                self.objects();
                self.mail();
                self.read_secrets(&self.rails_secrets());
            }
            Role::Sidekiq => {
                self.objects();
                self.mail();
                self.backups();
                let mut secrets = self.rails_secrets();
                // The first Sidekiq node is the deploy node: it seeds the database, and gives birth to
                // gitlab-secrets.json and the host keys.
                secrets.extend(owned(&FIRST_SET_UP));
                self.read_secrets(&secrets);
                self.write_secrets(&["gitlab-secrets", "ssh-host-keys"]);
            }
            Role::Gitaly => {
                self.gitaly_backups();
                self.read_secrets(&owned(&[
                    "gitaly-token",
                    "praefect-internal-token",
                    "gitlab-shell-secret",
                    "gitlab-secrets",
                ]));
            }
            Role::Praefect => self.read_secrets(&owned(&[
                "praefect-database-password",
                "praefect-external-token",
                "praefect-internal-token",
                "gitlab-secrets",
            ])),
            // Prometheus finds the Rails nodes by their tags. EC2's listings know no narrower grant.
            Role::Monitoring => {
                self.allow("FindNodes", &["ec2:DescribeInstances"], vec![Target::Any]);
                self.read_secrets(&owned(&["gitlab-secrets"]));
            }
            Role::Bastion => appliance::host(&mut self),
            Role::Box => {
                self.objects();
                self.mail();
                self.backups();
                self.gitaly_backups();
                self.write_secrets(&["gitlab-secrets", "ssh-host-keys"]);
                self.session_manager();
                // As the appliance host it reads every secret of the site.
                appliance::host(&mut self);
            }
        }
        self.key(role);
        merged(self.grants)
    }

    fn rails_secrets(&self) -> Vec<String> {
        let mut secrets = owned(&[
            "gitlab-secrets",
            "ssh-host-keys",
            "gitlab-shell-secret",
            "database-password",
            "registry-database-password",
            "gitaly-token",
            "praefect-external-token",
            "smtp-password",
            "ldap-password",
            "saml-idp-cert",
        ]);
        secrets.extend(
            self.draft
                .sizes
                .caches
                .iter()
                .map(|cache| valkey_token(cache.name)),
        );
        secrets
    }

    pub fn allow(&mut self, sid: &str, actions: &[&str], on: Vec<Target>) {
        self.allow_if(sid, actions, on, &[]);
    }

    /// Only where each condition holds: operator, key and value, as in a policy.
    pub fn allow_if(
        &mut self,
        sid: &str,
        actions: &[&str],
        on: Vec<Target>,
        conditions: &[(&str, &str, &str)],
    ) {
        if on.is_empty() {
            return;
        }
        self.grants.push(Grant::new(sid, actions, on, conditions));
    }

    /// A node's own files. The bucket's name is the blueprint's own choice, so the ARN is known.
    fn config(&mut self, role: Role) {
        let arn = format!(
            "arn:aws:s3:::{}/{}*",
            self.draft.names.bucket("config"),
            config_prefix(role)
        );
        self.allow("ReadOwnFiles", &["s3:GetObject"], vec![Target::Arn(arn)]);
    }

    /// What a node says about its boots: an object below `reports/`, and one tag on itself. Bundles, pointers and the
    /// boot program are gantry's to write: who takes over a node must not be able to take over its successors.
    fn report(&mut self, role: Role) {
        let bucket = self.draft.names.bucket("config");
        let arn = format!("arn:aws:s3:::{bucket}/{}*", reports_prefix(role));
        self.allow("Report", &["s3:PutObject"], vec![Target::Arn(arn)]);
        let (region, account) = (&self.draft.site.site.region, &self.draft.facts.account);
        // `ec2:SourceInstanceARN` is the instance that the credentials were given to, and `ec2:InstanceID` the one that
        // would be tagged (https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html).
        self.grants.push(Grant {
            sid: "TagItself".to_owned(),
            actions: vec!["ec2:CreateTags".to_owned()],
            on: vec![Target::Arn(format!(
                "arn:aws:ec2:{region}:{account}:instance/*"
            ))],
            conditions: BTreeMap::from([
                (
                    "ArnEquals".to_owned(),
                    BTreeMap::from([(
                        "ec2:SourceInstanceARN".to_owned(),
                        format!("arn:aws:ec2:{region}:{account}:instance/${{ec2:InstanceID}}"),
                    )]),
                ),
                (
                    "ForAllValues:StringEquals".to_owned(),
                    BTreeMap::from([("aws:TagKeys".to_owned(), BOOT_TAG.to_owned())]),
                ),
                (
                    "Null".to_owned(),
                    BTreeMap::from([("aws:TagKeys".to_owned(), "false".to_owned())]),
                ),
            ]),
        });
    }

    /// doc/administration/object_storage.md, and doc/install/aws/_index.md for the uploads in parts; those two
    /// actions belong on objects.
    fn objects(&mut self) {
        let mut buckets: Vec<&Ref<Bucket>> = self.storage.objects.iter().collect();
        buckets.push(&self.storage.registry);
        let whole = buckets
            .iter()
            .map(|b| Target::Bucket((*b).clone()))
            .collect();
        let within = buckets
            .iter()
            .map(|b| Target::Objects((*b).clone()))
            .collect();
        self.allow(
            "ListObjects",
            &[
                "s3:GetBucketLocation",
                "s3:ListBucket",
                "s3:ListBucketMultipartUploads",
            ],
            whole,
        );
        self.allow(
            "UseObjects",
            &[
                "s3:AbortMultipartUpload",
                "s3:DeleteObject",
                "s3:GetObject",
                "s3:ListMultipartUploadParts",
                "s3:PutObject",
            ],
            within,
        );
    }

    /// Mail by the API of Amazon SES, or the role that may send it. Which addresses are verified, SES itself knows.
    fn mail(&mut self) {
        let Some(ses) = &self.draft.site.ses else {
            return;
        };
        match &ses.role_arn {
            Some(role) => {
                let role = vec![Target::Arn(role.clone())];
                self.allow("BecomeMailer", &["sts:AssumeRole"], role);
            }
            None => self.allow(
                "SendMail",
                &["ses:SendEmail", "ses:SendRawEmail"],
                vec![Target::Any],
            ),
        }
    }

    /// Writes and reads, never deletes: who takes over a node must not be able to take the backups with it. The node
    /// has the folder of GitLab's archives, and none of what gantry writes.
    fn backups(&mut self) {
        let bucket = self.storage.backups.clone();
        let archives = Target::Folder(bucket.clone(), ARCHIVES.to_owned());
        self.keep("Backups", &bucket, archives);
    }

    fn gitaly_backups(&mut self) {
        let bucket = self.storage.gitaly_backups.clone();
        self.keep("GitalyBackups", &bucket, Target::Objects(bucket.clone()));
    }

    fn keep(&mut self, what: &str, bucket: &Ref<Bucket>, within: Target) {
        self.allow(
            &format!("List{what}"),
            &["s3:GetBucketLocation", "s3:ListBucket"],
            vec![Target::Bucket(bucket.clone())],
        );
        self.allow(
            &format!("Keep{what}"),
            &[
                "s3:AbortMultipartUpload",
                "s3:GetObject",
                "s3:ListMultipartUploadParts",
                "s3:PutObject",
            ],
            vec![within],
        );
    }

    /// Every secret of the site. Those of its own have the site in their names, so that one pattern names them all: a
    /// policy of a role has no room for a list.
    pub fn read_all_secrets(&mut self, sid: &str) {
        let (region, account) = (&self.draft.site.site.region, &self.draft.facts.account);
        let all = self.draft.names.every_secret();
        let mut on = vec![Target::Arn(format!(
            "arn:aws:secretsmanager:{region}:{account}:secret:{all}"
        ))];
        on.extend(self.secrets.theirs().map(Target::Arn));
        self.allow(sid, &["secretsmanager:GetSecretValue"], on);
    }

    /// Of these names, the secrets that the site has.
    fn read_secrets(&mut self, names: &[String]) {
        let on = names
            .iter()
            .filter_map(|name| {
                Some(match self.secrets.get(name)? {
                    Kept::Ours(secret) => Target::Secret(secret.clone()),
                    Kept::Theirs(arn) => Target::Arn(arn.clone()),
                })
            })
            .collect();
        self.allow("ReadSecrets", &["secretsmanager:GetSecretValue"], on);
    }

    fn write_secrets(&mut self, names: &[&str]) {
        let on = names
            .iter()
            .filter_map(|name| self.secrets.ours(name).map(Target::Secret))
            .collect();
        self.allow("FillSecrets", &["secretsmanager:PutSecretValue"], on);
    }

    /// The least that the Session Manager agent needs
    /// (<https://docs.aws.amazon.com/systems-manager/latest/userguide/getting-started-create-iam-instance-profile.html>).
    fn session_manager(&mut self) {
        self.allow(
            "SessionManager",
            &[
                "ssm:UpdateInstanceInformation",
                "ssmmessages:CreateControlChannel",
                "ssmmessages:CreateDataChannel",
                "ssmmessages:OpenControlChannel",
                "ssmmessages:OpenDataChannel",
            ],
            vec![Target::Any],
        );
    }

    pub fn key_through(&mut self, sid: &str, service: &str, actions: &[&str]) {
        let via = format!("{service}.{}.amazonaws.com", self.draft.site.site.region);
        let on = vec![Target::Key(self.storage.key.clone())];
        let condition = ("StringEquals", "kms:ViaService", via.as_str());
        self.allow_if(sid, actions, on, &[condition]);
    }

    /// The site's key, only through the services whose data a node may touch anyway.
    fn key(&mut self, role: Role) {
        let mut through = |sid: &str, service: &str, actions: &[&str]| {
            self.key_through(sid, service, actions);
        };
        // Every role writes its reports, to a bucket that encrypts with the key.
        through(
            "KeyThroughS3",
            "s3",
            &["kms:Decrypt", "kms:GenerateDataKey"],
        );
        match role {
            Role::Sidekiq | Role::Box => through(
                "KeyThroughSecrets",
                "secretsmanager",
                &["kms:Decrypt", "kms:GenerateDataKey"],
            ),
            _ => through("KeyThroughSecrets", "secretsmanager", &["kms:Decrypt"]),
        }
    }
}

/// One allowance for each set of things: the policies of a role may have 10,240 characters together, and a box has the
/// rights of three roles (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>).
fn merged(grants: Vec<Grant>) -> Vec<Grant> {
    let about = |grant: &Grant| serde_json::to_string(&(&grant.on, &grant.conditions)).ok();
    let mut all: Vec<Grant> = Vec::new();
    for grant in grants {
        match all.iter_mut().find(|other| about(other) == about(&grant)) {
            Some(other) => {
                other.actions.extend(grant.actions);
                other.actions.sort();
                other.actions.dedup();
            }
            None => all.push(grant),
        }
    }
    all
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
