//! Alarms for what an operator must know, and the two that size the Rails group.
//!
//! `[monitoring] alarms = false` leaves all of them out, those of the Rails group as well: it then keeps its size.

use super::Draft;
use super::appliance::METRICS;
use super::compute::{Machines, Rails};
use super::data::Data;
use super::edge::{Front, PraefectFront, Shown};
use crate::kinds::cloudwatch::{Alarm, AlarmAction, Comparison, Dimension, Missing};
use crate::kinds::elb::{LoadBalancer, TargetGroup};
use crate::kinds::kms::Key;
use crate::kinds::sns::Topic;
use crate::profile::{Database, MaxmemoryPolicy};
use crate::resource::Ref;

/// A database is full at the latest when its storage cannot grow any more; this much of its first size is left then.
const STORAGE_LEFT: f64 = 0.10;

/// How much of its connections a database may have in use.
const CONNECTIONS_USED: f64 = 0.80;

/// ACM renews 60 days before the end; what is not renewed three weeks before needs a person.
const CERTIFICATE_DAYS: f64 = 21.0;

/// doc/install/aws/_index.md: at 60 % one node more, at 45 % one fewer.
const BUSY: f64 = 60.0;
const IDLE: f64 = 45.0;

const HOUR: u32 = 3_600;

/// No alarm of CloudWatch looks back further, with periods of an hour
/// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html>).
const LONGEST_LOOK_BACK_HOURS: u32 = 7 * 24;

/// What there is to watch.
pub(super) struct Watched<'a> {
    pub key: &'a Ref<Key>,
    pub data: &'a Data,
    pub machines: &'a Machines,
    pub front: Option<&'a Front>,
    pub praefect: Option<&'a PraefectFront>,
}

pub(super) fn add(draft: &mut Draft<'_>, watched: &Watched<'_>) {
    if !draft.site.monitoring.alarms {
        return;
    }
    let spec = Topic {
        name: draft.names.topic("alarms"),
        key: watched.key.clone(),
        emails: draft
            .site
            .monitoring
            .email
            .iter()
            .map(ToString::to_string)
            .collect(),
    };
    let topic = draft.world.add("alarms", spec);
    let mut tower = Tower { draft, topic };
    tower.databases(watched.data);
    tower.caches(watched.data);
    if let Some(front) = watched.front {
        for (part, group, _) in &front.targets {
            tower.targets(part, &front.balancer, group);
        }
        tower.certificate(&front.certificate);
    }
    if let Some(front) = watched.praefect {
        tower.targets("praefect", &front.balancer, &front.target);
    }
    for (name, instance) in &watched.machines.instances {
        tower.status(name, Dimension::Instance(instance.clone()));
    }
    if let Some(rails) = &watched.machines.rails {
        tower.status("rails", Dimension::Group(rails.group.clone()));
        tower.scaling(rails);
    }
    tower.points();
}

struct Tower<'d, 's> {
    draft: &'d mut Draft<'s>,
    topic: Ref<Topic>,
}

/// The measure of an alarm.
struct Measure {
    namespace: &'static str,
    metric: &'static str,
    statistic: &'static str,
    period_seconds: u32,
    /// So many periods in a row.
    periods: u32,
    comparison: Comparison,
    threshold: f64,
    missing: Missing,
}

impl Measure {
    /// The average over five minutes, three times in a row.
    fn lasting(
        namespace: &'static str,
        metric: &'static str,
        comparison: Comparison,
        threshold: f64,
    ) -> Self {
        Self {
            namespace,
            metric,
            statistic: "Average",
            period_seconds: 300,
            periods: 3,
            comparison,
            threshold,
            missing: Missing::Ignore,
        }
    }

    /// The worst of each minute, five times in a row.
    fn worst(namespace: &'static str, metric: &'static str, missing: Missing) -> Self {
        Self {
            namespace,
            metric,
            statistic: "Maximum",
            period_seconds: 60,
            periods: 5,
            comparison: Comparison::AtLeast,
            threshold: 1.0,
            missing,
        }
    }
}

impl Tower<'_, '_> {
    fn alarm(
        &mut self,
        part: &str,
        description: &str,
        measure: Measure,
        dimensions: Vec<(&str, Dimension)>,
    ) {
        let notify = AlarmAction::Notify(self.topic.clone());
        self.alarm_that(part, description, measure, dimensions, notify);
    }

