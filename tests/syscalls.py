"""Another process's calls on files, seen and changed one by one (ptrace, x86-64 Linux): real faults, real SIGKILL.

A fault injected here is met by every layer above the kernel (Python, C libraries, the copying in `shutil`), and a kill
comes exactly between two system calls. Nothing is preloaded, mounted or privileged. A seccomp filter has the kernel stop
the process at these calls alone, which is several times as fast as at all of them.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

_TRACEME, _GO_ON, _PEEK_REGS, _POKE_REGS, _TO_ITS_END, _SET_OPTIONS = 0, 7, 12, 13, 24, 0x4200
_OPTIONS = (
    0x1 | 0x8 | 0x80 | 0x100000
)  # mark the ends of calls, follow threads, stop where the filter says, kill with us
_FILTERED = signal.SIGTRAP | 7 << 8
_NO_NEW_PRIVILEGES, _SET_FILTER = 38, 22
_CREATES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_WAIT_ALL = 0x40000000
_AT_CWD = 0xFFFFFF9C
_NAMES = "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs"

PATH = {
    2: "open",
    4: "stat",
    6: "lstat",
    21: "access",
    82: "rename",
    83: "mkdir",
    84: "rmdir",
    87: "unlink",
    137: "statfs",
}
AT = {
    257: "open",
    258: "mkdir",
    262: "stat",
    263: "unlink",
    264: "rename",
    269: "access",
    280: "utimens",
    316: "rename",
}
AT |= {332: "stat", 439: "access"}
FILE = {0: "read", 1: "write", 3: "close", 5: "fstat", 8: "lseek", 17: "pread", 18: "write", 74: "fsync", 75: "fsync"}
FILE |= {77: "truncate", 138: "statfs", 217: "getdents"}


class _Rule(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("value", ctypes.c_uint))


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("rules", ctypes.POINTER(_Rule)))


def _filtered() -> bool:
    """Have the kernel stop this process at the calls above alone, from now on; whether it does."""
    numbers = sorted({*PATH, *AT, *FILE})
    load_number, if_equal, answer, allow, trace = 0x20, 0x15, 0x06, 0x7FFF0000, 0x7FF00000
    rules = [(load_number, 0, 0, 0), *((if_equal, len(numbers) - n, 0, one) for n, one in enumerate(numbers))]
    rules += [(answer, 0, 0, allow), (answer, 0, 0, trace)]
    program = _Filter(len(rules), (_Rule * len(rules))(*rules))
    prctl = ctypes.CDLL(None).prctl
    return not prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) and not prctl(_SET_FILTER, 2, ctypes.byref(program))


def _allowed() -> bool:
    """Whether this machine lets a process be traced and filtered: some containers do not."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    if (child := os.fork()) == 0:
        traced = ctypes.CDLL(None).ptrace(_TRACEME, 0, None, None) == 0
        os._exit(not (traced and _filtered()))
    return os.waitpid(child, 0)[1] == 0


AVAILABLE = _allowed()


class Registers(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_ulonglong) for name in _NAMES.split())


@dataclass
class Call:
    """A system call about to be made. path: what it is about; other: where a rename leads.

    Set `error` to have it fail instead, `count` to have a write take fewer bytes, `claim` to lie about how many it took.
    """

    name: str
    path: str
    other: str = ""
    count: int = 0
    error: int = 0
    claim: int = 0
    done: Callable[[], None] | None = field(default=None)
    """Called once it has been made."""


_libc = ctypes.CDLL(None, use_errno=True) if AVAILABLE else None


def _ptrace(what: int, tid: int, data: object = None) -> None:
    assert _libc is not None
    _libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    if _libc.ptrace(what, tid, None, data) < 0:
        raise OSError(ctypes.get_errno(), f"ptrace {what}")


class Next(Enum):
    """What follows a look at a call."""

    GO_ON = 0
    KILL = 1
    LOOK_AWAY = 2
    """Go on, and show no more calls: nothing more will be done to them."""


