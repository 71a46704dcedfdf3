//! What goes onto nodes, as the tools that will read it see it.

use std::fs;

use gantry::blueprint::Role;
use gantry::boot::{Birth, boot_program, user_data};

use super::node::{BUCKET, real, written};
use crate::support::cloud::script;

const ROLES: [Role; 7] = [
    Role::Rails,
    Role::Sidekiq,
    Role::Gitaly,
    Role::Praefect,
    Role::Monitoring,
    Role::Bastion,
    Role::Box,
];

fn of(role: Role) -> String {
    user_data(&Birth {
        site: "a-site-with-a-very-long-name".into(),
        node: format!("{role}-1"),
        role,
        region: "ap-southeast-2".into(),
        bucket: BUCKET.into(),
    })
}

#[test]
fn cloud_init_takes_the_user_data_of_every_role() {
    let folder = tempfile::tempdir().unwrap();
    for role in ROLES {
        let text = of(role);
        assert!(text.len() < 16 * 1024, "{role}: {}", text.len());
        let file = folder.path().join(role.as_str());
        fs::write(&file, &text).unwrap();
        let output = real("cloud-init")
            .args(["schema", "--config-file"])
            .arg(&file)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(
            output.status.success() && !said.contains("deprecat"),
            "{role} (install cloud-init if it is missing): {said}"
        );
        let paths: Vec<_> = written(&text).into_iter().map(|(path, _)| path).collect();
        assert_eq!(
            paths,
            [
                "/etc/gantry/node.json",
                "/etc/systemd/system/gantry-boot.service",
                "/usr/local/lib/gantry/fetch"
            ]
        );
    }
}

#[test]
fn shellcheck_has_nothing_to_say() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("boot.sh");
    fs::write(&program, boot_program().0).unwrap();
    let fetcher = folder.path().join("fetch.sh");
    let (_, text) = written(&of(Role::Rails)).pop().unwrap();
    fs::write(&fetcher, text).unwrap();
    for file in [
        program,
        fetcher,
        script("boot/fake"),
        script("package/gitlab-backup"),
        script("package/sudo"),
    ] {
        let output = real("shellcheck").arg(&file).output().unwrap();
        assert!(
            output.status.success(),
            "install shellcheck if it is missing: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn what_procedures_run_on_nodes_is_well_formed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates/ops");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        const PARSE: &str =
            "import ast, pathlib, sys; ast.parse(pathlib.Path(sys.argv[1]).read_text())";
        let (program, options): (_, &[&str]) = match file.extension().and_then(|end| end.to_str()) {
            Some("sh") => ("shellcheck", &["--shell=sh"]),
            Some("rb") => ("ruby", &["-c", "-w"]),
            Some("py") => ("python3", &["-W", "error", "-c", PARSE]),
            _ => panic!("{} is none of them", file.display()),
        };
        let output = real(program).args(options).arg(&file).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(
            output.status.success() && !said.contains("warning"),
            "{}: {said}",
            file.display()
        );
        seen += 1;
    }
    assert!(seen > 10);
}

#[test]
fn systemd_takes_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let (_, unit) = written(&of(Role::Rails)).remove(1);
    // It looks whether the program is there.
    assert!(unit.contains("\nExecStart=/usr/local/lib/gantry/fetch\n"));
    let file = folder.path().join("gantry-boot.service");
    fs::write(
        &file,
        unit.replace("/usr/local/lib/gantry/fetch", "/bin/true"),
    )
    .unwrap();
    let output = real("systemd-analyze")
        .arg("verify")
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Ubuntu 24.04 has systemd 255; delays that grow came with 254.
    let complaints: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("gantry-boot"))
        .filter(|line| !line.contains("'RestartSteps'") && !line.contains("'RestartMaxDelaySec'"))
        .collect();
    assert!(
        output.status.success() && complaints.is_empty(),
        "install systemd if systemd-analyze is missing: {said}"
    );
}
