"""What a process that reads untrusted text gives up for good: memory, writing, the network, other processes, most files.

Each tier includes those before it. Without privileges: resource limits, then a filter of system calls (seccomp), then a list
of directories that can be read (Landlock), then namespaces of its own (user, network, IPC). Loaded by file in the
interpreters that run programs, so it needs nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterable, Sequence
from enum import IntEnum


class Tier(IntEnum):
    """How far a process can be confined; each tier includes those before it."""

    NONE = 0
    LIMITS = 1
    """Memory, file size and core dumps are limited, privileges cannot be gained, the environment holds no secrets."""
    SYSTEM_CALLS = 2
    """No sockets, new processes, signals to others, or changes to files (seccomp)."""
    FILES = 3
    """Only the interpreter and its libraries can be read (Landlock)."""
    NAMESPACES = 4
    """User, network and IPC namespaces of its own, without capabilities."""


MISSING = {
    Tier.LIMITS: "resource limits and no_new_privs: they need Linux",
    Tier.SYSTEM_CALLS: "a filter of system calls: it needs Linux on x86_64 or aarch64, with seccomp",
    Tier.FILES: "a list of readable directories: it needs Linux 5.13 or newer, with Landlock",
    Tier.NAMESPACES: "namespaces: the system does not let this user make user and network namespaces",
}
"""What is not there when a tier cannot be had."""

# name:number on x86_64:number on aarch64, the latter left out when equal, "-" where there is no such call.
_REFUSED = """
socket:41:198 socketpair:53:199 connect:42:203 bind:49:200 listen:50:201 accept:43:202 accept4:288:242
execve:59:221 execveat:322:281 fork:57:- vfork:58:- ptrace:101:117 process_vm_readv:310:270 process_vm_writev:311:271
process_madvise:440 pidfd_open:434 pidfd_getfd:438 pidfd_send_signal:424 rt_sigqueueinfo:129:138 rt_tgsigqueueinfo:297:240
tkill:200:130 kcmp:312:272 setsid:112:157 setpgid:109:154 setrlimit:160:164 creat:85:- open_by_handle_at:304:265
unlink:87:- unlinkat:263:35 rename:82:- renameat:264:38 renameat2:316:276 mkdir:83:- mkdirat:258:34 rmdir:84:-
link:86:- linkat:265:37 symlink:88:- symlinkat:266:36 mknod:133:- mknodat:259:33 truncate:76:45 ftruncate:77:46
fallocate:285:47 chmod:90:- fchmod:91:52 fchmodat:268:53 chown:92:- fchown:93:55 lchown:94:- fchownat:260:54
utime:132:- utimes:235:- futimesat:261:- utimensat:280:88 setxattr:188:5 lsetxattr:189:6 fsetxattr:190:7
removexattr:197:14 lremovexattr:198:15 fremovexattr:199:16 mount:165:40 umount2:166:39 pivot_root:155:41 chroot:161:51
open_tree:428 move_mount:429 fsopen:430 fsconfig:431 fsmount:432 fspick:433 mount_setattr:442 unshare:272:97 setns:308:268
swapon:167:224 swapoff:168:225 acct:163:89 quotactl:179:60 quotactl_fd:443 memfd_create:319:279 memfd_secret:447
io_uring_setup:425 io_uring_enter:426 io_uring_register:427 io_setup:206:0 bpf:321:280 perf_event_open:298:241
userfaultfd:323:282 add_key:248:217 request_key:249:218 keyctl:250:219 shmget:29:194 shmat:30:196 semget:64:190
msgget:68:186 mq_open:240:180 mq_unlink:241:181 init_module:175:105 finit_module:313:273 delete_module:176:106
kexec_load:246:104 kexec_file_load:320:294 reboot:169:142 personality:135:92 settimeofday:164:170 clock_settime:227:112
clock_adjtime:305:266 adjtimex:159:171 sethostname:170:161 setdomainname:171:162 syslog:103:116 iopl:172:- ioperm:173:-
modify_ldt:154:- fanotify_init:300:262 vhangup:153:58
"""
_AUDIT_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CONDITIONAL = {
    "x86_64": {"open": 2, "openat": 257, "clone": 56, "kill": 62, "tgkill": 234, "prlimit64": 302, "prctl": 157},
    "aarch64": {"openat": 56, "clone": 220, "kill": 129, "tgkill": 131, "prlimit64": 261, "prctl": 167},
}
_ABSENT = (435, 437)
"""clone3 and openat2, whose arguments a filter cannot see: callers fall back on the older calls."""
_NEWEST_KNOWN = 450

_PR_SET_PDEATHSIG, _PR_GET_SECCOMP, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 21, 22, 38
_CLONE_THREAD = 0x10000
_NEW_NAMESPACES = (
    0x10000000 | 0x40000000 | 0x08000000 | 0x04000000 | 0x00020000
)  # user, network, IPC, host name, mounts
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_READ_FILE, _READ_DIRECTORY = 1 << 2, 1 << 3
_OPENED_FILES = 64

_libc = ctypes.CDLL(None, use_errno=True)


class Confinement:
    """What a kind of process gives up: prepared once, then applied in each process after it was forked."""

    def __init__(self, readable: Iterable[str], *, memory_mb: int, namespaces: bool = False) -> None:
        self._memory_mb = memory_mb
        self._namespaces = namespaces
        self._rules = _landlock_rules(readable) if available_tier() >= Tier.FILES else None

    def apply(self) -> Tier:
        """Confine this process, which must have one thread, until its end; how far that went.

        What can be had must be had: raises OSError when a tier fails that `available_tier` announces.
        """
        if sys.platform != "linux":
            return Tier.NONE
        _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        has_namespaces = self._namespaces and _libc.unshare(_NEW_NAMESPACES) == 0 and _drop_capabilities()
        _limit_resources(self._memory_mb)
        if self._rules is not None:
            _check(_libc.syscall(_LANDLOCK_RESTRICT, self._rules, 0))
            os.close(self._rules)
        tier = available_tier()
        if tier >= Tier.SYSTEM_CALLS:
            _filter_system_calls()
        return Tier.NAMESPACES if has_namespaces and tier == Tier.FILES else tier


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent, the process with this id, ends."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def available_tier() -> Tier:
    """The tier up to `FILES` that this machine offers. Changes nothing."""
    if sys.platform != "linux":
        return Tier.NONE
    if os.uname().machine not in _AUDIT_ARCHITECTURES or _libc.prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) < 0:
        return Tier.LIMITS
    return Tier.FILES if _landlock_version() > 0 else Tier.SYSTEM_CALLS


def interpreter_paths() -> list[str]:
    """What an interpreter may have to read while it runs: itself, its modules, the system's libraries."""
    system = (
        "/usr",
        "/lib",
        "/lib64",
        "/etc/ld.so.cache",
        "/etc/localtime",
        "/dev/null",
        "/dev/urandom",
        "/dev/random",
    )
    return [*system, "/sys/devices/system/cpu", "/proc/cpuinfo", "/proc/meminfo", sys.prefix, sys.base_prefix]


