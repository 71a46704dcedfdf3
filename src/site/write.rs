//! Writing a site file: what differs from the defaults, what every operator decides, and a comment on each.

use serde_json::{Map, Value};

use super::Site;
use super::schema::Shape;

/// Keys that are written even when they have their default, because every operator decides them.
const ALWAYS: &[&str] = &[
    "gitlab.edition",
    "gitlab.version",
    "network.cidr",
    "network.zones",
    "network.https_from",
    "network.git_ssh_from",
    "network.admin_from",
    "tls.certificate",
    "backup.timezone",
    "backup.rpo",
    "backup.schedule",
    "backup.keep",
];

/// Keys that are shown as a comment while they have no value.
const SHOWN: &[&str] = &[
    "site.account",
    "gitlab.license",
    "gitlab.initial_root_email",
    "network.admin_keys",
    "tls.hosted_zone",
    "front.pages_domain",
    "front.registry_domain",
    "monitoring.email",
    "backup.copy_to_region",
    "backup.immutable_days",
    "backup.keep.within",
];

impl Site {
    /// This site as a commented `gantry.toml`, which reads back to the same value.
    pub fn to_toml(&self) -> String {
        let defaults = Self::defaults_for(
            self.site.profile,
            self.site.name.clone(),
            self.site.domain.clone(),
            self.site.region.clone(),
        );
        let (Ok(Value::Object(site)), Ok(Value::Object(defaults))) =
            (serde_json::to_value(self), serde_json::to_value(defaults))
        else {
            unreachable!("a site is a map of sections, each of plain values");
        };
        let mut text = format!(
            "# The site file of {}. `gantry schema` describes every key; what is left out has its default.\n",
            self.site.domain
        );
        for (name, section) in &site {
            if let (Value::Object(values), Some(shape)) = (section, Shape::root().member(name)) {
                self.write_section(
                    &mut text,
                    name,
                    shape,
                    values,
                    defaults.get(name).and_then(Value::as_object),
                );
            }
        }
        text
    }

    /// `defaults` is `None` for a section that is there only because the file has it.
    fn write_section(
        &self,
        text: &mut String,
        path: &str,
        shape: Shape<'_>,
        values: &Map<String, Value>,
        defaults: Option<&Map<String, Value>>,
    ) {
        let mut lines = String::new();
        let mut below = String::new();
        let whole = path == "site" || ALWAYS.contains(&path);
        for (key, value) in values {
            let full = format!("{path}.{key}");
            let Some(member) = shape.member(key) else {
                continue;
            };
            let default = defaults.and_then(|defaults| defaults.get(key));
            if let Value::Object(inner) = value
                && member.kind() == "object"
            {
                self.write_section(
                    &mut below,
                    &full,
                    member,
                    inner,
                    default.and_then(Value::as_object),
                );
            } else if !value.is_null()
                && (whole || default != Some(value) || ALWAYS.contains(&full.as_str()))
            {
                comment(&mut lines, member);
                lines += &format!("{} = {}\n", toml_key(key), toml_value(value));
            } else if SHOWN.contains(&full.as_str()) {
                comment(&mut lines, member);
                let value = self.suggestion(&full).unwrap_or_else(|| member.example());
                lines += &format!("# {key} = {value}\n");
            }
        }
        if !lines.is_empty() || defaults.is_none() {
            text.push('\n');
            comment(text, shape);
            *text += &format!("[{path}]\n{lines}");
        }
        text.push_str(&below);
    }

    /// A value for this very site, for keys where the schema's example would mislead.
    fn suggestion(&self, path: &str) -> Option<String> {
        let domain = self.site.domain.as_str();
        let zone = domain
            .split_once('.')
            .map(|(_, zone)| zone)
            .filter(|zone| zone.contains('.'))
            .unwrap_or(domain);
        let value = match path {
            "gitlab.initial_root_email" => format!("root@{zone}"),
            "tls.hosted_zone" => zone.to_owned(),
            "front.pages_domain" => format!("pages.{zone}"),
            "front.registry_domain" => format!("registry.{zone}"),
            "backup.copy_to_region" if self.site.region.as_str() == "eu-central-1" => {
                "eu-west-1".to_owned()
            }
            "monitoring.email" => return Some(format!("[\"ops@{zone}\"]")),
            _ => return None,
        };
        Some(format!("\"{value}\""))
    }
}

fn comment(text: &mut String, shape: Shape<'_>) {
    for line in shape
        .description()
        .into_iter()
        .flat_map(str::lines)
        .filter(|line| !line.is_empty())
    {
        *text += &format!("# {line}\n");
    }
}

fn toml_key(key: &str) -> String {
    toml_edit::Key::new(key).display_repr().into_owned()
}

fn toml_value(value: &Value) -> String {
    match value {
        Value::String(text) => toml_edit::Value::from(text.as_str()).to_string(),
        Value::Array(values) => format!(
            "[{}]",
            values.iter().map(toml_value).collect::<Vec<_>>().join(", ")
        ),
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(key, value)| format!("{} = {}", toml_key(key), toml_value(value)))
                .collect();
            format!("{{ {} }}", members.join(", "))
        }
        other => other.to_string(),
    }
}
