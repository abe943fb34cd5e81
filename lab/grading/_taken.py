"""What do the processes in a sandbox take, all together?

Read through the sandbox's own /proc, which shows its processes and no others, and its own /tmp and /dev/shm. They are
opened before anything of the student's runs there, and can't be taken away afterwards.
"""

import os
from contextlib import suppress
from dataclasses import dataclass

_PAGE_TABLE = 512
"""Bytes of addresses for which the kernel may need one of its own, to note what lies there."""


@dataclass(frozen=True)
class Taken:
    """What is in use at one moment, and the processor time up to it."""

    processes: int  # and threads
    resident: int  # bytes in memory at most: what several processes share is counted for each
    cpu_seconds: float
    written: int  # bytes of files in /tmp and /dev/shm
    files: int
    sockets: int  # each may hold a quarter of a megabyte that belongs to no process


class Inside:
    """The inside of a sandbox, looked at from outside."""

    def __init__(self, first: int) -> None:
        """first: the process id, here, of its first process."""
        self._folders: list[int] = []
        self._tick, self._page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
        self._spent: dict[tuple[str, str], int] = {}  # ticks of each process that was ever seen
        try:
            for name in ("proc", "tmp", "dev/shm"):
                self._folders.append(os.open(f"/proc/{first}/root/{name}", os.O_RDONLY | os.O_DIRECTORY))
        except OSError:
            self.close()
            raise

    def taken(self) -> Taken:
        """What is in use now."""
        processes = resident = living = 0
        for pid in self._processes():
            fields = self._stat(pid)
            if fields:
                own = int(fields[11]) + int(fields[12])
                self._spent[pid, fields[19]] = own
                processes += int(fields[17])
                resident += int(fields[21]) * self._page + int(fields[20]) // _PAGE_TABLE
                living += own + int(fields[13]) + int(fields[14])  # with its dead children's, as far as it waited
        uses = [os.fstatvfs(folder) for folder in self._folders[1:]]
        written = sum((use.f_blocks - use.f_bfree) * use.f_frsize for use in uses)
        files = sum(use.f_files - use.f_ffree for use in uses)
        spent = max(living, sum(self._spent.values())) / self._tick  # nobody has to wait for a child
        return Taken(processes, resident, spent, written, files, self._sockets())

    def memory(self) -> int:
        """Bytes in memory that are no file's: what several processes share is counted once.

        As far as the system tells: of a process whose maps may not be read, all that is resident.
        """
        return sum(self._own(pid) for pid in self._processes())

    def close(self) -> None:
        """Let go of it."""
        while self._folders:
            os.close(self._folders.pop())

    def _processes(self) -> list[str]:
        return [name for name in os.listdir(self._folders[0]) if name.isdigit()]

    def _stat(self, pid: str) -> list[str]:
        """What /proc/PID/stat says from the third field on, the state; nothing where it has ended."""
        return self._read(f"{pid}/stat").rpartition(")")[2].split()

    def _sockets(self) -> int:
        """The open sockets of the sandbox's own network, which every process there has in common."""
        words = self._read("1/net/sockstat").split()
        return int(words[2]) if words[:2] == ["sockets:", "used"] else 0

    def _own(self, pid: str) -> int:
        tables = self._sizes(f"{pid}/status").get("VmPTE:", 0)
        sizes = self._sizes(f"{pid}/smaps_rollup")
        if "Pss_Anon:" in sizes:
            return sizes["Pss_Anon:"] + sizes["Pss_Shmem:"] + tables
        if "Pss:" in sizes:  # before Linux 5.3
            return sizes["Pss:"] + tables
        fields = self._stat(pid)
        return int(fields[21]) * self._page + tables if fields else 0

    def _sizes(self, path: str) -> dict[str, int]:
        """The lines of the form "name: 12 kB", in bytes."""
        lines = (line.split() for line in self._read(path).splitlines())
        return {words[0]: int(words[1]) * 1024 for words in lines if len(words) == 3 and words[2] == "kB"}

    def _read(self, path: str) -> str:
        # Nothing of what has ended meanwhile, or may not be read. Any other failure is not to be taken for nothing.
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            number = os.open(path, os.O_RDONLY, dir_fd=self._folders[0])
            with open(number, encoding="latin-1") as file:
                return file.read()
        return ""
