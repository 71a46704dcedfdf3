//! The real client against real OpenSSH servers, through a real bastion, with hangs and cut lines.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command as Process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gantry::secret::Secret;
use gantry::shell::{
    Access, As, ClientConfig, Command, Ended, Endpoint, HostKeyPolicy, Keys, KnownHosts, Line,
    Outcome, Ran, RemoteFile, RemotePath, Shell, ShellFault, Ssh, Status, Stream, Together, config,
    interactive, run_on_many,
};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::support::ssh::{Agent, Lab, address, free_port, impatient, tool, until};

/// Tells each line to a channel.
fn told() -> (
    Arc<dyn gantry::shell::Observer>,
    mpsc::UnboundedReceiver<String>,
) {
    let (send, lines) = mpsc::unbounded_channel();
    let observer = move |line: Line<'_>| drop(send.send(line.text.to_owned()));
    (Arc::new(observer), lines)
}

/// A command that says `started` and then never ends.
fn hang() -> Command {
    Command::script("hang", "echo started; sleep 1000")
}

fn says(fault: &ShellFault, parts: &[&str]) {
    let said = fault.to_string();
    for part in parts {
        assert!(said.contains(part), "{part:?} is missing in: {said}");
    }
}

async fn hello(shell: &dyn Shell) -> Result<String, ShellFault> {
    let exit = shell.must(&Command::new("echo").arg("hello")).await?;
    Ok(exit.stdout.text())
}

/// The client's port of the TCP connection that a server sees.
async fn connection(shell: &dyn Shell) -> String {
    let command = Command::script("connection", "echo $SSH_CONNECTION");
    let said = shell.must(&command).await.unwrap().stdout.text();
    said.split(' ').nth(1).unwrap().to_owned()
}

#[tokio::test]
async fn a_command_runs_on_a_node_through_the_bastion() {
    let lab = Lab::new();
    let [bastion, node] = lab.servers(["bastion", "gitaly-1"]);
    let shell = lab.through(&bastion, &node);
    let lines = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&lines);
    let command = Command::script(
        "greet",
        r#"echo "one $1"; echo "two $WHO" >&2; echo three; exit 3"#,
    )
    .arg("it's \"quoted\" $HOME")
    .env("WHO", "a 'b'")
    .observe(Arc::new(move |line: Line<'_>| {
        let line = (line.host.to_owned(), line.stream, line.text.to_owned());
        into.lock().unwrap().push(line);
    }));
    let exit = shell.run(&command).await.unwrap();
    assert_eq!(exit.status, Status::Code(3));
    assert_eq!(exit.stdout.text(), "one it's \"quoted\" $HOME\nthree\n");
    assert_eq!(exit.stderr.text(), "two a 'b'\n");
    let lines = lines.lock().unwrap().clone();
    assert!(lines.iter().all(|(host, ..)| host == "gitaly-1"));
    let of = |which| {
        let lines = lines.iter().filter(move |(_, stream, _)| *stream == which);
        lines.map(|(.., text)| text.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of(Stream::Out), ["one it's \"quoted\" $HOME", "three"]);
    assert_eq!(of(Stream::Err), ["two a 'b'"]);

    let fault = shell.must(&command).await.unwrap_err();
    says(
        &fault,
        &[
            "gitaly-1",
            "through bastion",
            "`greet` ended with exit code 3; its last line: two",
        ],
    );

    // The node's other end is a process of the bastion, and the bastion says so too.
    let port = connection(&shell).await;
    assert!(bastion.holds_port(&port));
    let target = format!("target {} port {}", node.address, node.port);
    assert!(bastion.log().contains(&target), "{}", bastion.log());
}

#[tokio::test]
async fn one_connection_serves_one_command_after_the_other() {
    let lab = Lab::new();
    let [node] = lab.servers(["rails"]);
    let shell = lab.direct(&node);
    let first = connection(&shell).await;
    for _ in 0..20 {
        assert_eq!(connection(&shell).await, first);
    }
}

#[tokio::test]
async fn commands_that_overlap_do_not_wait_for_each_other() {
    let lab = Lab::new();
    let [bastion, node] = lab.servers(["bastion", "rails"]);
    let shell = lab.through(&bastion, &node);
    let file = lab.path("flag");
    let wait = Command::script(
        "wait",
        "until [ -e \"$1\" ]; do sleep 0.02; done; echo seen",
    )
    .arg(file.to_str().unwrap());
    let touch = Command::new("touch").arg(file.to_str().unwrap());
    let (waited, touched) = futures::join!(shell.must(&wait), shell.must(&touch));
    touched.unwrap();
    assert_eq!(waited.unwrap().stdout.text(), "seen\n");
}