def _limit_resources(memory_mb: int) -> None:
    allowed = _address_space() + memory_mb * 2**20
    limits = ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NOFILE, _OPENED_FILES))
    for kind, most in (*limits, (resource.RLIMIT_MEMLOCK, 0), (resource.RLIMIT_AS, allowed)):
        resource.setrlimit(kind, (most, most))


def _address_space() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123 - pathlib costs a worker's start more than the read
        return int(file.read().split()[0]) * resource.getpagesize()


def _drop_capabilities() -> bool:
    header, nothing = struct.pack("=Ii", 0x20080522, 0), struct.pack("=6I", 0, 0, 0, 0, 0, 0)
    return bool(_libc.capset(header, nothing) == 0)


def _landlock_version() -> int:
    return int(_libc.syscall(_LANDLOCK_CREATE, None, 0, 1))


def _landlock_rules(readable: Iterable[str]) -> int:
    """A Landlock ruleset that refuses all it knows of, save to read below these paths; its file descriptor."""
    version = _landlock_version()
    files = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    network, scopes = (3 if version >= 4 else 0), (3 if version >= 6 else 0)
    handled = struct.pack("=QQQ", files, network, scopes)[: 8 if version < 4 else 16 if version < 6 else 24]
    rules = _check(_libc.syscall(_LANDLOCK_CREATE, handled, len(handled), 0))
    os.set_inheritable(rules, False)
    for path in dict.fromkeys(readable):
        _let_read(rules, path)
    return rules


