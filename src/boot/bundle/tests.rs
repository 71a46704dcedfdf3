use proptest::prelude::*;

use super::*;

fn contents(files: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    files
        .iter()
        .map(|(path, content)| ((*path).to_owned(), content.as_bytes().to_vec()))
        .collect()
}

fn manifest(files: &[(&str, &str)]) -> Manifest {
    Manifest {
        files: files
            .iter()
            .map(|(path, content)| FileEntry::of(*path, "0600", "root:root", content))
            .collect(),
        ..Manifest::new("gitaly-1", Role::Gitaly)
    }
}

const FILES: [(&str, &str); 2] = [
    ("/etc/gitlab/gitlab.rb", "roles ['gitaly_role']\n"),
    ("/etc/gitlab/skip-auto-reconfigure", ""),
];

#[test]
fn the_manifest_as_it_is_written() {
    let manifest = Manifest {
        package: Some(PackageEntry {
            name: "gitlab-ee".into(),
            version: "19.5.3-ee.0".into(),
            source: "official".into(),
        }),
        secrets: vec![SecretEntry {
            name: "gitaly-token".into(),
            entry: "gantry/acme/gitaly-token".into(),
            required: true,
        }],
        volume: Some(VolumeEntry {
            id: "vol-0abc".into(),
            mount: "/var/opt/gitlab/git-data".into(),
            filesystem: Filesystem::Ext4,
        }),
        ..manifest(&FILES[1..])
    };
    insta::assert_json_snapshot!(manifest, @r#"
    {
      "format": 1,
      "node": "gitaly-1",
      "role": "gitaly",
      "package": {
        "name": "gitlab-ee",
        "version": "19.5.3-ee.0",
        "source": "official"
      },
      "files": [
        {
          "path": "/etc/gitlab/skip-auto-reconfigure",
          "mode": "0600",
          "owner": "root:root",
          "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        }
      ],
      "secrets": [
        {
          "name": "gitaly-token",
          "entry": "gantry/acme/gitaly-token",
          "required": true
        }
      ],
      "volume": {
        "id": "vol-0abc",
        "mount": "/var/opt/gitlab/git-data",
        "filesystem": "ext4"
      },
      "deploy": false,
      "rds_ca": false
    }
    "#);
}

#[test]
fn the_same_always_gives_the_same_bytes() {
    let turned = [FILES[1], FILES[0]];
    let one = Bundle::pack(&manifest(&FILES), &contents(&FILES)).unwrap();
    let other = Bundle::pack(&manifest(&turned), &contents(&turned)).unwrap();
    assert_eq!(one, other);
    assert_eq!(one.sha256, sha256(&one.bytes));
    // Neither a time nor a system.
    assert_eq!(&one.bytes[4..10], &[0, 0, 0, 0, 2, 255]);
    assert_eq!(
        one.pointer(),
        Pointer::new("gitaly-1", &one.sha256, one.size())
    );
}

#[test]
fn what_is_packed_is_opened() {
    let bundle = Bundle::pack(&manifest(&FILES), &contents(&FILES)).unwrap();
    let (read, files) = Bundle::open(&bundle.bytes).unwrap();
    assert_eq!(read, manifest(&FILES));
    assert_eq!(files, contents(&FILES));
}

#[test]
fn a_bundle_cut_short_is_not_opened() {
    let bundle = Bundle::pack(&manifest(&FILES), &contents(&FILES)).unwrap();
    for length in [0, 10, bundle.bytes.len() / 2, bundle.bytes.len() - 9] {
        assert!(Bundle::open(&bundle.bytes[..length]).is_err(), "{length}");
    }
}

#[test]
fn contradictions_are_named() {
    let pack = |mend: fn(&mut Manifest), files: &[(&str, &str)]| {
        let mut manifest = manifest(&FILES);
        mend(&mut manifest);
        Bundle::pack(&manifest, &contents(files))
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        pack(|_| (), &FILES[..1]),
        "/etc/gitlab/skip-auto-reconfigure is in the manifest, and its content is not there"
    );
    assert_eq!(
        pack(|m| m.files.truncate(1), &FILES),
        "/etc/gitlab/skip-auto-reconfigure is not in the manifest"
    );
    assert_eq!(
        pack(|m| m.files[0].sha256 = sha256("x"), &FILES),
        "/etc/gitlab/gitlab.rb does not hash to what the manifest says"
    );
    assert_eq!(
        pack(|m| m.files.push(m.files[0].clone()), &FILES),
        "/etc/gitlab/gitlab.rb is in the manifest twice"
    );
    assert_eq!(
        pack(|m| m.files[0].mode = "4755".into(), &FILES),
        "/etc/gitlab/gitlab.rb has the mode `4755`"
    );
    assert_eq!(
        pack(|m| m.files[0].owner = "root".into(), &FILES),
        "/etc/gitlab/gitlab.rb has the owner `root`"
    );
    for path in ["etc/x", "/etc/../x", "/etc//x", "/", "/etc/", "/a\nb"] {
        let manifest = manifest(&[(path, "")]);
        let error = Bundle::pack(&manifest, &contents(&[(path, "")])).unwrap_err();
        assert!(matches!(error, BundleError::Path(_)), "{path}: {error}");
    }
    for path in RESERVED {
        let manifest = manifest(&[(path, "")]);
        let error = Bundle::pack(&manifest, &contents(&[(path, "")])).unwrap_err();
        assert!(matches!(error, BundleError::Reserved(_)), "{path}: {error}");
    }
}

proptest! {
    #[test]
    fn any_files_come_back(files in proptest::collection::btree_map("(/[a-z]{1,90}){1,3}", "[ -~\n]{0,40}", 0..6)) {
        let files: Vec<(&str, &str)> = files.iter().map(|(p, c)| (p.as_str(), c.as_str())).collect();
        let bundle = Bundle::pack(&manifest(&files), &contents(&files)).unwrap();
        let (read, back) = Bundle::open(&bundle.bytes).unwrap();
        prop_assert_eq!(read, manifest(&files));
        prop_assert_eq!(back, contents(&files));
    }
}
