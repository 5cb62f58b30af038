//! Where binaries are looked for.
//!
//! First every folder of `PATH`, with symbolic links followed, then the folders where packagers put PostgreSQL
//! outside of `PATH`: Debian keeps one folder per version, newest first here. All programs of one server come
//! from one folder, so that `initdb` and `postgres` are always of one version.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::Error;

/// Folders outside of `PATH`; a `*` stands for a version.
const USUAL: &[&str] = &[
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/usr/local/bin",
    "/usr/bin",
    "/usr/sbin",
];

/// The folder that holds all of `programs`, looked for in `only` or, without it, in `PATH` and the usual places.
///
/// # Errors
/// [`Error::NotFound`] with the first of `programs` and every folder that was looked in.
pub(crate) fn folder_with(only: Option<&Path>, programs: &[&'static str]) -> Result<PathBuf, Error> {
    let mut looked_in = Vec::new();
    for folder in only.map_or_else(places, |folder| vec![folder.to_owned()]) {
        // Behind a link such as /usr/local/bin/postgres stands the real folder, where the siblings are.
        let real = fs::canonicalize(folder.join(programs[0])).ok();
        let real = real.as_deref().and_then(Path::parent).map(Path::to_owned);
        if let Some(found) = real.into_iter().chain([folder.clone()]).find(|folder| has_all(folder, programs))
        {
            return Ok(found);
        }
        if !looked_in.contains(&folder) {
            looked_in.push(folder);
        }
    }
    Err(Error::NotFound { binary: programs[0], looked_in })
}

fn has_all(folder: &Path, programs: &[&str]) -> bool {
    programs.iter().all(|program| is_executable(&folder.join(program)))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

fn places() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).filter(|folder| folder.is_absolute());
    on_path.chain(USUAL.iter().flat_map(|pattern| expand(pattern))).collect()
}

/// The folders that match a pattern with at most one `*`, highest version first.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else { return vec![PathBuf::from(pattern)] };
    let Some((parent, prefix)) = before.rsplit_once('/') else { return Vec::new() };
    let Ok(entries) = fs::read_dir(parent) else { return Vec::new() };
    let mut found: Vec<(u64, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix(prefix)?;
            let major = version.split('.').next()?.parse().ok()?;
            Some((major, PathBuf::from(format!("{before}{version}{after}"))))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, folder)| folder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_and_the_newest_comes_first() {
        let home = tempfile::tempdir().unwrap();
        for name in ["pg-9.6", "pg-15", "pg-10", "other-99", "pg-x"] {
            fs::create_dir(home.path().join(name)).unwrap();
        }
        let pattern = format!("{}/pg-*/bin", home.path().display());
        let found: Vec<_> = expand(&pattern)
            .iter()
            .map(|folder| folder.strip_prefix(home.path()).unwrap().display().to_string())
            .collect();
        assert_eq!(found, ["pg-15/bin", "pg-10/bin", "pg-9.6/bin"]);
    }

    #[test]
    fn a_link_leads_to_the_folder_with_the_siblings() {
        let home = tempfile::tempdir().unwrap();
        let (links, real) = (home.path().join("links"), home.path().join("real"));
        fs::create_dir(&links).unwrap();
        fs::create_dir(&real).unwrap();
        for name in ["one", "two"] {
            fs::write(real.join(name), "#!/bin/sh\n").unwrap();
            fs::set_permissions(real.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        std::os::unix::fs::symlink(real.join("one"), links.join("one")).unwrap();
        let found = folder_with(Some(&links), &["one", "two"]).unwrap();
        assert_eq!(found, fs::canonicalize(&real).unwrap());
    }

    #[test]
    fn a_server_without_its_sibling_is_not_found() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("one"), "").unwrap();
        let error = folder_with(Some(home.path()), &["one"]).unwrap_err();
        assert!(matches!(error, Error::NotFound { binary: "one", .. }), "not executable: {error}");
    }
}
