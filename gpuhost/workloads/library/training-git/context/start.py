"""Clone a repository; or pull it, check out what was asked for, and run a script of it."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import urllib.parse

REPOSITORY = pathlib.Path("/repository")
# Only asked: git would also have it changed, and it is not ours.
HELPER = '!f() { test "$1" = get && git credential-store --file /run/secrets/git get; }; f'
COMMIT = re.compile("[0-9a-f]{4,64}")
SHOWN = 20


def git(*words: str) -> subprocess.CompletedProcess[str]:
    """Run git, which asks nobody for a password."""
    return subprocess.run(
        ["git", "-c", f"credential.helper={HELPER}", *words],
        env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
        capture_output=True,
        text=True,
        check=False,
    )


def must(why: str, *words: str) -> str:
    """What git printed; ends with its words where it failed."""
    done = git(*words)
    if done.returncode != 0:
        raise SystemExit(f"{why}.\n{done.stderr.strip()}")
    return done.stdout.strip()


def clone(url: str) -> None:
    """Put the repository into the image that is built."""
    if urllib.parse.urlsplit(url).password:
        raise SystemExit("The URL has a password in it, which would stay in the image.")
    must("The repository cannot be cloned", "clone", "--quiet", "--", url, str(REPOSITORY))


def pull() -> None:
    """Get every branch and tag as they are now."""
    why = "The repository cannot be pulled"
    must(why, "fetch", "--quiet", "--force", "--prune", "--tags", "origin")


def commit_of(ref: str) -> str:
    """The commit that a branch, a tag or the beginning of a commit's name stands for."""
    names = [f"refs/remotes/origin/{ref}", f"refs/tags/{ref}"]
    if COMMIT.fullmatch(ref):
        names.append(ref)
    for name in names:
        found = git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if found.returncode == 0:
            return found.stdout.strip()
    form = ["for-each-ref", "--format=%(refname:lstrip=3)", "refs/remotes/origin"]
    branches = git(*form).stdout.split()[:SHOWN]
    url = git("remote", "get-url", "origin").stdout.strip()
    raise SystemExit(
        f"{url} has no branch, tag or commit {ref!r}. Its branches: {', '.join(branches)}"
    )


def main() -> None:
    """Do what the image's Dockerfile, or the workload, asks for."""
    if sys.argv[1] == "--clone":
        clone(sys.argv[2])
        return
    ref, script, *arguments = sys.argv[1:]
    os.chdir(REPOSITORY)
    pull()
    commit = commit_of(ref)
    must("It cannot be checked out", "checkout", "--quiet", "--force", "--detach", commit)
    print("checked out", git("log", "-1", "--format=%H %s").stdout.strip())
    if not pathlib.Path(script).is_file():
        raise SystemExit(f"{ref} has no file {script!r}.")
    os.execv(sys.executable, [sys.executable, "-u", script, *arguments])  # noqa: S606


if __name__ == "__main__":
    main()
