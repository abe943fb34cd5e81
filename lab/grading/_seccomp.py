"""Which system calls the code in a sandbox may make: all but those that no notebook needs.

The list follows what container engines refuse by default (Docker's and Podman's seccomp profiles), and adds the
network's sockets, namespaces and tracing.
"""

import os
import sys
import tempfile
from collections.abc import Collection

from lab.errors import SandboxError

CLAIM = "system calls"
"""What `lab doctor` calls it."""

REFUSED = (
    # other processes' memory, and tracing
    *("ptrace", "process_vm_readv", "process_vm_writev", "kcmp", "pidfd_getfd", "perf_event_open", "process_madvise"),
    # the kernel, and what loads into it
    *(
        "bpf",
        "kexec_load",
        "kexec_file_load",
        "init_module",
        "finit_module",
        "delete_module",
        "syslog",
        "lookup_dcookie",
    ),
    # mounts and namespaces
    *("mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "fsopen", "fsmount", "fspick", "fsconfig"),
    *("mount_setattr", "unshare", "setns"),
    # keys, queues of the kernel's, accounting, clocks, swap, the machine itself
    *("add_key", "keyctl", "request_key", "io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd"),
    *("acct", "quotactl", "quotactl_fd", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "stime"),
    *("swapon", "swapoff", "reboot", "sethostname", "setdomainname", "iopl", "ioperm", "personality", "vhangup"),
    *("fanotify_init", "open_by_handle_at", "name_to_handle_at", "nfsservctl", "mbind", "migrate_pages", "move_pages"),
)
_NAMESPACES = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""


def filter_file(accepted: Collection[str] = ()) -> int | None:
    """A file descriptor of the filter as bubblewrap reads it; None where a teacher has accepted to go without.

    Raises SandboxError where libseccomp is missing.
    """
    try:
        import pyseccomp
    except Exception as error:  # it asks for the library when it is imported
        if CLAIM in accepted:
            return None
        raise SandboxError(
            "code is graded in a sandbox, and its filter of system calls can't be made: libseccomp is missing "
            f"({error}). Install it (apt-get install libseccomp2) and `python -m pip install pyseccomp`."
        ) from error
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    refused = pyseccomp.ERRNO(1)  # EPERM
    for name in REFUSED:
        _refuse(rules, refused, name)
    for bit in (1 << n for n in range(32) if _NAMESPACES >> n & 1):
        rules.add_rule(refused, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, bit, bit))
    rules.add_rule(pyseccomp.ERRNO(38), "clone3")  # ENOSYS: the C library takes clone, whose flags can be seen
    rules.add_rule(refused, "socket", pyseccomp.Arg(0, pyseccomp.NE, 1))  # AF_UNIX: DataLoader's workers need it
    rules.add_rule(refused, "ioctl", pyseccomp.Arg(1, pyseccomp.MASKED_EQ, 0xFFFFFFFF, 0x5412))  # TIOCSTI
    rules.add_rule(refused, "prctl", pyseccomp.Arg(0, pyseccomp.EQ, 59))  # PR_SCHED_CORE
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.flush()
        file.seek(0)
        return os.dup(file.fileno())


def _refuse(rules: object, refused: object, name: str) -> None:
    """Refuse a call, where this processor and this library know it."""
    try:
        rules.add_rule(refused, name)  # type: ignore[attr-defined]
    except (OSError, ValueError, RuntimeError):
        if sys.platform != "linux":
            raise