#[tokio::test]
async fn an_unknown_host_key_is_refused_unless_the_first_is_to_be_believed() {
    let lab = Lab::new();
    let [node] = lab.servers(["rails"]);
    lab.known.forget("rails").unwrap();
    let fault = hello(&lab.direct(&node)).await.unwrap_err();
    assert!(
        matches!(fault, ShellFault::HostKeyUnknown { .. }),
        "{fault:?}"
    );
    let fingerprint = tool(
        "ssh-keygen",
        &["-lf", lab.path("rails/host.pub").to_str().unwrap()],
    );
    let fingerprint = fingerprint.split(' ').nth(1).unwrap();
    says(&fault, &["rails (127.", "host key not known", fingerprint]);
    assert!(lab.known.keys("rails").is_empty());

    let access = lab.access(lab.keys()).policy(HostKeyPolicy::RecordFirst);
    let trusting = Ssh::new(node.endpoint(), None, Arc::new(access));
    assert_eq!(hello(&trusting).await.unwrap(), "hello\n");
    let known = KnownHosts::open(lab.path("known_hosts")).unwrap();
    let strict = Access::new(lab.keys(), Arc::new(known));
    let strict = Ssh::new(node.endpoint(), None, Arc::new(strict));
    assert_eq!(hello(&strict).await.unwrap(), "hello\n");
}

#[tokio::test]
async fn a_changed_host_key_is_always_refused_and_both_are_shown() {
    let lab = Lab::new();
    let [bastion, node] = lab.servers(["bastion", "rails"]);
    lab.known.report("rails", [bastion.host_key()]).unwrap();
    let fingerprint = |file: &str| {
        let said = tool("ssh-keygen", &["-lf", lab.path(file).to_str().unwrap()]);
        said.split(' ').nth(1).unwrap().to_owned()
    };
    let shown = format!("it shows ssh-ed25519 {}", fingerprint("rails/host.pub"));
    let known = format!("known is ssh-ed25519 {}", fingerprint("bastion/host.pub"));
    for policy in [HostKeyPolicy::KnownOnly, HostKeyPolicy::RecordFirst] {
        let access = lab.access(lab.keys()).policy(policy);
        let shell = Ssh::new(node.endpoint(), Some(bastion.endpoint()), Arc::new(access));
        let fault = hello(&shell).await.unwrap_err();
        assert!(
            matches!(fault, ShellFault::HostKeyChanged { .. }),
            "{fault:?}"
        );
        says(
            &fault,
            &[
                "rails",
                "through bastion",
                "HOST KEY CHANGED",
                &shown,
                &known,
            ],
        );
        assert!(fault.help().contains("Do not go on"));
    }

    // The same of the bastion is a fault of the bastion.
    lab.known.report("bastion", [node.host_key()]).unwrap();
    let fault = hello(&lab.through(&bastion, &node)).await.unwrap_err();
    let ShellFault::Bastion { cause, .. } = &fault else {
        panic!("{fault:?}")
    };
    assert!(matches!(**cause, ShellFault::HostKeyChanged { .. }));
    says(
        &fault,
        &[
            "rails",
            "the bastion failed: bastion (127.",
            "on the way to rails",
            "CHANGED",
        ],
    );
}

#[tokio::test]
async fn a_host_is_asked_for_the_kind_of_key_that_is_known() {
    let lab = Lab::new();
    let [node] = lab.servers(["rails"]);
    lab.known.report("rails", [node.host_key_ecdsa()]).unwrap();
    assert_eq!(hello(&lab.direct(&node)).await.unwrap(), "hello\n");
}

#[tokio::test]
async fn a_wrong_user_key_is_refused_and_named() {
    let lab = Lab::new();
    let [bastion, node] = lab.servers(["bastion", "rails"]);
    let wrong = lab.key_pair("wrong", &["-t", "ed25519"]);
    let access = || Arc::new(lab.access(Keys::none().file(&wrong)));
    let shell = Ssh::new(node.endpoint(), None, access());
    let fault = hello(&shell).await.unwrap_err();
    assert!(matches!(fault, ShellFault::UserRefused { .. }), "{fault:?}");
    let fingerprint = tool("ssh-keygen", &["-lf", &format!("{}.pub", wrong.display())]);
    let fingerprint = fingerprint.split(' ').nth(1).unwrap();
    let login = format!("refused the login as `{}`", lab.user);
    says(
        &fault,
        &["rails", &login, wrong.to_str().unwrap(), fingerprint],
    );

    let shell = Ssh::new(node.endpoint(), Some(bastion.endpoint()), access());
    let fault = hello(&shell).await.unwrap_err();
    says(
        &fault,
        &["rails", "the bastion failed: bastion", "refused the login"],
    );
    assert!(!node.has_sessions());
}