def _let_read(rules: int, path: str) -> None:
    # The root as a readable directory would be no restriction at all.
    if os.path.realpath(path) == "/":
        return
    try:
        below = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    allowed = _READ_FILE | _READ_DIRECTORY if os.path.isdir(path) else _READ_FILE  # noqa: PTH112 - as above
    _check(_libc.syscall(_LANDLOCK_ADD, rules, 1, struct.pack("=Qi", allowed, below), 0))
    os.close(below)


def _filter_system_calls() -> None:
    program = b"".join(_filter_program(os.uname().machine, os.getpid()))
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    _check(_libc.prctl(_PR_SET_SECCOMP, 2, ctypes.c_char_p(header), 0, 0))


def _filter_program(machine: str, process: int) -> list[bytes]:
    """Classic BPF instructions on the kernel's `struct seccomp_data`; every refusal is an error the caller sees."""
    killed, permitted, refused, absent = 0x80000000, 0x7FFF0000, 0x00050001, 0x00050026
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | 0x400000  # the last is O_TMPFILE's own bit
    known = _CONDITIONAL[machine]
    program = [_load(4), _jump(_EQUAL, _AUDIT_ARCHITECTURES[machine], 1, 0), _return(killed), _load(0)]
    # Also refuses the other numbering that x86_64 kernels offer to 32-bit programs.
    program += [_jump(_GREATER, _NEWEST_KNOWN, 0, 1), _return(absent)]
    for number in _ABSENT:
        program += _when(number, [_return(absent)])
    for number in _refused(machine):
        program += _when(number, [_return(refused)])
    for name, flags in (("open", 24), ("openat", 32)):
        if name in known:
            body = [_load(flags), _jump(_ANY_BIT, writing, 0, 1), _return(refused), _return(permitted)]
            program += _when(known[name], body)
    is_thread = [_load(16), _jump(_ANY_BIT, _CLONE_THREAD, 1, 0), _return(refused), _return(permitted)]
    program += _when(known["clone"], is_thread)
    to_itself = [_load(16), _jump(_EQUAL, process, 1, 0), _return(refused), _return(permitted)]
    program += _when(known["kill"], to_itself) + _when(known["tgkill"], to_itself)
    sets_limits = [_load(32), _jump(_EQUAL, 0, 0, 2), _load(36), _jump(_EQUAL, 0, 1, 0), _return(refused)]
    program += _when(known["prlimit64"], [*sets_limits, _return(permitted)])
    outlives = [_load(16), _jump(_EQUAL, _PR_SET_PDEATHSIG, 0, 1), _return(refused), _return(permitted)]
    return [*program, *_when(known["prctl"], outlives), _return(permitted)]


_EQUAL, _GREATER, _ANY_BIT = 0x15, 0x25, 0x45


def _load(offset: int) -> bytes:
    return struct.pack("HBBI", 0x20, 0, 0, offset)


def _jump(test: int, value: int, if_so: int, if_not: int) -> bytes:
    return struct.pack("HBBI", test, if_so, if_not, value)


def _return(action: int) -> bytes:
    return struct.pack("HBBI", 0x06, 0, 0, action)


def _when(number: int, body: Sequence[bytes]) -> list[bytes]:
    """What is done about one system call. A body leaves through a return, because it may have loaded something else."""
    return [_jump(_EQUAL, number, 0, len(body)), *body]


def _refused(machine: str) -> list[int]:
    column = 1 if machine == "x86_64" else -1
    numbers = (entry.split(":")[column] for entry in _REFUSED.split())
    return [int(number) for number in numbers if number != "-"]


def _check(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"the process could not be confined: {os.strerror(error)}")
    return result
