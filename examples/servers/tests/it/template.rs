//! The kept copy of a fresh cluster: used when it is whole, made anew when it is not, done without when it cannot be.
//!
//! The copy lives in the folder for temporary files, so this binary runs itself again with another such folder.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use servers::Postgres;

const CASE: &str = "MILLPOND_TEST_TEMPLATE";

/// Not a test of its own: what the second process does. Without the variable it does nothing.
#[test]
fn second_process() {
    let Ok(case) = env::var(CASE) else { return };
    let works = |postgres: &Postgres| assert_eq!(postgres.psql("select 1").unwrap(), "1");
    let temporary = env::temp_dir();
    match case.as_str() {
        "damaged" => {
            let first = Postgres::start().unwrap();
            let template = template_in(&temporary).expect("the first start leaves a template");
            let password = fs::read_to_string(template.join("complete")).unwrap();
            let second = Postgres::start().unwrap();
            assert_eq!(first.password(), second.password(), "the second server is a copy");

            fs::remove_file(template.join("data/base/1/PG_VERSION")).unwrap();
            let third = Postgres::start().unwrap();
            assert_ne!(third.password(), first.password(), "a damaged template is not used");
            assert!(template.join("data/base/1/PG_VERSION").exists(), "it is made anew");
            assert_ne!(fs::read_to_string(template.join("complete")).unwrap(), password);
            assert_eq!(third.password(), Postgres::start().unwrap().password());
            [&first, &second, &third].into_iter().for_each(works);
        }
        "open to others" => {
            let folder = temporary.join(format!("millpond-servers-{}", nix::unistd::Uid::effective()));
            fs::create_dir(&folder).unwrap();
            fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
            works(&Postgres::start().unwrap());
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing is kept where others can write");
        }
        other => panic!("no case {other}"),
    }
}

/// The one template under `temporary`.
fn template_in(temporary: &Path) -> Option<PathBuf> {
    let root = temporary.join(format!("millpond-servers-{}", nix::unistd::Uid::effective()));
    let mut folders = fs::read_dir(root).ok()?.flatten().map(|entry| entry.path());
    folders.find(|path| path.join("complete").exists())
}

fn check(case: &str) {
    if servers::require(Postgres::start()).is_none() {
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    // The server's user must get through.
    fs::set_permissions(temporary.path(), Permissions::from_mode(0o755)).unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "template::second_process", "--nocapture"])
        .env(CASE, case)
        .env("TMPDIR", temporary.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let left: Vec<_> = fs::read_dir(&temporary).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left.len(), 1, "only the template stays: {left:?}");
}

#[test]
fn a_template_is_copied_and_a_damaged_one_is_made_anew() {
    check("damaged");
}

#[test]
fn a_folder_that_others_can_write_to_is_not_used() {
    check("open to others");
}