#[tokio::test]
async fn every_kind_of_key_file_lets_in() {
    let lab = Lab::new();
    let [node] = lab.servers(["rails"]);
    for (name, args) in [
        ("ed25519", &["-t", "ed25519"][..]),
        ("rsa", &["-t", "rsa", "-b", "2048"]),
        ("rsa-pem", &["-t", "rsa", "-b", "2048", "-m", "PEM"]),
        ("ecdsa", &["-t", "ecdsa"]),
    ] {
        let key = lab.key_pair(name, args);
        lab.accept(&key);
        let access = lab.access(Keys::none().file(&key));
        let shell = Ssh::new(node.endpoint(), None, Arc::new(access));
        assert_eq!(hello(&shell).await.unwrap(), "hello\n", "{name}");
        // And without its public half beside it.
        fs::remove_file(format!("{}.pub", key.display())).unwrap();
        let access = lab.access(Keys::none().file(&key));
        let shell = Ssh::new(node.endpoint(), None, Arc::new(access));
        assert_eq!(hello(&shell).await.unwrap(), "hello\n", "{name}");
    }
}

#[tokio::test]
async fn a_key_with_a_passphrase_is_opened_by_asking_once() {
    let lab = Lab::new();
    let [bastion, one, two] = lab.servers(["bastion", "gitaly-1", "gitaly-2"]);
    for (name, args) in [
        ("locked", &["-t", "ed25519", "-N", "open sesame"][..]),
        (
            "locked-pem",
            &["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "open sesame"],
        ),
    ] {
        let key = lab.key_pair(name, args);
        lab.accept(&key);
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let keys = Keys::none().file(&key).prompt(Arc::new(move |_: &Path| {
            // The first answer is mistyped.
            let said = ["open cesame", "open sesame"][count.fetch_add(1, Ordering::SeqCst)];
            Some(Secret::new(said.into()))
        }));
        let access = Arc::new(lab.access(keys));
        for node in [&one, &two] {
            let shell = Ssh::new(
                node.endpoint(),
                Some(bastion.endpoint()),
                Arc::clone(&access),
            );
            assert_eq!(hello(&shell).await.unwrap(), "hello\n", "{name}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2, "{name}");

        let shell = |keys| Ssh::new(one.endpoint(), None, Arc::new(lab.access(keys)));
        let wrong = Keys::none()
            .file(&key)
            .prompt(Arc::new(|_: &Path| Some(Secret::new("guess".into()))));
        let fault = hello(&shell(wrong)).await.unwrap_err();
        says(
            &fault,
            &[
                "gitaly-1",
                key.to_str().unwrap(),
                "the passphrase does not open it",
            ],
        );
        let fault = hello(&shell(Keys::none().file(&key))).await.unwrap_err();
        says(
            &fault,
            &["gitaly-1", key.to_str().unwrap(), "it needs a passphrase"],
        );
    }
}

#[tokio::test]
async fn a_key_file_that_is_none_is_named() {
    let lab = Lab::new();
    let [node] = lab.servers(["rails"]);
    let shell = |path: &Path| {
        let access = lab.access(Keys::none().file(path));
        Ssh::new(node.endpoint(), None, Arc::new(access))
    };
    let fault = hello(&shell(&lab.path("nowhere"))).await.unwrap_err();
    says(&fault, &["rails", "nowhere cannot be used", "No such file"]);
    let text = lab.path("text");
    fs::write(&text, "not a key\n").unwrap();
    let fault = hello(&shell(&text)).await.unwrap_err();
    assert!(matches!(fault, ShellFault::Key { .. }), "{fault:?}");
}

#[tokio::test]
async fn an_agent_lets_in_on_both_hops() {
    let lab = Lab::new();
    let [bastion, node] = lab.servers(["bastion", "rails"]);
    let agent = Agent::start(&lab, "agent");
    let shell = || {
        let access = lab.access(Keys::none().agent(&agent.socket));
        Ssh::new(node.endpoint(), Some(bastion.endpoint()), Arc::new(access))
    };
    let fault = hello(&shell()).await.unwrap_err();
    says(
        &fault,
        &["bastion", "no key to log in with", "holds no keys"],
    );
    agent.add(&lab.key);
    assert_eq!(hello(&shell()).await.unwrap(), "hello\n");
}

#[tokio::test]
async fn without_agent_and_key_the_fault_says_what_is_missing() {
    let lab = Lab::new();
    let [node] = lab.servers(["rails"]);
    let shell = |keys| Ssh::new(node.endpoint(), None, Arc::new(lab.access(keys)));
    let fault = hello(&shell(Keys::none())).await.unwrap_err();
    assert!(matches!(fault, ShellFault::NoAgent { .. }), "{fault:?}");
    says(
        &fault,
        &["rails", "no agent is known and no key file was named"],
    );
    assert!(fault.help().contains("ssh-add"));
    let gone = lab.path("gone.sock");
    let fault = hello(&shell(Keys::none().agent(&gone))).await.unwrap_err();
    says(
        &fault,
        &["rails", gone.to_str().unwrap(), "does not answer"],
    );
    // A dead agent does not stand in the way of a file.
    assert_eq!(
        hello(&shell(lab.keys().agent(&gone))).await.unwrap(),
        "hello\n"
    );
}

#[tokio::test]
async fn an_agent_with_too_many_keys_needs_the_right_one_named() {
    let lab = Lab::new();
    let [node] = lab.servers(["rails"]);
    let agent = Agent::start(&lab, "agent");
    for number in 0..8 {
        agent.add(&lab.key_pair(&format!("other-{number}"), &["-t", "ed25519"]));
    }
    agent.add(&lab.key);
    let shell = |keys: Keys| {
        let access = lab.access(keys.agent(&agent.socket));
        Ssh::new(node.endpoint(), None, Arc::new(access))
    };
    let fault = hello(&shell(Keys::none())).await.unwrap_err();
    assert!(matches!(fault, ShellFault::UserRefused { .. }), "{fault:?}");
    says(&fault, &["rails", "agent key other-0 SHA256:", "hung up"]);
    assert!(fault.help().contains("six keys"));
    // The private half is not needed to name it.
    let public = lab.path("named.pub");
    fs::copy(format!("{}.pub", lab.key.display()), public).unwrap();
    let named = Keys::none().file(lab.path("named"));
    assert_eq!(hello(&shell(named)).await.unwrap(), "hello\n");
}

#[tokio::test]
async fn a_hanging_command_is_stopped_and_its_connection_goes_on() {
    let lab = Lab::new();
    let [bastion, node] = lab.servers(["bastion", "rails"]);
    let shell = lab.through(&bastion, &node);
    let before = connection(&shell).await;
    let mark = lab.path("mark");
    let command = Command::script(
        "hang",
        "echo $$ > \"$1\"; echo waiting for Godot; sleep 1000",
    )
    .arg(mark.to_str().unwrap())
    .timeout(Duration::from_millis(400));
    let fault = shell.run(&command).await.unwrap_err();
    let ShellFault::Timeout { end, last, .. } = &fault else {
        panic!("{fault:?}")
    };
    assert_eq!((*end, last.as_str()), (Ended::Stopped, "waiting for Godot"));
    says(
        &fault,
        &[
            "rails",
            "through bastion",
            "`hang` was still running after 0.4 s",
            "stopped there",
        ],
    );
    let id = fs::read_to_string(mark).unwrap();
    until("the hanging process is gone", || {
        !Path::new("/proc").join(id.trim()).exists()
    });
    assert_eq!(connection(&shell).await, before);
}

#[tokio::test]
async fn a_command_that_ignores_the_end_is_killed() {
    let lab = Lab::new();
    let [node] = lab.servers(["rails"]);
    let shell = lab.direct(&node);
    let command =
        Command::script("deaf", "trap '' TERM; sleep 1000").timeout(Duration::from_millis(200));
    let fault = shell.run(&command).await.unwrap_err();
    assert!(
        matches!(
            fault,
            ShellFault::Timeout {
                end: Ended::Stopped,
                ..
            }
        ),
        "{fault:?}"
    );
    assert_eq!(hello(&shell).await.unwrap(), "hello\n");
}

#[tokio::test]
async fn a_line_cut_at_the_node_is_said_and_the_next_command_connects_again() {
    let lab = Lab::new();
    let [bastion, node] = lab.servers(["bastion", "rails"]);
    let shell = lab.through(&bastion, &node);
    let (observer, mut lines) = told();
    let command = hang().observe(observer);
    let (result, ()) = futures::join!(shell.run(&command), async {
        assert_eq!(lines.recv().await.unwrap(), "started");
        node.cut();
    });
    let fault = result.unwrap_err();
    let ShellFault::Cut { ran, last, .. } = &fault else {
        panic!("{fault:?}")
    };
    assert_eq!((*ran, last.as_str()), (Ran::Maybe, "started"));
    says(
        &fault,
        &[
            "rails (127.",
            "through bastion",
            "the line broke during `hang`",
            "may have run",
            "last line: started",
        ],
    );
    assert!(fault.help().contains("look on rails"));
    assert_eq!(hello(&shell).await.unwrap(), "hello\n");
}

#[tokio::test]
async fn a_line_cut_at_the_bastion_is_the_bastions_fault() {
    let lab = Lab::new();
    let [bastion, node] = lab.servers(["bastion", "rails"]);
    let shell = lab.through(&bastion, &node);
    let (observer, mut lines) = told();
    let command = hang().observe(observer);
    let (result, ()) = futures::join!(shell.run(&command), async {
        assert_eq!(lines.recv().await.unwrap(), "started");
        bastion.cut();
    });
    let fault = result.unwrap_err();
    let ShellFault::Bastion { cause, .. } = &fault else {
        panic!("{fault:?}")
    };
    assert!(
        matches!(
            **cause,
            ShellFault::Cut {
                ran: Ran::Maybe,
                ..
            }
        ),
        "{cause:?}"
    );
    says(
        &fault,
        &[
            "rails",
            "the bastion failed: bastion (127.",
            "on the way to rails",
            "the line broke during `hang`",
        ],
    );
    assert_eq!(hello(&shell).await.unwrap(), "hello\n");
}

#[tokio::test]
async fn a_connection_that_died_while_idle_is_replaced_without_a_word() {
    let lab = Lab::new();
    let [bastion, node] = lab.servers(["bastion", "rails"]);
    let shell = lab.through(&bastion, &node);
    let first = connection(&shell).await;
    node.cut();
    let second = connection(&shell).await;
    assert_ne!(first, second);
    bastion.cut();
    assert_ne!(connection(&shell).await, second);
}

#[tokio::test]
async fn a_host_that_falls_silent_is_noticed() {
    let lab = Lab::new();
    let [bastion, node] = lab.servers(["bastion", "rails"]);
    let access = lab.access(lab.keys()).timings(impatient());
    let shell = Ssh::new(node.endpoint(), Some(bastion.endpoint()), Arc::new(access));
    let (observer, mut lines) = told();
    let command = hang().observe(observer);
    let (result, ()) = futures::join!(shell.run(&command), async {
        assert_eq!(lines.recv().await.unwrap(), "started");
        node.freeze();
    });
    let fault = result.unwrap_err();
    assert!(matches!(fault, ShellFault::Cut { .. }), "{fault:?}");
    says(
        &fault,
        &[
            "rails",
            "through bastion",
            "`hang`",
            "nothing was heard for",
            "from it or from bastion",
        ],
    );
}

#[tokio::test]
async fn a_silent_command_on_a_live_host_is_left_alone() {
    let lab = Lab::new();
    let [bastion, node] = lab.servers(["bastion", "rails"]);
    let access = lab.access(lab.keys()).timings(impatient());
    let shell = Ssh::new(node.endpoint(), Some(bastion.endpoint()), Arc::new(access));
    // Longer than the silence that would count as a broken line: only answered signs of life keep it.
    let command = Command::new("sleep").arg("7.5");
    assert!(shell.run(&command).await.unwrap().ok());
}

#[tokio::test]
async fn thirty_nodes_at_once_through_one_bastion() {
    let lab = Lab::new();
    let [bastion] = lab.servers(["bastion"]);
    let names: [String; 30] = std::array::from_fn(|n| format!("gitaly-{}", n + 1));
    let nodes = lab.servers(names.each_ref().map(String::as_str));
    let access = Arc::new(lab.access(lab.keys()));
    let shells: Vec<Arc<dyn Shell>> = nodes
        .iter()
        .map(|node| {
            let shell = Ssh::new(
                node.endpoint(),
                Some(bastion.endpoint()),
                Arc::clone(&access),
            );
            Arc::new(shell) as Arc<dyn Shell>
        })
        .collect();
    let how = Together {
        at_once: 30,
        ..Together::default()
    };
    // Each node says which server it is; all at once, twice, the second time over the kept connections.
    let command = Command::script("who", "echo $SSH_CONNECTION");
    for _ in 0..2 {
        let outcomes = run_on_many(&shells, &command, how).await;
        for (node, outcome) in nodes.iter().zip(&outcomes) {
            let Outcome::Done(exit) = outcome else {
                panic!("{}: {outcome:?}", node.name)
            };
            let said = exit.stdout.text();
            assert_eq!(said.split(' ').nth(2), Some(node.address.as_str()));
        }
    }
}

#[tokio::test]
async fn fifty_mebibytes_pass_and_head_and_tail_remain() {
    const LAST: usize = 7_000_000;
    let lab = Lab::new();
    let [bastion, node] = lab.servers(["bastion", "rails"]);
    let shell = lab.through(&bastion, &node);
    let count = Arc::new(AtomicUsize::new(0));
    let into = Arc::clone(&count);
    let command = Command::new("seq")
        .arg(LAST.to_string())
        .observe(Arc::new(move |_: Line<'_>| {
            _ = into.fetch_add(1, Ordering::Relaxed);
        }))
        .keep(1000, 2000);
    let exit = shell.must(&command).await.unwrap();
    let size: u64 = (1..=LAST).map(|n| u64::from(n.ilog10()) + 2).sum();
    assert!(size > 50 << 20);
    assert_eq!(exit.stdout.total(), size);
    assert_eq!(exit.stdout.left_out(), size - 3000);
    assert_eq!(
        (exit.stdout.head().len(), exit.stdout.end().len()),
        (1000, 2000)
    );
    assert!(exit.stdout.head().starts_with(b"1\n2\n3\n"));
    assert!(
        exit.stdout
            .end()
            .ends_with(format!("{}\n{LAST}\n", LAST - 1).as_bytes())
    );
    assert_eq!(exit.last_line(), LAST.to_string());
    assert_eq!(count.load(Ordering::Relaxed), LAST);
}

/// Bytes of every value, in an order that shows when something is lost or moved.
fn bytes(count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..count).map(|_| next()).collect()
}

#[tokio::test]
async fn a_mebibyte_of_input_arrives() {
    let lab = Lab::new();
    let [bastion, node] = lab.servers(["bastion", "rails"]);
    let shell = lab.through(&bastion, &node);
    let input = bytes(1 << 20);
    let sum: String = Sha256::digest(&input)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let command = Command::script("sum", "cat | sha256sum").stdin(input);
    let exit = shell.must(&command).await.unwrap();
    assert_eq!(exit.stdout.text(), format!("{sum}  -\n"));
}

#[tokio::test]
async fn binary_input_comes_back_while_it_is_still_going_out() {
    let lab = Lab::new();
    let [bastion, node] = lab.servers(["bastion", "rails"]);
    // More than all windows and buffers on the way can hold, both ways at once.
    let input = bytes(24 << 20);
    for shell in [lab.direct(&node), lab.through(&bastion, &node)] {
        let command = Command::new("cat").stdin(input.clone()).keep(32 << 20, 0);
        let exit = shell.must(&command).await.unwrap();
        assert!(exit.stdout.whole().unwrap() == input);
    }
}

#[tokio::test]
async fn a_command_need_not_read_its_input() {
    let lab = Lab::new();
    let [bastion, node] = lab.servers(["bastion", "rails"]);
    let shell = lab.through(&bastion, &node);
    let command = Command::script("refuse", "echo no; exit 4").stdin(bytes(6 << 20));
    let exit = shell.run(&command).await.unwrap();
    assert_eq!(
        (exit.status, exit.stdout.text().as_str()),
        (Status::Code(4), "no\n")
    );
    assert_eq!(hello(&shell).await.unwrap(), "hello\n");
}

#[tokio::test]
async fn both_streams_may_be_full_at_once() {
    let lab = Lab::new();
    let [node] = lab.servers(["rails"]);
    let command = Command::script("both", "seq 300000 >&2 & seq 300000; wait");
    let exit = lab.direct(&node).must(&command).await.unwrap();
    assert_eq!(exit.stdout.total(), exit.stderr.total());
    assert_eq!(
        (exit.stdout.last_line(), exit.stderr.last_line()),
        ("300000".into(), "300000".into())
    );
}

#[tokio::test]
async fn the_end_by_a_signal_is_told_from_an_exit_code() {
    let lab = Lab::new();
    let [node] = lab.servers(["rails"]);
    let shell = lab.direct(&node);
    for name in ["TERM", "SEGV", "KILL"] {
        let command = Command::script("die", format!("kill -{name} $$"));
        let exit = shell.run(&command).await.unwrap();
        assert_eq!(exit.status, Status::Signal(name.into()));
    }
    // A command may close its mouth long before it ends.
    let command = Command::script("mute", "exec >&- 2>&-; sleep 0.2; exit 7");
    assert_eq!(shell.run(&command).await.unwrap().status, Status::Code(7));
    let command = Command::script("early", "exit 124");
    assert_eq!(shell.run(&command).await.unwrap().status, Status::Code(124));
}

#[tokio::test]
async fn a_dropped_command_leaves_its_connection() {
    let lab = Lab::new();
    let [node] = lab.servers(["rails"]);
    let shell = lab.direct(&node);
    let (observer, mut lines) = told();
    let command = hang().observe(observer);
    tokio::select! {
        result = shell.run(&command) => panic!("{result:?}"),
        line = lines.recv() => assert_eq!(line.unwrap(), "started"),
    }
    until("the session has ended", || !node.has_sessions());
    assert_eq!(hello(&shell).await.unwrap(), "hello\n");
}

#[tokio::test]
async fn files_come_back_as_they_went_whatever_their_names() {
    let lab = Lab::new();
    let [bastion, node] = lab.servers(["bastion", "rails"]);
    let shell = lab.through(&bastion, &node);
    let folder = lab.path("a folder;$(touch x)\n");
    fs::create_dir(&folder).unwrap();
    for (name, mode) in [
        ("plain", 0o600),
        ("-rf", 0o644),
        ("it's \"quoted\" $HOME `id` \\ * ?", 0o755),
        ("zwei\nZeilen\n", 0o400),
        ("ünïcödé-日本", 0o4711),
    ] {
        let path = folder.join(name);
        let remote = RemotePath::new(path.to_str().unwrap()).unwrap();
        let content = bytes(100_000);
        let file = RemoteFile::new(remote.clone(), content.clone())
            .mode(mode)
            .owner(lab.user.clone());
        // Twice: the second time there is something to replace.
        for _ in 0..2 {
            shell.put(&file).await.unwrap();
        }
        assert!(fs::read(&path).unwrap() == content, "{name:?}");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            mode,
            "{name:?}"
        );
        assert!(shell.get(&remote).await.unwrap() == content, "{name:?}");
    }
    let empty = RemotePath::new(folder.join("empty").to_str().unwrap()).unwrap();
    shell
        .put(&RemoteFile::new(empty.clone(), ""))
        .await
        .unwrap();
    assert_eq!(shell.get(&empty).await.unwrap(), b"");
    // Nothing half written stays, and nothing was run.
    let names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 6, "{names:?}");
}

