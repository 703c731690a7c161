"""How the two extension modules are compiled. All other metadata is in pyproject.toml."""

from __future__ import annotations

import glob
import os
import sysconfig

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# A free-threaded CPython has no limited API: there each version has a binary of its own, and brings the GIL back.
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
# One binary for CPython 3.10 and later.
API = ("SS_WHOLE_API", "1") if FREE_THREADED else ("Py_LIMITED_API", "0x030A0000")
# No -march: a wheel must run on any machine of its architecture.
COMPILE = ["-std=c11", "-O3", "-pthread", "-fvisibility=hidden"]
HARDEN = ["-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"]
LINK = ["-pthread", "-Wl,-z,relro", "-Wl,-z,now"]
STRICT = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow"]


def sanitizer_flags() -> list[str]:
    """Return the flags for STREAMSTORE_SANITIZE, such as "address,undefined"; none where it is not set."""
    names = os.environ.get("STREAMSTORE_SANITIZE", "")
    return [f"-fsanitize={names}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g"] if names else []


def counting() -> bool:
    """Whether this build is to count which branches are taken (tests/branches), instead of being fast."""
    return os.environ.get("STREAMSTORE_COVERAGE") == "1"


# Without assertions, whose failing branch no test can take; with the kill points, which C tests of these objects name.
COUNT = ["-O0", "-g", "--coverage", "-U_FORTIFY_SOURCE", "-DNDEBUG", "-DSS_KILLPOINTS", "-DSS_COUNTED", "-w"]


def warning_flags(source: str) -> list[str]:
    """Hold the C that people write here to every warning, and what cffi generated to none."""
    if not os.path.relpath(source).startswith("csrc" + os.sep):
        return []
    return [*STRICT, "-Werror"] if os.environ.get("STREAMSTORE_WERROR") == "1" else STRICT


def system_includes(arguments: list[str]) -> list[str]:
    """Turn CPython's include directories into system ones: their inline functions are not ours to warn about."""
    paths = {sysconfig.get_path("include"), sysconfig.get_path("platinclude")}
    return ["-isystem" + each[2:] if each[2:] in paths else each for each in arguments]


class BuildExtensions(build_ext):
    """Give both modules the same flags, and our own sources the warnings."""

    def build_extension(self, ext: Extension) -> None:
        ext.define_macros = [*ext.define_macros, API]
        ext.undef_macros = [*ext.undef_macros, "NDEBUG"]  # asserts are for our own mistakes, and stay on
        ext.extra_compile_args = [*ext.extra_compile_args, *COMPILE, *HARDEN, *sanitizer_flags()]
        ext.extra_link_args = [*ext.extra_link_args, *LINK, *sanitizer_flags()]
        if counting():
            ext.sources = [*ext.sources, "tests/c/counts_dump.c"]
            ext.extra_compile_args += COUNT
            ext.extra_link_args += ["--coverage"]
        compile_one = self.compiler._compile

        def compile_by_owner(obj, source, suffix, arguments, extra, macros):  # type: ignore[no-untyped-def]
            extra = [*extra, *warning_flags(source)]
            compile_one(obj, source, suffix, system_includes(arguments), extra, macros)

        self.compiler._compile = compile_by_owner
        try:
            super().build_extension(ext)
        finally:
            self.compiler._compile = compile_one


setup(
    cffi_modules=["csrc/build_core.py:ffibuilder"],
    ext_modules=[
        Extension(
            "streamstore._hot",
            sources=sorted(glob.glob("csrc/python/*.c")),
            depends=sorted(glob.glob("csrc/*.h") + glob.glob("csrc/python/*.h")),
            include_dirs=["csrc"],
            py_limited_api=not FREE_THREADED,
        )
    ],
    cmdclass={"build_ext": BuildExtensions},
    options={} if FREE_THREADED else {"bdist_wheel": {"py_limited_api": "cp310"}},
)
