"""Builds the module `pyblur` from pyblur.pyx: python setup.py build_ext --inplace."""

from pathlib import Path

import build_core
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

import convc


class BuildExtension(build_ext):
    """Compiles the core first and links it into the module."""

    def build_extension(self, extension: Extension) -> None:
        folder = Path(self.build_temp, "convc")
        folder.mkdir(parents=True, exist_ok=True)
        extension.extra_objects = build_core.compile_core(folder)
        super().build_extension(extension)


pyblur = Extension("pyblur", ["pyblur.pyx"], include_dirs=[convc.get_include()], extra_link_args=build_core.LINK)
# include_path is where Cython finds convc/capi.pxd.
modules = cythonize([pyblur], include_path=[str(Path(convc.__file__).parents[1])], build_dir="build")
setup(name="pyblur", ext_modules=modules, py_modules=[], cmdclass={"build_ext": BuildExtension})
