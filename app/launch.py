"""Become another program whose life ends with its parent's: the first breath of every supervised child.

Run as a script: `python launch.py [--as-nobody FOLDER] [--nice NUMBER] SIGNAL PARENT PROGRAM ARGUMENTS...`. Linux sends
SIGNAL to the process when the parent dies, even by `kill -9`; elsewhere the program merely starts. `--as-nobody` is for
PostgreSQL, which refuses to run as root: FOLDER is the one it owns. `--nice` lets others go first.
"""

import ctypes
import os
import pwd
import sys
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000
NOBODY = "nobody"
SESSION_NICENESS = Path("/proc/self/autogroup")
"""Where Linux shares time among sessions first, that of a session as a whole."""


def drop_root(owned: Path) -> None:
    """Stop being root as far as the program can tell.

    A user namespace maps root to `nobody` and leaves all files as they are. Where namespaces are forbidden (most
    containers) the process really becomes `nobody`, who must then be able to reach `owned`.
    """
    account = pwd.getpwnam(NOBODY)
    if ctypes.CDLL(None).unshare(CLONE_NEWUSER) == 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{account.pw_uid} 0 1")
        Path("/proc/self/gid_map").write_text(f"{account.pw_gid} 0 1")
        return
    for path in (owned, *owned.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)


def let_others_go_first(niceness: int) -> None:
    """Take the processors only as far as less nice programs leave them."""
    os.nice(niceness)
    with suppress(OSError):  # a system without such sessions
        SESSION_NICENESS.write_text(str(niceness))


def die_with_parent(signal: int, parent: int) -> None:
    """Ask Linux for `signal` when the parent dies; leave at once if it already has."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal)
    if os.getppid() != parent:
        raise SystemExit(1)


def main(arguments: list[str]) -> None:
    """Change what has to change, then run the program in this process."""
    if arguments[0] == "--as-nobody":
        if os.geteuid() == 0:
            drop_root(Path(arguments[1]))
        arguments = arguments[2:]
    if arguments[0] == "--nice":
        let_others_go_first(int(arguments[1]))
        arguments = arguments[2:]
    signal, parent, *program = arguments
    die_with_parent(int(signal), int(parent))  # after the change of identity, which would clear it
    os.execvp(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
