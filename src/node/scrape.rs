//! What Prometheus asks, and whom. No Consul: fixed nodes have addresses, Rails nodes have tags.

use serde_json::{Value, json};

use super::fleet::{Fleet, Host};
use super::page::{GITALY_METRICS_PORT, PRAEFECT_METRICS_PORT};
use crate::blueprint::Role;

/// The jobs, in the order they are shown. The package adds jobs called `prometheus` and `node` for its own machine,
/// and Prometheus does not start with two of one name.
pub(super) fn configs(fleet: &Fleet, cluster: bool) -> Value {
    let mut jobs = Vec::new();
    let groups = [Role::Sidekiq, Role::Gitaly, Role::Praefect];
    for role in groups {
        let nodes = fleet.of_role(role).collect::<Vec<_>>();
        if !nodes.is_empty() {
            jobs.push(fixed(&format!("{role}-machines"), 9100, &nodes));
        }
    }
    let sidekiq = fleet.of_role(Role::Sidekiq).collect::<Vec<_>>();
    jobs.push(fixed("gitlab-sidekiq", 8082, &sidekiq));
    let gitaly = fleet.of_role(Role::Gitaly).collect::<Vec<_>>();
    jobs.push(fixed("gitaly", GITALY_METRICS_PORT, &gitaly));
    if cluster {
        let praefect = fleet.of_role(Role::Praefect).collect::<Vec<_>>();
        jobs.push(fixed("praefect", PRAEFECT_METRICS_PORT, &praefect));
    }
    let mut rails = vec![
        ("rails-machines", 9100, None),
        ("gitlab-rails", 8083, None),
        ("gitlab-workhorse", 9229, None),
        ("nginx", 8060, None),
        ("gitlab_exporter_database", 9168, Some("/database")),
        ("gitlab_exporter_sidekiq", 9168, Some("/sidekiq")),
        ("gitlab_exporter_ruby", 9168, Some("/ruby")),
    ];
    if fleet.front.registry.is_some() {
        rails.push(("registry", 5001, None));
    }
    jobs.extend(
        rails
            .into_iter()
            .map(|(name, port, path)| group(fleet, name, port, path)),
    );
    Value::Array(jobs)
}

fn fixed(name: &str, port: u16, nodes: &[&Host]) -> Value {
    let each = nodes.iter().filter_map(|node| {
        let address = node.address.as_ref()?;
        Some(json!({
            "targets": [format!("{address}:{port}")],
            "labels": { "node": node.name },
        }))
    });
    json!({ "job_name": name, "static_configs": each.collect::<Vec<_>>() })
}

/// Of the Rails group: whatever runs and carries its tags.
fn group(fleet: &Fleet, name: &str, port: u16, path: Option<&str>) -> Value {
    let mut job = json!({
        "job_name": name,
        "ec2_sd_configs": [{
            "region": fleet.region,
            "port": port,
            "filters": [
                { "name": "tag:gantry:site", "values": [fleet.site] },
                { "name": "tag:gantry:role", "values": [Role::Rails] },
                { "name": "instance-state-name", "values": ["running"] },
            ],
        }],
        "relabel_configs": [
            { "source_labels": ["__meta_ec2_instance_id"], "target_label": "node" },
        ],
    });
    if let (Some(path), Some(job)) = (path, job.as_object_mut()) {
        job.insert("metrics_path".to_owned(), path.into());
    }
    job
}