#[tokio::test]
async fn a_secret_is_written_and_seen_nowhere_else() {
    let lab = Lab::new();
    let [node] = lab.servers(["rails"]);
    let shell = lab.direct(&node);
    let path = RemotePath::new(lab.path("secrets.json").to_str().unwrap()).unwrap();
    let file = RemoteFile::new(path.clone(), Secret::new("correct horse battery".into())).sudo();
    shell.put(&file).await.unwrap();
    assert_eq!(
        shell.get(&path.sudo()).await.unwrap(),
        b"correct horse battery"
    );
    assert!(!node.log().contains("horse"));
    assert!(!node.sudo_log().contains("horse"));
}

#[tokio::test]
async fn files_that_cannot_be_read_or_written_say_why() {
    let lab = Lab::new();
    let [node] = lab.servers(["rails"]);
    let shell = lab.direct(&node);
    let path = |name: &str| RemotePath::new(lab.path(name).to_str().unwrap()).unwrap();
    let fault = shell.get(&path("nothing")).await.unwrap_err();
    assert!(matches!(fault, ShellFault::Missing { .. }), "{fault:?}");
    says(&fault, &["rails", "there is no file", "nothing"]);
    let fault = shell.get(&path("rails")).await.unwrap_err();
    says(&fault, &["rails", "could not be read", "Is a directory"]);
    let fault = shell
        .put(&RemoteFile::new(path("no/where"), "x"))
        .await
        .unwrap_err();
    says(&fault, &["rails", "could not be written", "mktemp"]);
    let file = RemoteFile::new(path("owned"), "x").owner("nobody-of-that-name");
    let fault = shell.put(&file).await.unwrap_err();
    says(&fault, &["rails", "could not be written", "chown"]);
    // A folder is not replaced, and nothing is left beside it.
    let before = fs::read_dir(lab.path("")).unwrap().count();
    let fault = shell
        .put(&RemoteFile::new(path("rails"), "x"))
        .await
        .unwrap_err();
    says(&fault, &["rails", "could not be written", "directory"]);
    assert_eq!(fs::read_dir(lab.path("")).unwrap().count(), before);
}

