//! The authority's folder: made private, never overwritten, and clear about what is wrong with it.

use crate::support::{Folder, ip, simulate};
use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};
use tidemill_protocol::endpoint::Identity;
use tidemill_protocol::id::NodeId;
use tidemill_protocol::identity::{
    Authority, AuthorityError, FolderError, NODE_LIFETIME, Role, RoleKind, TOKEN_LIFETIME, TokenRefused,
    load_identity, save_identity,
};

/// 2026-06-01.
const NOW: Duration = Duration::from_secs(20_605 * 86_400);
const DAY: Duration = Duration::from_secs(86_400);

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn an_authority_is_private_and_never_overwritten() {
    let folder = Folder::new();
    let made = Authority::create(&folder, NOW).unwrap();
    assert_eq!(mode(&folder), 0o700);
    for name in ["ca.key", "ca.pem", "driver.pem", "operator.pem", "observer.pem", "state"] {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
    let key = fs::read(folder.join("ca.key")).unwrap();
    let refused = Authority::create(&folder, NOW).unwrap_err();
    assert!(matches!(&refused, AuthorityError::Exists(path) if *path == folder.join("ca.pem")), "{refused}");
    // Nor is one that has given something and has lost its certificate.
    made.token(NOW, TOKEN_LIFETIME, 1).unwrap();
    fs::rename(folder.join("ca.pem"), folder.join("kept")).unwrap();
    let refused = Authority::create(&folder, NOW).unwrap_err();
    assert!(matches!(&refused, AuthorityError::Lost(path) if *path == folder.join("ca.pem")), "{refused}");
    fs::rename(folder.join("kept"), folder.join("ca.pem")).unwrap();
    assert_eq!(fs::read(folder.join("ca.key")).unwrap(), key);
    let opened = Authority::open(&folder, NOW).unwrap();
    assert_eq!((opened.cluster(), opened.certificate()), (made.cluster(), made.certificate()));
    let other = Folder::new();
    assert_ne!(Authority::create(&other, NOW).unwrap().cluster(), made.cluster());
}

#[test]
fn what_is_wrong_with_the_folder_is_said_with_the_file_and_the_remedy() {
    let folder = Folder::new();
    let said = |now: Duration| Authority::open(&folder, now).map(drop).unwrap_err().to_string();
    let at = |name: &str| folder.join(name).display().to_string();
    assert_eq!(said(NOW), format!("{} is missing: run `tidemill ca init`", at("ca.pem")));
    Authority::create(&folder, NOW).unwrap();
    let (ca, key) = (folder.join("ca.pem"), folder.join("ca.key"));
    let (good_ca, good_key) = (fs::read(&ca).unwrap(), fs::read(&key).unwrap());

    set_mode(&key, 0o640);
    let open = format!("{0} can be used by others (mode 640): chmod 600 {0}", at("ca.key"));
    assert_eq!(said(NOW), open);
    set_mode(&key, 0o600);

    fs::remove_file(&key).unwrap();
    let restore =
        "restore it from a copy; without one, make a new authority with `tidemill ca init` in another folder";
    assert_eq!(said(NOW), format!("{} is missing: {restore}", at("ca.key")));
    fs::write(&key, "no key").unwrap();
    set_mode(&key, 0o600);
    assert!(
        said(NOW).starts_with(&format!("{} is not PEM with a private key", at("ca.key"))),
        "{}",
        said(NOW)
    );
    let other = Folder::new();
    Authority::create(&other, NOW).unwrap();
    fs::copy(other.join("ca.key"), &key).unwrap();
    assert!(said(NOW).contains("does not belong to the certificate beside it"), "{}", said(NOW));
    fs::write(&key, &good_key).unwrap();

    fs::write(&ca, "no certificate").unwrap();
    assert!(
        said(NOW).starts_with(&format!("{} is not PEM with a certificate", at("ca.pem"))),
        "{}",
        said(NOW)
    );
    fs::write(&ca, &good_ca).unwrap();

    for now in [NOW + DAY * 3_652, NOW - DAY] {
        assert!(said(now).starts_with(&format!("{} is not valid at this machine's time", at("ca.pem"))));
    }
    Authority::open(&folder, NOW + DAY * 3_651).unwrap();

    fs::write(folder.join("state"), "tidemill-authority 1\nnext-node x\n").unwrap();
    assert!(said(NOW).starts_with(&format!("{}, line 2: ", at("state"))), "{}", said(NOW));

    let wide = Folder::new();
    fs::create_dir(&*wide).unwrap();
    set_mode(&wide, 0o755);
    let refused = Authority::create(&wide, NOW).unwrap_err();
    let expected = |error: &AuthorityError| {
        matches!(error, AuthorityError::Folder(FolderError::OpenToOthers { mode: 0o755, wanted: 0o700, .. }))
    };
    assert!(expected(&refused), "{refused}");
}

#[test]
fn an_authority_that_was_not_made_to_its_end_is_no_authority_and_is_made_anew() {
    let folder = Folder::new();
    // What is written after the key cannot be put in its place, as on a full disk.
    fs::create_dir(&*folder).unwrap();
    set_mode(&folder, 0o700);
    fs::create_dir(folder.join("state")).unwrap();
    Authority::create(&folder, NOW).unwrap_err();
    let key = fs::read(folder.join("ca.key")).expect("it got as far as that");
    let refused = Authority::open(&folder, NOW).unwrap_err().to_string();
    let missing = format!("{} is missing: run `tidemill ca init`", folder.join("ca.pem").display());
    assert_eq!(refused, missing);
    fs::remove_dir(folder.join("state")).unwrap();
    let made = Authority::create(&folder, NOW).unwrap();
    assert_ne!(fs::read(folder.join("ca.key")).unwrap(), key);
    assert_eq!(Authority::open(&folder, NOW).unwrap().certificate(), made.certificate());
}

#[test]
fn a_lost_certificate_of_the_driver_is_made_anew_with_the_authoritys_key() {
    let folder = Folder::new();
    let authority = Authority::create(&folder, NOW).unwrap();
    let serial = |identity: &Identity| identity.facts().unwrap().serial;
    let before = serial(&authority.identity(RoleKind::Driver, NOW).unwrap());
    fs::remove_file(folder.join("driver.pem")).unwrap();
    let made = authority.identity(RoleKind::Driver, NOW).unwrap();
    assert_eq!(made.name().unwrap().role, Role::Driver);
    assert_ne!(serial(&made), before);
    assert_eq!(serial(&load_identity(&folder, "driver").unwrap()), serial(&made), "it is in the file");
    fs::remove_file(folder.join("observer.pem")).unwrap();
    let said = load_identity(&folder, "observer").unwrap_err().to_string();
    assert!(
        said.ends_with("copy it from the folder of the authority, where `tidemill ca renew` makes it anew"),
        "{said}"
    );
}

#[test]
fn folders_in_which_others_can_write_are_refused_like_files_that_they_can_read() {
    let (folder, machine) = (Folder::new(), Folder::new());
    let authority = Authority::create(&folder, NOW).unwrap();
    let (_, identity) = authority.node_identity(NOW, 1, NODE_LIFETIME).unwrap();
    save_identity(&machine, "node", &identity).unwrap();
    for wrong in [0o720, 0o702, 0o777] {
        set_mode(&folder, wrong);
        set_mode(&machine, wrong);
        let of_authority = Authority::open(&folder, NOW).unwrap_err().to_string();
        let of_machine = load_identity(&machine, "node").unwrap_err().to_string();
        for (refused, path) in [(of_authority, &folder), (of_machine, &machine)] {
            let path = path.display();
            assert_eq!(refused, format!("{path} can be used by others (mode {wrong:o}): chmod 700 {path}"));
        }
    }
    // To look into them does no harm: the files are private.
    set_mode(&folder, 0o755);
    set_mode(&machine, 0o755);
    Authority::open(&folder, NOW).unwrap();
    load_identity(&machine, "node").unwrap();
}

#[test]
fn a_number_that_was_never_given_cannot_be_denied() {
    let folder = Folder::new();
    let authority = Authority::create(&folder, NOW).unwrap();
    let said = |node| authority.deny(NodeId(node)).unwrap_err().to_string();
    assert!(
        said(1).starts_with("node-1 has not been given to a machine: none has been given yet; "),
        "{}",
        said(1)
    );
    assert_eq!(authority.allot(4).unwrap().last(), Some(&NodeId(4)));
    for never in [5, 12, u16::MAX] {
        let refused = format!(
            "node-{never} has not been given to a machine: 1 to 4 have; see the numbers with `tidemill status`"
        );
        assert_eq!(said(never), refused);
    }
    assert_eq!(authority.denied().unwrap().all(), []);
    authority.deny(NodeId(4)).unwrap();
    assert_eq!(authority.denied().unwrap().all(), [NodeId(4)]);
}

#[test]
fn people_have_identities_ready_to_use_and_they_are_renewed_when_due() {
    let folder = Folder::new();
    let authority = Authority::create(&folder, NOW).unwrap();
    for (kind, role, due) in [
        (RoleKind::Driver, Role::Driver, 20),
        (RoleKind::Operator, Role::Operator, 243),
        (RoleKind::Observer, Role::Observer, 243),
    ] {
        let first = load_identity(&folder, &kind.to_string()).unwrap();
        let name = first.name().unwrap();
        assert_eq!((&name.cluster, name.role), (authority.cluster(), role));
        let serial = |days| authority.identity(kind, NOW + DAY * days).unwrap().facts().unwrap().serial;
        let before = first.facts().unwrap().serial;
        assert_eq!(serial(due - 1), before);
        let after = serial(due + 1);
        assert_ne!(after, before);
        assert_eq!(serial(due + 1), after, "the new one is in the file");
    }
    assert!(matches!(authority.identity(RoleKind::Node, NOW), Err(AuthorityError::NotHere(_))));
    set_mode(&folder.join("driver.pem"), 0o644);
    let open = load_identity(&folder, "driver").unwrap_err();
    assert!(matches!(&open, FolderError::OpenToOthers { mode: 0o644, wanted: 0o600, .. }), "{open}");
}

#[test]
fn an_identity_survives_its_files() {
    let (folder, machine) = (Folder::new(), Folder::new());
    let authority = Authority::create(&folder, NOW).unwrap();
    let (nodes, identity) = authority.node_identity(NOW, 3, NODE_LIFETIME).unwrap();
    assert_eq!(nodes, [1, 2, 3].map(NodeId));
    save_identity(&machine, "node", &identity).unwrap();
    assert_eq!((mode(&machine), mode(&machine.join("node.pem"))), (0o700, 0o600));
    let loaded = load_identity(&machine, "node").unwrap();
    assert_eq!((loaded.name(), loaded.facts()), (identity.name(), identity.facts()));
    assert_eq!(loaded.name().unwrap().role, Role::Node(nodes.into_iter().collect()));
    fs::write(machine.join("ca.pem"), "nothing").unwrap();
    let refused = load_identity(&machine, "node").unwrap_err().to_string();
    assert!(refused.starts_with(&machine.join("ca.pem").display().to_string()), "{refused}");
}

#[test]
fn a_token_is_used_once_across_processes_and_its_secret_is_not_on_disk() {
    let folder = Folder::new();
    let authority = Authority::create(&folder, NOW).unwrap();
    let token = authority.token(NOW, TOKEN_LIFETIME, 2).unwrap();
    let late = authority.token(NOW, TOKEN_LIFETIME, 1).unwrap();
    let secret = token.to_string().rsplit('.').next().unwrap().to_owned();
    let raw = token.secret.0;
    for file in fs::read_dir(&*folder).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(64).any(|w| w == secret.as_bytes()) && !bytes.windows(32).any(|w| w == raw));
    }
    let again = Authority::open(&folder, NOW).unwrap();
    let refused = |result: Result<_, AuthorityError>| match result {
        Err(AuthorityError::Token(refused)) => refused,
        other => panic!("{other:?}"),
    };
    assert_eq!(again.redeem(NOW, &token.secret, None).unwrap(), [1, 2].map(NodeId));
    assert_eq!(refused(authority.redeem(NOW, &token.secret, None)), TokenRefused::Used);
    assert_eq!(refused(authority.redeem(NOW + TOKEN_LIFETIME, &late.secret, None)), TokenRefused::Expired);
    assert!(matches!(authority.token(NOW, TOKEN_LIFETIME, 0), Err(AuthorityError::Nodes(0))));
    assert!(matches!(authority.token(NOW, TOKEN_LIFETIME, 33), Err(AuthorityError::Nodes(33))));
}