    fn alarm_that(
        &mut self,
        part: &str,
        description: &str,
        measure: Measure,
        dimensions: Vec<(&str, Dimension)>,
        action: AlarmAction,
    ) {
        let spec = Alarm {
            name: self.draft.names.alarm(part),
            description: description.to_owned(),
            namespace: measure.namespace.to_owned(),
            metric: measure.metric.to_owned(),
            statistic: measure.statistic.to_owned(),
            dimensions: dimensions
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            period_seconds: measure.period_seconds,
            periods: measure.periods,
            threshold: measure.threshold,
            comparison: measure.comparison,
            missing: measure.missing,
            actions: vec![action],
        };
        self.draft.world.add(part, spec);
    }

    fn databases(&mut self, data: &Data) {
        let sizes = self.draft.sizes;
        let mut databases = Vec::new();
        if let (Some(size), Some(database)) = (&sizes.database, &data.main) {
            databases.push((
                "main".to_owned(),
                size,
                Dimension::Database(database.clone()),
            ));
            for (number, replica) in (1..).zip(&data.replicas) {
                let name = format!("main-{number}");
                databases.push((name, size, Dimension::Replica(replica.clone())));
            }
        }
        if let (Some(size), Some(database)) = (&sizes.praefect_database, &data.praefect) {
            databases.push((
                "praefect".to_owned(),
                size,
                Dimension::Database(database.clone()),
            ));
        }
        for (name, size, which) in databases {
            self.database(&name, size, &which);
        }
    }

    fn database(&mut self, name: &str, size: &Database, which: &Dimension) {
        let on = || vec![("DBInstanceIdentifier", which.clone())];
        let gib = f64::from(size.storage_gib) * 1024.0 * 1024.0 * 1024.0;
        self.alarm(
            &format!("database-{name}-storage"),
            "The database's storage is nearly full. Raise max_storage_gib under [database].",
            Measure::lasting(
                "AWS/RDS",
                "FreeStorageSpace",
                Comparison::Below,
                (gib * STORAGE_LEFT).round(),
            ),
            on(),
        );
        self.alarm(
            &format!("database-{name}-cpu"),
            "The database is busy. Take a larger class under [database] if it stays so.",
            Measure::lasting("AWS/RDS", "CPUUtilization", Comparison::AtLeast, 80.0),
            on(),
        );
        self.alarm(
            &format!("database-{name}-connections"),
            "The database has few connections left.",
            Measure::lasting(
                "AWS/RDS",
                "DatabaseConnections",
                Comparison::AtLeast,
                (f64::from(size.max_connections) * CONNECTIONS_USED).round(),
            ),
            on(),
        );
    }

    /// Per member: the primary moves among them.
    fn caches(&mut self, data: &Data) {
        let sizes = self.draft.sizes;
        for cache in &sizes.caches {
            let Some((_, group)) = data.caches.iter().find(|(name, _)| *name == cache.name) else {
                continue;
            };
            for member in 1..=cache.replicas + 1 {
                let suffix = format!("-{member:03}");
                let name = format!("cache-{}-{member}", cache.name.as_str());
                let on = || {
                    vec![(
                        "CacheClusterId",
                        Dimension::Cache(group.clone(), suffix.clone()),
                    )]
                };
                // A group that evicts is meant to be full.
                if cache.maxmemory_policy == MaxmemoryPolicy::NoEviction {
                    self.alarm(
                        &format!("{name}-memory"),
                        "The cache's memory is nearly full; writes are refused when it is. Take a larger node_type under [cache].",
                        Measure::lasting(
                            "AWS/ElastiCache",
                            "DatabaseMemoryUsagePercentage",
                            Comparison::AtLeast,
                            80.0,
                        ),
                        on(),
                    );
                }
                // One key evicted where nothing may be is one too many; elsewhere it takes a flood.
                let evictions = match cache.maxmemory_policy {
                    MaxmemoryPolicy::NoEviction => 1.0,
                    MaxmemoryPolicy::AllKeysLru => 100_000.0,
                };
                self.alarm(
                    &format!("{name}-evictions"),
                    "The cache throws out what is still wanted. Take a larger node_type under [cache].",
                    Measure {
                        statistic: "Sum",
                        ..Measure::lasting(
                            "AWS/ElastiCache",
                            "Evictions",
                            Comparison::AtLeast,
                            evictions,
                        )
                    },
                    on(),
                );
                self.alarm(
                    &format!("{name}-cpu"),
                    "The cache's one working thread is busy.",
                    Measure::lasting(
                        "AWS/ElastiCache",
                        "EngineCPUUtilization",
                        Comparison::AtLeast,
                        90.0,
                    ),
                    on(),
                );
            }
        }
    }

