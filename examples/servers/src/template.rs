//! `initdb` once per machine and user, a copy each time after.
//!
//! `initdb` takes one to two seconds of processor time; copying its result takes a few hundredths of one. So the first
//! server of a machine keeps a copy of its fresh cluster in the folder for temporary files, in a folder that
//! belongs to the caller and that nobody else can enter. The copy is found under a name made from the binaries
//! (path, size, date), so another version of PostgreSQL gets another template. A lock file keeps builders and
//! readers in different processes apart. Programs that clean temporary folders may take files out of a template:
//! the number of files and bytes is checked on each copy, and an incomplete template is made anew. Whatever goes
//! wrong here, the server still starts, only slower.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Uid;

use crate::account::Account;
use crate::{Error, secret};

/// Raise it when the way clusters are made changes.
const FORMAT: u32 = 2;

/// Makes a fresh cluster in `data`, which must not exist, and returns its superuser's password.
pub(crate) fn make_cluster(binaries: &Path, account: Account, data: &Path) -> Result<String, Error> {
    let Some(template) = Template::open(binaries) else { return initdb(binaries, account, data) };
    if let Some(password) = template.copy_to(data, account) {
        return Ok(password);
    }
    // An incomplete template leaves an incomplete copy.
    let _ = fs::remove_dir_all(data);
    // Only one process builds the template; those that wait for it then find it.
    let Some(_lock) = template.lock(FlockArg::LockExclusive) else { return initdb(binaries, account, data) };
    if let Some(password) = template.copy_unlocked(data, account) {
        return Ok(password);
    }
    let _ = fs::remove_dir_all(data);
    let password = initdb(binaries, account, data)?;
    if template.save(data, &password).is_err() {
        let _ = fs::remove_dir_all(&template.folder);
    }
    Ok(password)
}

/// Runs `initdb`.
fn initdb(binaries: &Path, account: Account, data: &Path) -> Result<String, Error> {
    let password = secret::password();
    let password_file = data.with_extension("password");
    let writing = || {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&password_file)?;
        fs::write(&password_file, &password)
    };
    writing().map_err(Error::io("write the password file"))?;
    account.give(&password_file)?;

    // md5 and not scram: a client in a debug build takes a tenth of a second for scram at each connect, and the
    // password never leaves this machine.
    let mut command = Command::new(binaries.join("initdb"));
    command
        .arg(format!("--pgdata={}", data.display()))
        .arg(format!("--pwfile={}", password_file.display()))
        .args(["--username=postgres", "--auth=md5", "--encoding=UTF8", "--locale=C", "--no-sync"]);
    clean_environment(&mut command);
    command.current_dir("/");
    account.apply(&mut command);
    let output = command.output().map_err(Error::io("run initdb"));
    let _ = fs::remove_file(&password_file);
    check("initdb", &output?)?;
    Ok(password)
}

/// Takes out the caller's settings for PostgreSQL clients and servers, and makes messages English.
pub(crate) fn clean_environment(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("PG")) {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C");
}

/// What a program wrote to standard output, or its failure with everything it wrote.
pub(crate) fn check(program: &'static str, output: &std::process::Output) -> Result<String, Error> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let output_text = text + &String::from_utf8_lossy(&output.stderr);
    Err(Error::Program { program, status: output.status, output: output_text.trim().to_owned() })
}

/// The kept copy of a fresh cluster. `folder/data` is the cluster; `folder/complete` exists once that is whole and
/// says the password, the number of files and the number of bytes.
struct Template {
    folder: PathBuf,
    lock_path: PathBuf,
}

impl Template {
    /// The place of the template for these binaries; `None` where no safe place can be had.
    fn open(binaries: &Path) -> Option<Self> {
        let me = Uid::effective().as_raw();
        let root = env::temp_dir().join(format!("millpond-servers-{me}"));
        let made = DirBuilder::new().mode(0o700).create(&root);
        if made.is_err_and(|error| error.kind() != io::ErrorKind::AlreadyExists) {
            return None;
        }
        // Anybody may have made that folder; it is used only if it is ours alone.
        let data = fs::symlink_metadata(&root).ok()?;
        if !data.is_dir() || data.uid() != me || data.mode() & 0o077 != 0 {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        FORMAT.hash(&mut hasher);
        for program in ["postgres", "initdb"] {
            let path = fs::canonicalize(binaries.join(program)).ok()?;
            let data = fs::metadata(&path).ok()?;
            (path, data.len(), data.mtime()).hash(&mut hasher);
        }
        let key = format!("postgres-{:016x}", hasher.finish());
        Some(Self { folder: root.join(&key), lock_path: root.join(key + ".lock") })
    }

    fn lock(&self, how: FlockArg) -> Option<Flock<File>> {
        let file = OpenOptions::new().create(true).append(true).open(&self.lock_path).ok()?;
        Flock::lock(file, how).ok()
    }

    fn copy_to(&self, data: &Path, account: Account) -> Option<String> {
        let _lock = self.lock(FlockArg::LockShared)?;
        self.copy_unlocked(data, account)
    }

    /// Copies the template to `data` and returns its password; `None` if it is missing or incomplete.
    fn copy_unlocked(&self, data: &Path, account: Account) -> Option<String> {
        let complete = fs::read_to_string(self.folder.join("complete")).ok()?;
        let mut words = complete.split_ascii_whitespace();
        let password = words.next()?.to_owned();
        let expected = Size { files: words.next()?.parse().ok()?, bytes: words.next()?.parse().ok()? };
        let copied = copy_tree(&self.folder.join("data"), data, account).ok()?;
        (copied == expected).then_some(password)
    }

    /// Keeps a copy of the fresh cluster in `data`.
    fn save(&self, data: &Path, password: &str) -> Result<(), Error> {
        let _ = fs::remove_dir_all(&self.folder);
        let keep = Error::io("keep a copy of a fresh cluster");
        make_folder(&self.folder, Account::Caller)?;
        let size = copy_tree(data, &self.folder.join("data"), Account::Caller)?;
        let (draft, complete) = (self.folder.join("draft"), self.folder.join("complete"));
        let line = format!("{password} {} {}\n", size.files, size.bytes);
        fs::write(&draft, line).and_then(|()| fs::rename(&draft, &complete)).map_err(keep)
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Size {
    files: u64,
    bytes: u64,
}

fn make_folder(path: &Path, account: Account) -> Result<(), Error> {
    DirBuilder::new().mode(0o700).create(path).map_err(Error::io(format!("make {}", path.display())))?;
    account.give(path)
}

/// Copies a folder of plain files and folders, and gives the copy to `account`.
fn copy_tree(from: &Path, to: &Path, account: Account) -> Result<Size, Error> {
    let copying = || format!("copy {} to {}", from.display(), to.display());
    make_folder(to, account)?;
    let mut size = Size::default();
    for entry in fs::read_dir(from).map_err(Error::io(copying()))? {
        let entry = entry.map_err(Error::io(copying()))?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(Error::io(copying()))?.is_dir() {
            let below = copy_tree(&entry.path(), &target, account)?;
            size.files += below.files;
            size.bytes += below.bytes;
        } else {
            size.bytes += fs::copy(entry.path(), &target).map_err(Error::io(copying()))?;
            size.files += 1;
            account.give(&target)?;
        }
    }
    Ok(size)
}