#[test]
fn writers_take_turns_and_no_number_is_given_twice() {
    let folder = Folder::new();
    Authority::create(&folder, NOW).unwrap();
    let given: Vec<NodeId> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|_| {
                // Each opens the folder for itself, as another process would.
                let authority = Authority::open(&folder, NOW).unwrap();
                scope.spawn(move || (0..10).flat_map(|_| authority.allot(2).unwrap()).collect::<Vec<_>>())
            })
            .collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    let distinct: BTreeSet<NodeId> = given.iter().copied().collect();
    assert_eq!((given.len(), distinct), (80, (1..=80).map(NodeId).collect()));
}

#[test]
fn a_half_written_file_of_a_crash_is_ignored_and_replaced() {
    let folder = Folder::new();
    let authority = Authority::create(&folder, NOW).unwrap();
    fs::write(folder.join(".state.new"), "tidemill-auth").unwrap();
    assert_eq!(Authority::open(&folder, NOW).unwrap().allot(1).unwrap(), [NodeId(1)]);
    assert_eq!(authority.allot(1).unwrap(), [NodeId(2)]);
    assert!(!folder.join(".state.new").exists());
}

#[test]
fn a_denied_node_is_heard_of_within_a_second_and_never_let_in_by_a_damaged_list() {
    simulate(async |sim| {
        let (folder, world) = (Folder::new(), sim.node(ip(1)));
        let authority = Authority::create(&folder, world.clock.wall()).unwrap();
        let (list, elsewhere) = (authority.denied().unwrap(), authority.denied().unwrap());
        authority.allot(9).unwrap();
        assert!(matches!(authority.deny(NodeId::DRIVER), Err(AuthorityError::NotHere(_))));
        let began = world.clock.now();
        let hearing = tokio::task::spawn_local({
            let (list, world) = (list.clone(), world.clone());
            async move { (list.next_denied(&world.clock).await.unwrap(), world.clock.now()) }
        });
        world.clock.sleep(Duration::from_millis(4_500)).await;
        authority.deny(NodeId(7)).unwrap();
        authority.deny(NodeId(9)).unwrap();
        let (heard, when) = hearing.await.unwrap();
        assert_eq!((heard, when.since(began)), ([7, 9].map(NodeId).to_vec(), Duration::from_secs(5)));
        assert!(list.is_denied(NodeId(7)) && !list.is_denied(NodeId(8)) && !elsewhere.is_denied(NodeId(7)));
        assert_eq!(elsewhere.poll().unwrap(), [7, 9].map(NodeId));
        fs::write(folder.join("denied"), "seven\n").unwrap();
        list.poll().unwrap_err();
        // Emptied or cut short it is still a list, of fewer.
        for text in ["", "9\n"] {
            fs::write(folder.join("denied"), text).unwrap();
            assert_eq!(list.poll().unwrap(), []);
            assert!(list.is_denied(NodeId(7)), "after {text:?}");
        }
        fs::remove_file(folder.join("denied")).unwrap();
        assert_eq!(list.poll().unwrap(), []);
        assert!(list.is_denied(NodeId(7)) && list.is_denied(NodeId(9)), "what was known stays");
    });
}