#[tokio::test]
async fn commands_run_as_whom_they_should() {
    let lab = Lab::new();
    let [node] = lab.servers(["rails"]);
    let shell = lab.direct(&node);
    let command = Command::new("echo").arg("x");
    shell.must(&command).await.unwrap();
    assert_eq!(node.sudo_log(), "");
    shell.must(&command.clone().sudo()).await.unwrap();
    shell
        .must(&command.as_user(As::User("git".into())))
        .await
        .unwrap();
    assert_eq!(
        node.sudo_log(),
        "-n -H -- timeout -k 5 600 echo x\n-n -H -u git -- timeout -k 5 600 echo x\n"
    );
}

#[tokio::test]
async fn a_server_that_never_speaks_is_given_up() {
    let lab = Lab::new();
    let [bastion] = lab.servers(["bastion"]);
    let address = address();
    // Nobody accepts: the kernel takes the connection all the same.
    let listener = TcpListener::bind((address.as_str(), 0)).unwrap();
    let mute = Endpoint::new("rails", &address).port(listener.local_addr().unwrap().port());
    let access = Arc::new(lab.access(lab.keys()).timings(impatient()));
    let fault = hello(&Ssh::new(mute.clone(), None, Arc::clone(&access)))
        .await
        .unwrap_err();
    assert!(matches!(fault, ShellFault::Silent { .. }), "{fault:?}");
    says(
        &fault,
        &[
            "rails (127.",
            "did not finish the SSH greeting within 0.7 s",
        ],
    );
    let through = Ssh::new(mute.clone(), Some(bastion.endpoint()), Arc::clone(&access));
    let fault = hello(&through).await.unwrap_err();
    says(
        &fault,
        &[
            "rails",
            "through bastion",
            "did not finish the SSH greeting",
        ],
    );
    let mute_bastion = Endpoint {
        name: "bastion".into(),
        ..mute
    };
    let fault = hello(&Ssh::new(bastion.endpoint(), Some(mute_bastion), access))
        .await
        .unwrap_err();
    says(
        &fault,
        &[
            "the bastion failed: bastion",
            "did not finish the SSH greeting",
        ],
    );
}

