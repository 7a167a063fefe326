"""What macOS and Windows lack, as seen by the modules of payloadfs and by nothing else.

Each module of payloadfs is executed with its own ``__import__``, which returns stand-ins for `os`, `sys` and a few
others. A stand-in has every name of the real module but those that the platform lacks. pytest, the tests and all
libraries see the real modules. Where the same call behaves differently on the platform, the stand-in raises its errors.

Not simulated: paths (`os.path` is that of POSIX), names that ignore case, numbers of errors, and real handles.
"""

from __future__ import annotations

import builtins
import errno
import fcntl
import functools
import importlib
import importlib.abc
import importlib.machinery
import mmap
import os
import re
import signal
import stat
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

VARIABLE = "SIMULATED_PLATFORM"
"""Environment variable with the platform that child processes simulate; see ``site/sitecustomize.py``."""

real = importlib.import_module

INT_MAX = 2**31 - 1
AT_FDCWD, RENAME_NOREPLACE = -100, 1


class StandIn(types.ModuleType):
    """A module that lacks the names matching `missing` and has `replaced`; everything else is that of `real`."""

    def __init__(self, real: types.ModuleType, missing: str = "", **replaced: Any) -> None:
        super().__init__(real.__name__)
        self.__dict__.update(replaced, _real=real, _missing=re.compile(missing or "(?!)"))

    def __getattr__(self, name: str) -> Any:
        if self._missing.fullmatch(name):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} on the simulated platform")
        return getattr(self._real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        # payloadfs replaces the streams. All else is patched by tests, which must not patch it for everything else.
        if name in ("stdout", "stderr"):
            setattr(self._real, name, value)
        else:
            self.__dict__[name] = value


class Loader(importlib.machinery.SourceFileLoader):
    """Executes a module with other built-in names."""

    names: dict[str, Any]

    def exec_module(self, module: types.ModuleType) -> None:
        module.__dict__["__builtins__"] = self.names
        super().exec_module(module)


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of payloadfs as usual, and executes them with stand-ins."""

    def __init__(self, stand_ins: dict[str, Callable[[], Any] | None], **replaced: Any) -> None:
        self._stand_ins = {name: create and functools.cache(create) for name, create in stand_ins.items()}
        self._names = vars(builtins) | {"__import__": self._import} | replaced

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name.partition(".")[0] != "payloadfs":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
            spec.loader.names = self._names
        return spec

    def _import(self, name: str, scope: Any = None, local: Any = None, fromlist: Any = (), level: int = 0) -> Any:
        # An import statement passes a tuple or None; a list comes from a pickle, which names any module.
        is_ours = level == 0 and not isinstance(fromlist, list)
        if is_ours and name in self._stand_ins and (fromlist or "." not in name):
            stand_in = self._stand_ins[name]
            if stand_in is None:
                raise ModuleNotFoundError(f"No module named {name!r} on the simulated platform", name=name)
            return stand_in()
        return builtins.__import__(name, scope, local, fromlist, level)


def install(platform: str) -> None:
    """Let the modules of payloadfs, none of which may have been imported, see `platform`, also in child processes."""
    assert "payloadfs" not in sys.modules
    sys.meta_path.insert(0, {"darwin": darwin, "win32": win32}[platform]())
    os.environ[VARIABLE] = platform
    site = str(Path(__file__).parent / "site")
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if site not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [site, *paths]))


def skip(items: list[Any], reasons: dict[str, list[str]]) -> None:
    """Skip the tests whose id contains one of the strings."""
    import pytest  # not in child processes

    for item in items:
        for reason, names in reasons.items():
            if any(name in item.nodeid for name in names):
                item.add_marker(pytest.mark.skip(reason=f"{os.environ[VARIABLE]}: {reason}"))


def refusing(function: Callable[..., Any], refuse: Callable[..., None]) -> Callable[..., Any]:
    """Return a function that calls `refuse`, which may raise, before the function of that name in `os`."""

    def call(*args: Any, **kwargs: Any) -> Any:
        refuse(*args, **kwargs)
        # Looked up for each call: a test may have patched it.
        return getattr(os, function.__name__)(*args, **kwargs)

    return call


# macOS

DARWIN_OS = (
    "posix_fallocate|posix_fadvise|POSIX_FADV_.*|O_(TMPFILE|DIRECT|PATH|NOATIME|LARGEFILE|RSYNC)|memfd_create|MFD_.*|"
    "eventfd.*|EFD_.*|sched_([gs]etaffinity|[gs]etscheduler|[gs]etparam|rr_get_interval|param)|SCHED_(BATCH|IDLE|RESET.*)|"
    "pipe2|getrandom|GRND_.*|copy_file_range|splice|SPLICE_.*|pidfd_open|P_PIDFD|fdatasync|(get|set|list|remove)xattr|"
    "XATTR_.*|[gs]etres[ug]id|RTLD_DEEPBIND|waitid|ST_(APPEND|MANDLOCK|NO.*|RELATIME|SYNCHRONOUS|WRITE)"
)
DARWIN_FCNTL = "F_([GS]ETSIG|[GS]ETLEASE|NOTIFY|ADD_SEALS|GET_SEALS|SEAL_.*|OFD_.*|[GS]ETPIPE_SZ|EXLCK|SHLCK)|DN_.*"
DARWIN_SIGNAL = "SIG(CLD|PWR|RTMIN|RTMAX|STKFLT|POLL)|sigtimedwait|sigwaitinfo"
DARWIN_MMAP = (
    "MADV_(REMOVE|DONTFORK|DOFORK|HWPOISON|SOFT_OFFLINE|MERGEABLE|UNMERGEABLE|(NO)?HUGEPAGE|DO(NT)?DUMP|.*ONFORK)|"
    "MAP_(POPULATE|DENYWRITE|EXECUTABLE|STACK)"
)
F_FULLFSYNC = 51


class DarwinMemory(mmap.mmap):
    """A mapping whose pages stay when they are released."""

    def madvise(self, option: int, start: int = 0, length: int = 0) -> None:
        return None


def darwin() -> Finder:
    """Return the finder that simulates macOS."""

    def refuse_proc(path: Any, *_: Any, **__: Any) -> None:
        if isinstance(path, str | bytes | os.PathLike) and os.fsdecode(path).startswith("/proc"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)

    def refuse_much(_file: int, buffers: list[Any], *_: Any) -> None:
        if sum(memoryview(buffer).nbytes for buffer in buffers) > INT_MAX:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def control(file: int, command: int, argument: Any = 0) -> Any:
        # That of the stand-in, which a test may have patched.
        return os_.fsync(file) if command == F_FULLFSYNC else fcntl.fcntl(file, command, argument)

    def run(command: Any, **kwargs: Any) -> Any:
        if command != ["/sbin/mount"]:
            return real("subprocess").run(command, **kwargs)
        mount_points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        lines = [
            f"/dev/disk{n} on {mount_point} (apfs, local, journaled)" for n, mount_point in enumerate(mount_points)
        ]
        return real("subprocess").CompletedProcess(
            command, 0, "\n".join(["server:/home on /net (nfs, automounted)", *lines])
        )

    def open_file(path: Any, *args: Any, **kwargs: Any) -> Any:
        refuse_proc(path)
        return builtins.open(path, *args, **kwargs)

    def exists(path: Any) -> bool:
        return not str(path).startswith("/proc") and os.path.exists(path)

    without_proc = (os.open, os.stat, os.lstat, os.readlink, os.access, os.listdir, os.scandir)
    replaced = {function.__name__: refusing(function, refuse_proc) for function in without_proc}
    replaced |= {function.__name__: refusing(function, refuse_much) for function in (os.readv, os.writev)}
    os_ = StandIn(os, DARWIN_OS, path=StandIn(os.path, exists=exists), **replaced)
    return Finder(
        {
            "os": lambda: os_,
            "sys": lambda: StandIn(sys, platform="darwin"),
            "subprocess": lambda: StandIn(real("subprocess"), run=run),
            "fcntl": lambda: StandIn(fcntl, DARWIN_FCNTL, F_FULLFSYNC=F_FULLFSYNC, fcntl=control),
            "signal": lambda: StandIn(signal, DARWIN_SIGNAL),
            "mmap": lambda: StandIn(mmap, DARWIN_MMAP, mmap=DarwinMemory),
            "select": lambda: StandIn(real("select"), "epoll|EPOLL.*"),
        },
        open=open_file,
    )


# Windows

WIN32_OS = (
    "register_at_fork|fork|forkpty|posix.*|POSIX_.*|environb|getenvb|"
    "O_(NOFOLLOW|DIRECTORY|CLOEXEC|NONBLOCK|NDELAY|SYNC|DSYNC|RSYNC|ASYNC|NOATIME|DIRECT|PATH|TMPFILE|NOCTTY|LARGEFILE|ACCMODE)|"
    "[gs]ete?[ug]id|[gs]etre[sug]+id|[gs]etgroups|getgrouplist|initgroups|[gs]etpgid|[gs]etpgrp|[gs]etsid|killpg|"
    "p(read|write)v?|readv|writev|RWF_.*|f?statvfs|ST_.*|f?chown|lchown|fchmod|fchdir|chroot|mkfifo|mknod|major|minor|makedev|"
    "sched_.*|SCHED_.*|sendfile|splice|SPLICE_.*|copy_file_range|memfd_create|MFD_.*|eventfd.*|EFD_.*|pidfd_open|pipe2|"
    "nice|sync|fdatasync|uname|getloadavg|wait|wait3|wait4|waitid|W[A-Z]+|P_(ALL|PID|PGID|PIDFD)|ctermid|ttyname|openpty|"
    "tc[gs]etpgrp|f?pathconf|sysconf|confstr|.*_names|(get|set|list|remove)xattr|XATTR_.*|lockf|F_.*|[gs]etpriority|PRIO_.*|"
    "RTLD_.*|SEEK_(DATA|HOLE)|getrandom|GRND_.*|EX_(?!OK).*|NGROUPS_MAX|TMP_MAX|truncateat|[gs]et_blocking"
)
WIN32_SIGNAL = (
    "SIG(?!INT|TERM|ABRT|FPE|ILL|SEGV|_DFL|_IGN|BREAK)[A-Z0-9_]+|setitimer|getitimer|ITIMER_.*|alarm|pause|pthread_.*|"
    "sig(wait|waitinfo|timedwait|pending|interrupt)|set_wakeup_fd_"
)


class WindowsMemory(mmap.mmap):
    """A mapping as on Windows: other arguments, and no madvise."""

    def __new__(cls, fileno: int, length: int, tagname: Any = None, access: int = 0, offset: int = 0) -> Self:
        return super().__new__(cls, fileno, length, access=access, offset=offset)

    def __getattribute__(self, name: str) -> Any:
        if name == "madvise":
            raise AttributeError(name)
        return super().__getattribute__(name)


def windows_popen() -> type:
    """Return a class of processes that inherit handles, not descriptors, and whose exit code does not name a signal."""

    class Popen(real("subprocess").Popen):
        def __init__(self, args: Any, *, startupinfo: Any = None, **kwargs: Any) -> None:
            for name in ("pass_fds", "process_group", "start_new_session", "preexec_fn", "user", "group", "umask"):
                if name in kwargs:
                    raise ValueError(f"{name} is not supported on Windows platforms")
            handles = startupinfo.attributes["handle_list"] if startupinfo else []
            assert all(os.get_inheritable(handle) for handle in handles)
            super().__init__(args, pass_fds=tuple(handles), **kwargs)

        def poll(self) -> int | None:
            code = super().poll()
            return 1 if code is not None and code < 0 else code

        def wait(self, timeout: float | None = None) -> int:
            code = super().wait(timeout)
            return 1 if code < 0 else code

    return Popen


class StartupInfo:
    """The part of ``subprocess.STARTUPINFO`` that names the handles to inherit."""

    def __init__(self, *, lpAttributeList: dict[str, list[int]]) -> None:
        self.attributes = lpAttributeList


def locking(file: int, mode: int, _size_bytes: int) -> None:
    """Lock or unlock `file` as ``msvcrt.locking`` does: the lock belongs to the handle."""
    assert os.lseek(file, 0, os.SEEK_CUR) > 0, "the lock must not cover the content"
    try:
        fcntl.flock(file, fcntl.LOCK_UN if mode == 0 else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None


def windows_stat(function: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
    """Return `function` with a result as on Windows: no owner, and a mode that says nothing about other users."""

    def call(path: Any, *, dir_fd: Any = None, **kwargs: Any) -> os.stat_result:
        refuse_dir_fd(dir_fd=dir_fd)
        st = getattr(os, function.__name__)(path, **kwargs)
        mode = stat.S_IFMT(st.st_mode) | (0o777 if stat.S_ISDIR(st.st_mode) else 0o666)
        fields = [mode, st.st_ino, st.st_dev, st.st_nlink, 0, 0, *st[6:10]]
        return os.stat_result(fields, {name: getattr(st, name) for name in dir(st) if name.startswith("st_")})

    return call


def refuse_dir_fd(*_: Any, follow_symlinks: bool = True, **kwargs: Any) -> None:
    """Raise NotImplementedError as functions do that cannot use a folder's descriptor."""
    if any(kwargs.get(name) is not None for name in ("dir_fd", "src_dir_fd", "dst_dir_fd")) or not follow_symlinks:
        raise NotImplementedError("dir_fd and follow_symlinks are unavailable on this platform")


def refuse_in_use(*paths: Any, **kwargs: Any) -> None:
    """Raise PermissionError as Windows does if this process has one of the files open or mapped."""
    refuse_dir_fd(**kwargs)
    for path in paths:
        if not os.path.lexists(path):
            continue
        st = os.lstat(path)
        for descriptor in os.listdir("/proc/self/fd"):
            try:
                is_same = os.path.samestat(st, os.fstat(int(descriptor)))
            except OSError:
                continue
            if is_same:
                raise PermissionError(errno.EACCES, "the file is used by another process", path)


def win32() -> Finder:
    """Return the finder that simulates Windows."""

    def refuse_descriptor(path: Any = ".") -> None:
        if isinstance(path, int):
            raise TypeError("path should be string, bytes, os.PathLike or None, not int")

    def refuse_folder(path: Any, *_: Any, dir_fd: Any = None, **__: Any) -> None:
        refuse_dir_fd(dir_fd=dir_fd)
        if os.path.isdir(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    def rename(source: Any, target: Any, **kwargs: Any) -> None:
        if not os.path.lexists(target):
            refuse_in_use(source, **kwargs)
        # Atomic, as on Windows.
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        if libc.renameat2(AT_FDCWD, os.fsencode(source), AT_FDCWD, os.fsencode(target), RENAME_NOREPLACE):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), source, None, target)

    def refuse_read_only(file: int) -> None:
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    refused = {
        refuse_dir_fd: (os.link, os.mkdir, os.utime, os.access, os.readlink, os.symlink, os.rmdir, os.chmod),
        refuse_in_use: (os.unlink, os.remove, os.replace),
        refuse_folder: (os.open,),
        refuse_descriptor: (os.scandir, os.listdir),
        refuse_read_only: (os.fsync,),
    }
    replaced = {function.__name__: refusing(function, refuse) for refuse, all_ in refused.items() for function in all_}
    replaced |= {function.__name__: windows_stat(function) for function in (os.stat, os.lstat, os.fstat)}
    msvcrt = types.ModuleType("msvcrt")
    msvcrt.__dict__.update(LK_UNLCK=0, LK_NBLCK=2, locking=locking)
    msvcrt.__dict__.update(get_osfhandle=int, open_osfhandle=lambda handle, flags: handle)
    replaced["rename"] = rename
    handles = {"set_handle_inheritable": os.set_inheritable, "O_BINARY": 0, "O_NOINHERIT": 0, "name": "nt"}
    return Finder(
        {
            **dict.fromkeys(("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty")),
            "os": lambda: StandIn(os, WIN32_OS, **replaced, **handles),
            "sys": lambda: StandIn(sys, platform="win32"),
            "signal": lambda: StandIn(signal, WIN32_SIGNAL),
            "mmap": lambda: StandIn(mmap, "MAP_.*|PROT_.*|MADV_.*", mmap=WindowsMemory),
            "select": lambda: StandIn(real("select"), "poll|POLL.*|epoll|EPOLL.*"),
            "subprocess": lambda: StandIn(real("subprocess"), Popen=windows_popen(), STARTUPINFO=StartupInfo),
            "msvcrt": lambda: msvcrt,
            "multiprocessing.connection": lambda: StandIn(
                real("multiprocessing.connection"), PipeConnection=real("multiprocessing.connection").Connection
            ),
        }
    )
