//! The hub's cache on disk, in the layout of `huggingface_hub`, as any program leaves it.

use std::fs;
use std::path::{Path, PathBuf};

use hf_hub::Repo;

use super::source::MAIN;
use crate::error::shown;

/// What the cache has of one repository: `models--owner--name` with `refs` and `snapshots`.
pub(crate) struct CachedRepo {
    folder: PathBuf,
    revision: String,
}

impl CachedRepo {
    pub(crate) fn new(cache_dir: &Path, repo: &Repo) -> Self {
        Self { folder: cache_dir.join(repo.folder_name()), revision: repo.revision().to_owned() }
    }

    /// The folder of files of the revision, where the cache has one.
    ///
    /// A branch or tag is a file in `refs` that holds the commit, with or without a line break. A download by
    /// commit leaves no such file; so without one the revision may be the commit itself, and the only commit that
    /// is there stands for the main branch.
    pub(crate) fn snapshot(&self) -> Option<PathBuf> {
        let snapshots = self.folder.join("snapshots");
        let named = match self.commit() {
            Some(commit) => commit,
            None if self.commits().contains(&self.revision) => self.revision.clone(),
            None if self.revision == MAIN => <[String; 1]>::try_from(self.commits()).ok()?.concat(),
            None => return None,
        };
        Some(snapshots.join(named)).filter(|folder| folder.is_dir())
    }

    /// What is there, for a person who expected more: a clause.
    pub(crate) fn describe(&self) -> String {
        let (commits, revision) = (self.commits(), &self.revision);
        let commits: Vec<String> = commits.iter().map(|name| shown(name)).collect();
        match (self.commit(), commits.as_slice()) {
            (_, []) => "nothing of it is there".to_owned(),
            (Some(commit), _) => {
                format!("{revision} is the commit {commit}, and there is {}", commits.join(", "))
            }
            (None, _) => format!(
                "nothing says which commit {revision} is, and there is {}: name one of these as the revision",
                commits.join(", ")
            ),
        }
    }

    /// The commit that `refs` names for the revision.
    fn commit(&self) -> Option<String> {
        let text = fs::read_to_string(self.folder.join("refs").join(&self.revision)).ok()?;
        let commit = text.trim();
        let plain = !commit.is_empty() && commit.chars().all(|c| c.is_ascii_alphanumeric());
        plain.then(|| commit.to_owned())
    }

    /// The commits of which there are files, in order.
    fn commits(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.join("snapshots")).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| entry.path().is_dir());
        let mut names: Vec<String> =
            folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names
    }
}

#[cfg(test)]
mod tests {
    use hf_hub::RepoType;

    use super::*;

    fn cached(room: &Path, revision: &str) -> CachedRepo {
        CachedRepo::new(room, &Repo::with_revision("o/n".to_owned(), RepoType::Model, revision.to_owned()))
    }

    #[test]
    fn a_revision_is_found_by_its_ref_by_its_commit_or_as_the_only_one() {
        let room = tempfile::tempdir().unwrap();
        let repo = room.path().join("models--o--n");
        let found = |revision| cached(room.path(), revision).snapshot();
        assert_eq!(found("main"), None);
        assert!(cached(room.path(), "main").describe().contains("nothing of it"));
        fs::create_dir_all(repo.join("snapshots/abc")).unwrap();
        assert_eq!(found("main"), Some(repo.join("snapshots/abc")), "the only one");
        assert_eq!(found("abc"), Some(repo.join("snapshots/abc")));
        assert_eq!(found("v1"), None);
        fs::create_dir_all(repo.join("snapshots/def")).unwrap();
        assert_eq!(found("main"), None, "either of two");
        let told = cached(room.path(), "main").describe();
        assert!(told.contains("abc, def") && told.contains("revision"), "{told}");
        fs::create_dir_all(repo.join("refs")).unwrap();
        fs::write(repo.join("refs/main"), "def\r\n").unwrap();
        assert_eq!(found("main"), Some(repo.join("snapshots/def")));
        fs::write(repo.join("refs/main"), "fed\n").unwrap();
        assert_eq!(found("main"), None, "another commit is another base");
        assert!(cached(room.path(), "main").describe().contains("main is the commit fed"));
    }
}
