"""Makes the wheel one for every Python 3 on this platform: it holds a library, no extension."""

import pathlib

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel

LIBRARY = pathlib.Path(__file__).parent / "apus" / "libapus.so"


class PlatformDistribution(Distribution):
    """A distribution with code of the platform."""

    def has_ext_modules(self) -> bool:
        return True


class AnyPythonWheel(bdist_wheel):
    """The C interface is that of the library, not of Python."""

    def run(self) -> None:
        if not LIBRARY.is_file():
            raise SystemExit(
                f"apus: the library must be built first; found no {LIBRARY}. Run Scripts/wheel.")
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        return ("py3", "none", super().get_tag()[2])


setup(distclass=PlatformDistribution, cmdclass={"bdist_wheel": AnyPythonWheel})
