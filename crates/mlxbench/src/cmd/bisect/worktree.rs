//! A repository, and checkouts of its commits apart from the user's.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use mlxbench_core::text::tell;

use super::group::Group;

/// A git repository.
pub(super) struct Repository {
    root: PathBuf,
}

impl Repository {
    /// The repository that `folder` lies in.
    pub(super) fn at(folder: &Path) -> anyhow::Result<Self> {
        let root = said(git(folder).args(["rev-parse", "--show-toplevel"]))
            .with_context(|| format!("--repository {}", folder.display()))?;
        Ok(Self { root: root.into() })
    }

    /// Its root.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The full name of the commit that `rev` stands for.
    pub(super) fn commit(&self, rev: &str) -> anyhow::Result<String> {
        let commit = format!("{rev}^{{commit}}");
        let arguments = [
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &commit,
        ];
        let commit = said(git(&self.root).args(arguments));
        commit.with_context(|| format!("`{rev}` is no commit of {}", self.root.display()))
    }

    /// Whether `later` has `commit` in its history.
    pub(super) fn is_ancestor(&self, commit: &str, later: &str) -> anyhow::Result<bool> {
        let mut git = git(&self.root);
        git.args(["merge-base", "--is-ancestor", commit, later]);
        Ok(git.status().context("git")?.success())
    }

    /// The author, day and subject of a commit.
    pub(super) fn describe(&self, commit: &str) -> anyhow::Result<String> {
        said(git(&self.root).args(["show", "-s", "--format=%an, %as: %s", commit]))
    }
}

/// A checkout of a commit in a folder of its own, taken away with it.
pub(super) struct Worktree {
    repository: PathBuf,
    path: PathBuf,
}

impl Worktree {
    /// Checks `commit` out into `path`.
    pub(super) fn add(
        repository: &Repository,
        path: PathBuf,
        commit: &str,
    ) -> anyhow::Result<Self> {
        let mut git = git(&repository.root);
        git.args(["worktree", "add", "--quiet", "--detach"]);
        said(git.arg(&path).arg(commit))?;
        Ok(Self {
            repository: repository.root.clone(),
            path,
        })
    }

    /// Its root.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Lets `git bisect run` try the commits from `good` to `bad` by steps of `trial`. `None` where too many were
    /// skipped. What git knows of a bisection is a worktree's own: one of the user's goes on untouched.
    pub(super) fn bisect(
        &self,
        group: &Group,
        good: &str,
        bad: &str,
        trial: &Path,
    ) -> anyhow::Result<Option<String>> {
        said(git(&self.path).args(["bisect", "start", bad, good]))?;
        // The commit after the good one needs no step, and git would take one.
        let (first, untold) = self.known()?;
        if untold == [first.as_str()] {
            return Ok(Some(first));
        }
        let program = std::env::current_exe()?;
        let mut run = git(&self.path);
        run.args(["bisect", "run"])
            .arg(program)
            .arg("bisect-step")
            .arg(trial);
        let ended = group.status(&mut run).context("git bisect run")?;
        // Its exit code isn't the same in all versions of git; what it knows is.
        let (first, untold) = self.known()?;
        if untold == [first.as_str()] {
            return Ok(Some(first));
        }
        let skipped = [
            "for-each-ref",
            "--format=%(objectname)",
            "refs/bisect/skip-*",
        ];
        let skipped = said(git(&self.path).args(skipped))?;
        let is_skipped = |commit: &String| skipped.lines().any(|line| line == commit);
        if untold
            .iter()
            .any(|commit| *commit != first && !is_skipped(commit))
            || untold.is_empty()
        {
            bail!("`git bisect run` broke off ({ended}); what it tried stands above");
        }
        Ok(None)
    }

    /// The earliest commit that is known to be bad, and all that may be the first bad one.
    fn known(&self) -> anyhow::Result<(String, Vec<String>)> {
        let first = said(git(&self.path).args(["rev-parse", "--verify", "refs/bisect/bad"]))?;
        let untold = [
            "rev-list",
            "refs/bisect/bad",
            "--not",
            "--glob=refs/bisect/good-*",
        ];
        let untold = said(git(&self.path).args(untold))?;
        Ok((first, untold.lines().map(str::to_owned).collect()))
    }
}

impl Drop for Worktree {
    fn drop(&mut self) {
        let mut git = git(&self.repository);
        git.args(["worktree", "remove", "--force"]).arg(&self.path);
        if let Err(error) = said(&mut git) {
            let path = self.path.display();
            tell(format_args!(
                "warning: the worktree {path} is left: {error:#}"
            ));
        }
    }
}

/// git in `folder`, without hooks and whatever a git around us may have set.
pub(super) fn git(folder: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(folder)
        .args(["-c", "core.hooksPath=/dev/null"]);
    forget_git(&mut git);
    git
}

/// Keeps from `command` what a git that we are a step of tells its own.
pub(super) fn forget_git(command: &mut Command) {
    for own in [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_PREFIX",
        "GIT_CONFIG_PARAMETERS",
    ] {
        command.env_remove(own);
    }
}

/// What a git command prints, less its newline.
pub(super) fn said(git: &mut Command) -> anyhow::Result<String> {
    let output = git
        .stdin(Stdio::null())
        .output()
        .context("git can't be run")?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("git: {}", why.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned())
}
