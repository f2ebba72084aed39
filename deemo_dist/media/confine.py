"""Giving up rights, once and for good, in the process that decodes what strangers made.

Done, by the kernel, before the first clip: no new privileges (no set-user-id program gains any) and none of those that
root has, no core dump, no file opened, written, renamed or removed, few files open, no network. What is read the parent
opens, which holds the root key: it hands over one clip at a time.

The network goes twice: a namespace of its own without any interface where the kernel allows that to this user, and a
filter of system calls, which every Linux since 3.5 has, that refuses sockets, other programs, reading other processes,
all that takes a path, and asynchronous rings (which could do any of it unseen). A user namespace, where it can be had,
keeps other processes of the same user out of reach once more.
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

# audit architecture, and numbers of (asm/unistd_64.h; asm-generic/unistd.h):
# socket, connect, execve, execveat, ptrace, process_vm_readv, process_vm_writev, io_uring_setup, bpf, userfaultfd,
# keyctl, pidfd_getfd; openat, openat2, open_by_handle_at, unlinkat, renameat, renameat2, linkat, symlinkat, mkdirat,
# mknodat, fchmodat, fchownat, readlinkat, truncate, mount, umount2, pivot_root, chroot; and, where there are such:
# open, creat, rename, mkdir, rmdir, link, unlink, symlink, readlink, chmod, chown, lchown, mknod
MACHINES = {
    "x86_64": (
        0xC000003E,
        (41, 42, 59, 322, 101, 310, 311, 425, 321, 323, 250, 438, 257, 437, 304, 263, 264, 316, 265, 266, 258, 259, 268,
         260, 267, 76, 165, 166, 155, 161, 2, 85, 82, 83, 84, 86, 87, 88, 89, 90, 92, 94, 133),
    ),
    "aarch64": (
        0xC00000B7,
        (198, 203, 221, 281, 117, 270, 271, 425, 280, 282, 219, 438, 56, 437, 265, 35, 38, 276, 37, 36, 34, 33, 53, 54,
         78, 45, 40, 39, 41, 51),
    ),
}  # fmt: skip
CAPSET = {"x86_64": 126, "aarch64": 91}
CAPABILITY_VERSION = 0x20080522


def confine() -> None:
    """Give up what a decoder does not need. Raises ``OSError`` where the kernel refuses what every kernel has."""
    libc = ctypes.CDLL(None, use_errno=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    _leave_network(libc)
    _drop_capabilities(libc)
    _control(libc, PR_SET_DUMPABLE, 0)
    _control(libc, PR_SET_NO_NEW_PRIVS, 1)
    if platform.machine() in MACHINES:
        _filter_calls(libc, *MACHINES[platform.machine()])


def _leave_network(libc: ctypes.CDLL) -> bool:
    """A network namespace of its own, within a user namespace if that can be had; False where the kernel allows
    neither."""
    return libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 or libc.unshare(CLONE_NEWNET) == 0


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Give up what root may, in its own namespace too."""
    if platform.machine() not in CAPSET:
        return
    header, none = struct.pack("=Ii", CAPABILITY_VERSION, 0), bytes(24)
    if libc.syscall(CAPSET[platform.machine()], header, none) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


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
