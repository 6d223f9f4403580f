"""What a plan is made of."""

from __future__ import annotations

from dataclasses import dataclass

from gpuhost.declared import Blocker
from gpuhost.model import Login

# What restarts the daemon, or takes the GPUs away for a while.
DISTURBING = ("driver", "mig", "docker", "toolkit")
NEVER_RAN = "its role has not come to its end here yet"
BUILDS_ON = "runs, which it builds on"


@dataclass(frozen=True)
class Change:
    """One thing that provisioning would do.

    ``action`` is a verb and ``subject`` what it is done to; ``before`` and
    ``after`` are versions or values, empty where there is none, and ``note``
    says why or adds what one should know. ``diff`` is how the text of a file
    changes, as a unified diff.
    """

    component: str
    action: str
    subject: str
    before: str = ""
    after: str = ""
    note: str = ""
    diff: str = ""

    @property
    def transition(self) -> str:
        """The versions or values in words."""
        if self.before and self.after:
            return f"{self.before} → {self.after}"
        return self.after or (f"was {self.before}" if self.before else "")

    @property
    def what(self) -> str:
        """The change in words."""
        note = f"({self.note})" if self.note else ""
        return " ".join(filter(None, (self.action, self.subject, self.transition, note)))


@dataclass(frozen=True)
class Run:
    """A role that would run, and why."""

    role: str
    why: str

    @property
    def is_usual(self) -> bool:
        """Whether the reason is one that goes without saying where there are changes."""
        return self.why == NEVER_RAN or self.why.endswith(BUILDS_ON)


@dataclass(frozen=True)
class HostPlan:
    """What provisioning would do to one host.

    ``reboot`` says why the host would be rebooted, and is empty where it
    would not. ``unreadable`` names what could not be read, so that the plan
    cannot be complete. ``missing_logins`` are to be made, and need passwords.
    ``runs`` are the roles that would run: those of the changes, and those that
    have to look for themselves. ``blockers`` are why none of it would be done.
    """

    host: str
    changes: tuple[Change, ...] = ()
    reboot: str = ""
    unreadable: tuple[str, ...] = ()
    missing_logins: tuple[Login, ...] = ()
    runs: tuple[Run, ...] = ()
    blockers: tuple[Blocker, ...] = ()

    @property
    def disturbs(self) -> bool:
        """Whether containers and programs that use GPUs would not survive it."""
        return bool(self.reboot) or any(c.component in DISTURBING for c in self.changes)

    @property
    def is_empty(self) -> bool:
        """Whether the host is what it should be, as far as can be read."""
        return not (self.changes or self.reboot or self.unreadable)

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that would run, in order."""
        return tuple(run.role for run in self.runs)