def traced(body: Callable[[], int], look: Callable[[Call], Next]) -> int:
    """Run `body` in a child, showing `look` each call on a file before it is made; SIGKILL when `look` says so.

    Returns the exit status that `body` returned, or -9.
    """
    pid = os.fork()
    if not pid:
        status = 99
        try:
            _ptrace(_TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            status = body() if _filtered() else status
        finally:
            os._exit(status)
    os.waitpid(pid, 0)
    _ptrace(_SET_OPTIONS, pid, _OPTIONS)
    _ptrace(_GO_ON, pid)
    under_way: dict[int, Call] = {}
    away = False
    while True:
        tid, status = os.waitpid(-1, _WAIT_ALL)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            if tid == pid:
                return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            continue
        stop, then, deliver = os.WSTOPSIG(status), _GO_ON, 0
        try:
            if stop == signal.SIGTRAP | 0x80:
                _after(tid, under_way.pop(tid))
            elif status >> 8 == _FILTERED and not away:
                call, following = _before(tid, look)
                away = following == Next.LOOK_AWAY
                if following == Next.KILL:
                    os.kill(pid, signal.SIGKILL)
                elif call.done or call.claim:
                    under_way[tid], then = call, _TO_ITS_END
            elif stop not in (signal.SIGTRAP, signal.SIGSTOP):
                deliver = stop
            _ptrace(then, tid, deliver)
        except ProcessLookupError:  # killed just now
            continue


def _before(tid: int, look: Callable[[Call], Next]) -> tuple[Call, Next]:
    """Show a call, and change it as it was asked for; returns it and what follows."""
    registers = Registers()
    _ptrace(_PEEK_REGS, tid, ctypes.byref(registers))
    call = _described(tid, registers)
    count = call.count
    following = look(call)
    if call.error:  # no call of that number: nothing is done
        registers.orig_rax, registers.rax = 2**64 - 1, 2**64 - call.error
    registers.rdx = call.count if call.count != count else registers.rdx
    if call.error or call.count != count:
        _ptrace(_POKE_REGS, tid, ctypes.byref(registers))
    return call, following


def _after(tid: int, call: Call) -> None:
    if call.claim:
        registers = Registers()
        _ptrace(_PEEK_REGS, tid, ctypes.byref(registers))
        registers.rax = call.claim
        _ptrace(_POKE_REGS, tid, ctypes.byref(registers))
    if call.done:
        call.done()


def _described(tid: int, at: Registers) -> Call:
    number = at.orig_rax
    if number in FILE:
        return Call(FILE[number], _of_descriptor(tid, at.rdi), count=at.rdx if FILE[number] == "write" else 0)
    if number in PATH:
        name = "create" if number == 2 and at.rsi & _CREATES else PATH[number]
        return Call(name, _text(tid, at.rdi), _text(tid, at.rsi) if number == 82 else "")
    other = _resolved(tid, at.rdx, at.r10) if AT[number] == "rename" else ""
    name = "create" if number == 257 and at.rdx & _CREATES else AT[number]
    return Call(name, _resolved(tid, at.rdi, at.rsi), other)


def _of_descriptor(tid: int, number: int) -> str:
    try:
        return os.readlink(f"/proc/{tid}/fd/{number & 0xFFFFFFFF}")
    except OSError:
        return ""


def _resolved(tid: int, folder: int, address: int) -> str:
    text = _text(tid, address)
    if text.startswith("/") or folder & 0xFFFFFFFF == _AT_CWD:
        return text
    return os.path.join(_of_descriptor(tid, folder), text) if text else _of_descriptor(tid, folder)


def _text(tid: int, address: int) -> str:
    found = b""
    try:
        with open(f"/proc/{tid}/mem", "rb", 0) as memory:
            while b"\0" not in found and len(found) < 4096:
                memory.seek(address + len(found))
                found += memory.read(min(256, 4096 - (address + len(found)) % 4096)) or b"\0"
    except (OSError, OverflowError, ValueError):
        pass
    return os.fsdecode(found.partition(b"\0")[0])