#[tokio::test]
async fn a_port_without_server_is_told_from_a_host_without_name() {
    let lab = Lab::new();
    let [bastion] = lab.servers(["bastion"]);
    let address = address();
    let closed = Endpoint::new("rails", &address).port(free_port(&address));
    let access = Arc::new(lab.access(lab.keys()));
    let shell = |host: &Endpoint, bastion: Option<Endpoint>| {
        Ssh::new(host.clone(), bastion, Arc::clone(&access))
    };
    let fault = hello(&shell(&closed, None)).await.unwrap_err();
    assert!(matches!(fault, ShellFault::Refused { .. }), "{fault:?}");
    says(&fault, &["rails (127.", "refused the connection"]);
    assert!(fault.may_pass());

    let fault = hello(&shell(&closed, Some(bastion.endpoint())))
        .await
        .unwrap_err();
    assert!(matches!(fault, ShellFault::Unreachable { .. }), "{fault:?}");
    says(
        &fault,
        &[
            "rails",
            "through bastion",
            "bastion could not connect to it",
        ],
    );
    assert!(fault.help().contains("security group"));

    let fault = hello(&shell(&bastion.endpoint(), Some(closed)))
        .await
        .unwrap_err();
    assert!(matches!(fault, ShellFault::Bastion { .. }), "{fault:?}");
    says(
        &fault,
        &[
            "the bastion failed: rails",
            "on the way to bastion",
            "refused the connection",
        ],
    );

    let nameless = Endpoint::new("rails", "no-such-host.invalid");
    let fault = hello(&shell(&nameless, None)).await.unwrap_err();
    says(
        &fault,
        &["rails (no-such-host.invalid:22)", "its name was not found"],
    );
}

