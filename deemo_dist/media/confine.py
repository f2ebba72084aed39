"""Giving up rights, once and for good, in the process that decodes what strangers made.

Done, by the kernel, before the first clip: no new privileges (no set-user-id program gains any), no core dump, no file
written, few files open, no network. The network goes twice: a namespace of its own without any interface where the
kernel allows that to this user, and a filter of system calls, which every Linux since 3.5 has, that refuses sockets,
other programs, reading other processes, and asynchronous rings (which could do either unseen).
"""

import ctypes
import errno
import os
import platform
import resource
import struct

OPEN_FILES = 64
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 4, 22, 38
SECCOMP_MODE_FILTER = 2
CLONE_NEWNET, CLONE_NEWUSER = 0x40000000, 0x10000000

# linux/filter.h and linux/seccomp.h
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
NUMBER_AT, MACHINE_AT = 0, 4
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | errno.EPERM
X32 = 0x40000000

# audit architecture, and numbers of: socket, connect, execve, execveat, ptrace, process_vm_readv, process_vm_writev,
# io_uring_setup, bpf, userfaultfd, keyctl (asm/unistd_64.h; asm-generic/unistd.h)
MACHINES = {
    "x86_64": (0xC000003E, (41, 42, 59, 322, 101, 310, 311, 425, 321, 323, 250)),
    "aarch64": (0xC00000B7, (198, 203, 221, 281, 117, 270, 271, 425, 280, 282, 219)),
}


def confine() -> None:
    """Give up what a decoder does not need. Raises ``OSError`` where the kernel refuses what every kernel has."""
    libc = ctypes.CDLL(None, use_errno=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    _leave_network(libc)
    _control(libc, PR_SET_DUMPABLE, 0)
    _control(libc, PR_SET_NO_NEW_PRIVS, 1)
    if platform.machine() in MACHINES:
        _filter_calls(libc, *MACHINES[platform.machine()])


def _leave_network(libc: ctypes.CDLL) -> bool:
    """A network namespace of its own, if need be within a user namespace; False where the kernel allows neither."""
    return libc.unshare(CLONE_NEWNET) == 0 or libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0


def _control(libc: ctypes.CDLL, *arguments: object) -> None:
    values = [ctypes.c_ulong(value) if isinstance(value, int) else value for value in arguments]
    if libc.prctl(*values, *[ctypes.c_ulong(0)] * (5 - len(values))) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _filter_calls(libc: ctypes.CDLL, machine: int, numbers: tuple[int, ...]) -> None:
    """Answer the calls of these ``numbers``, and any of another machine's table, with EPERM."""
    count = len(numbers)
    program = [
        (LOAD, 0, 0, MACHINE_AT),
        (EQUAL, 0, count + 3, machine),
        (LOAD, 0, 0, NUMBER_AT),
        (AT_LEAST, count + 1, 0, X32),
        *((EQUAL, count - place, 0, number) for place, number in enumerate(numbers)),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]
    code = b"".join(struct.pack("<HBBI", *step) for step in program)
    held = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(held)))
    _control(libc, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(header))
