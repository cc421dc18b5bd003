"""Another process's system calls, seen and changed one by one (ptrace, x86-64 Linux): real faults, real SIGKILL.

A fault injected here is met by every layer above the kernel (Python, C libraries, the copying in `shutil`), and a kill
comes exactly between two system calls. Nothing is preloaded, mounted or privileged.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field


def _allowed() -> bool:
    """Whether this machine lets a process be traced: some containers do not."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    if (child := os.fork()) == 0:
        os._exit(ctypes.CDLL(None).ptrace(0, 0, None, None) != 0)
    return os.waitpid(child, 0)[1] == 0


AVAILABLE = _allowed()

_TRACEME, _PEEK_REGS, _POKE_REGS, _NEXT_CALL, _SET_OPTIONS = 0, 12, 13, 24, 0x4200
_OPTIONS = 0x1 | 0x8 | 0x100000  # mark calls, follow threads, kill with the tracer
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


def traced(body: Callable[[], int], look: Callable[[Call], bool]) -> int:
    """Run `body` in a child, showing `look` each call on a file before it is made; SIGKILL when `look` says True.

    Returns the exit status that `body` returned, or -9.
    """
    pid = os.fork()
    if not pid:
        status = 99
        try:
            _ptrace(_TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            status = body()
        finally:
            os._exit(status)
    os.waitpid(pid, 0)
    _ptrace(_SET_OPTIONS, pid, _OPTIONS)
    _ptrace(_NEXT_CALL, pid)
    under_way: dict[int, Call | None] = {}
    while True:
        tid, status = os.waitpid(-1, _WAIT_ALL)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            if tid == pid:
                return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            continue
        stop, deliver = os.WSTOPSIG(status), 0
        if stop == signal.SIGTRAP | 0x80:
            if tid in under_way:
                _after(tid, under_way.pop(tid))
            else:
                under_way[tid] = _before(tid, look, pid)
        elif stop not in (signal.SIGTRAP, signal.SIGSTOP):
            deliver = stop
        try:
            _ptrace(_NEXT_CALL, tid, deliver)
        except ProcessLookupError:  # killed just now
            continue


def _before(tid: int, look: Callable[[Call], bool], pid: int) -> Call | None:
    registers = Registers()
    _ptrace(_PEEK_REGS, tid, ctypes.byref(registers))
    call = _described(tid, registers)
    if call is None:
        return None
    count = call.count
    if look(call):
        os.kill(pid, signal.SIGKILL)
        return None
    if call.error:
        registers.orig_rax = 2**64 - 1  # no call of that number: nothing is done
    registers.rdx = call.count if call.count != count else registers.rdx
    if call.error or call.count != count:
        _ptrace(_POKE_REGS, tid, ctypes.byref(registers))
    return call


def _after(tid: int, call: Call | None) -> None:
    if call is None:
        return
    if call.error or call.claim:
        registers = Registers()
        _ptrace(_PEEK_REGS, tid, ctypes.byref(registers))
        registers.rax = 2**64 - call.error if call.error else call.claim
        _ptrace(_POKE_REGS, tid, ctypes.byref(registers))
    elif call.done:
        call.done()


def _described(tid: int, at: Registers) -> Call | None:
    number = at.orig_rax
    if number in FILE:
        return Call(FILE[number], _of_descriptor(tid, at.rdi), count=at.rdx if FILE[number] == "write" else 0)
    if number in PATH:
        return Call(PATH[number], _text(tid, at.rdi), _text(tid, at.rsi) if number == 82 else "")
    if number in AT:
        other = _resolved(tid, at.rdx, at.r10) if AT[number] == "rename" else ""
        return Call(AT[number], _resolved(tid, at.rdi, at.rsi), other)
    return None


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