    fn targets(&mut self, name: &str, balancer: &Ref<LoadBalancer>, group: &Ref<TargetGroup>) {
        self.alarm(
            &format!("targets-{name}"),
            "A node behind the load balancer does not answer its health checks.",
            Measure::worst(
                "AWS/NetworkELB",
                "UnHealthyHostCount",
                Missing::NotBreaching,
            ),
            vec![
                ("LoadBalancer", Dimension::LoadBalancer(balancer.clone())),
                ("TargetGroup", Dimension::TargetGroup(group.clone())),
            ],
        );
    }

    /// A machine's own health and that of the host under it.
    fn status(&mut self, name: &str, which: Dimension) {
        let dimension = match which {
            Dimension::Group(_) => "AutoScalingGroupName",
            _ => "InstanceId",
        };
        self.alarm(
            &format!("status-{name}"),
            "EC2's status check fails: the machine or the host under it is broken.",
            Measure::worst("AWS/EC2", "StatusCheckFailed", Missing::Ignore),
            vec![(dimension, which)],
        );
    }

    fn certificate(&mut self, certificate: &Shown) {
        let which = match certificate {
            Shown::Requested { certificate, .. } => Dimension::Certificate(certificate.clone()),
            Shown::Existing(arn) => Dimension::Text(arn.clone()),
        };
        self.alarm(
            "certificate",
            "The certificate ends soon and has not been renewed. Look at its validation records.",
            Measure {
                statistic: "Minimum",
                // ACM measures twice a day.
                period_seconds: 86_400,
                periods: 1,
                ..Measure::lasting(
                    "AWS/CertificateManager",
                    "DaysToExpiry",
                    Comparison::Below,
                    CERTIFICATE_DAYS,
                )
            },
            vec![("CertificateArn", which)],
        );
    }

    /// The timers of the appliance host say after every run how old the newest whole point is. They say nothing when
    /// the host is dead or has no timers, so silence counts as an old point.
    fn points(&mut self) {
        let backup = &self.draft.site.backup;
        let schedules = [&backup.schedule.snapshot, &backup.schedule.full];
        let gaps = schedules.iter().filter_map(|s| s.longest_gap_hours());
        let Some(apart) = gaps.min() else {
            return;
        };
        let rpo = backup.rpo.minutes;
        let site = self.draft.site.site.name.to_string();
        self.alarm(
            "points",
            "No whole recovery point was made in time, or nobody says so: look at `gantry schedule show` on the appliance host.",
            Measure {
                statistic: "Minimum",
                period_seconds: HOUR,
                // The next run may be that far away, and takes its time.
                periods: (apart + rpo.div_ceil(60) + 1).min(LONGEST_LOOK_BACK_HOURS),
                missing: Missing::Breaching,
                ..Measure::lasting(
                    METRICS,
                    "AgeOfLastGoodPoint",
                    Comparison::AtLeast,
                    f64::from(rpo) * 60.0,
                )
            },
            vec![("Site", Dimension::Text(site))],
        );
    }

    /// Five minutes are EC2's basic measure; going back takes longer than going out.
    fn scaling(&mut self, rails: &Rails) {
        let on = || {
            vec![(
                "AutoScalingGroupName",
                Dimension::Group(rails.group.clone()),
            )]
        };
        let cpu = |comparison, threshold, periods| Measure {
            periods,
            ..Measure::lasting("AWS/EC2", "CPUUtilization", comparison, threshold)
        };
        self.alarm_that(
            "rails-busy",
            "The Rails nodes are busy: one more.",
            cpu(Comparison::AtLeast, BUSY, 1),
            on(),
            AlarmAction::Scale(rails.out.clone()),
        );
        self.alarm_that(
            "rails-idle",
            "The Rails nodes are idle: one fewer.",
            cpu(Comparison::AtMost, IDLE, 3),
            on(),
            AlarmAction::Scale(rails.back.clone()),
        );
    }
}