#[tokio::test]
async fn a_bastion_that_forwards_nothing_is_named() {
    let lab = Lab::new();
    let [node] = lab.servers(["rails"]);
    let [bastion] = lab.servers_with(["bastion"], "AllowTcpForwarding no");
    let fault = hello(&lab.through(&bastion, &node)).await.unwrap_err();
    says(
        &fault,
        &[
            "rails",
            "the bastion failed: bastion",
            "it does not forward connections",
            "prohibited",
        ],
    );
    assert!(!node.has_sessions());
}

#[tokio::test]
async fn what_no_command_line_can_carry_is_not_tried() {
    let lab = Lab::new();
    let [node] = lab.servers(["rails"]);
    let fault = lab
        .direct(&node)
        .run(&Command::new("echo").arg("a\0b"))
        .await
        .unwrap_err();
    says(&fault, &["rails", "an argument holds a NUL byte"]);
    assert!(!node.has_sessions());
}

#[tokio::test]
async fn a_server_of_another_kind_is_no_ssh_server() {
    let lab = Lab::new();
    let address = address();
    let listener = TcpListener::bind((address.as_str(), 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || drop(listener.accept().unwrap()));
    let access = Arc::new(lab.access(lab.keys()));
    let shell = Ssh::new(Endpoint::new("rails", &address).port(port), None, access);
    let fault = hello(&shell).await.unwrap_err();
    assert!(matches!(fault, ShellFault::Protocol { .. }), "{fault:?}");
    says(
        &fault,
        &[
            "rails",
            "closed the connection before the SSH greeting was finished",
        ],
    );
    server.join().unwrap();
}

#[tokio::test]
async fn openssh_reads_the_exported_configuration_and_gets_in() {
    let lab = Lab::new();
    let [bastion, node] = lab.servers(["bastion", "gitaly-1"]);
    let folder = lab.path("a \"state\" 100%");
    fs::create_dir(&folder).unwrap();
    let known = folder.join("known_hosts");
    fs::copy(lab.path("known_hosts"), &known).unwrap();
    let shared = ClientConfig {
        known_hosts: known.clone(),
        keys: vec![lab.key.clone()],
    };
    let file = lab.path("ssh_config");
    fs::write(
        &file,
        config(&[node.endpoint()], Some(&bastion.endpoint()), &shared),
    )
    .unwrap();

    let said = tool("ssh", &["-G", "-F", file.to_str().unwrap(), "gitaly-1"]);
    let has = |line: &str| {
        assert!(
            said.lines().any(|l| l == line),
            "{line:?} is missing in:\n{said}"
        );
    };
    has(&format!("hostname {}", node.address));
    has(&format!("port {}", node.port));
    has(&format!("user {}", lab.user));
    has("proxyjump bastion");
    has("hostkeyalias gitaly-1");
    has("stricthostkeychecking true");
    let said = tool("ssh", &["-G", "-F", file.to_str().unwrap(), "bastion"]);
    assert!(!said.contains("proxyjump"), "{said}");
    let usual = config(&[Endpoint::new("rails", "10.0.0.9")], None, &shared);
    assert!(
        usual.contains("User ubuntu") && usual.contains("Port 22"),
        "{usual}"
    );

    // The real client goes the same way, and checks the same keys.
    let run = || {
        let command = ["echo".into(), "it's me".into()];
        let search = std::env::var_os("PATH");
        let argv = interactive(search.as_deref(), &file, "gitaly-1", &command).unwrap();
        Process::new(&argv[0])
            .args(&argv[1..])
            .env_remove("SSH_AUTH_SOCK")
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap()
    };
    let out = run();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "it's me\n", "{out:?}");
    assert!(
        bastion
            .log()
            .contains(&format!("target {} port {}", node.address, node.port))
    );
    fs::write(&known, "").unwrap();
    let out = run();
    assert!(!out.status.success());
    assert!(
        String::from_utf8_lossy(&out.stderr).contains("Host key verification failed"),
        "{out:?}"
    );
}
