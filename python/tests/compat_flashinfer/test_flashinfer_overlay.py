"""The overlay into an installed FlashInfer, made here of a few modules."""

import importlib
import sys
import types

import pytest
import torch
from flashinfer_reference import Batch, Options

import apus.compat.flashinfer as apus_flashinfer

FILES = {
    "__init__.py": """
from .decode import single_decode_with_kv_cache, BatchDecodeWithPagedKVCacheWrapper
from .cascade import merge_state
from .gemm import mm_fp8
from .norm import rmsnorm
from .quantization import packbits
__version__ = "0.7.2"
""",
    "decode.py": """
def single_decode_with_kv_cache(*args): return "real"
class BatchDecodeWithPagedKVCacheWrapper:
    kind = "real"
class BatchDecodeMlaWithPagedKVCacheWrapper:
    kind = "real"
def get_batch_decode_module(): return "real"
""",
    "cascade.py": """
from .decode import BatchDecodeWithPagedKVCacheWrapper
def merge_state(*args): return "real"
""",
    "gemm.py": "def mm_fp8(*args): return 'real'",
    "norm.py": "def rmsnorm(*args): return 'real'",
    "quantization/__init__.py": "from .packbits import packbits",
    "quantization/packbits.py": "def packbits(*args): return 'real'",
}


@pytest.fixture
def real(tmp_path, monkeypatch):
    for name, text in FILES.items():
        path = tmp_path / "flashinfer" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    before = {k: v for k, v in sys.modules.items() if k.split(".")[0] == "flashinfer"}
    for name in before:
        del sys.modules[name]
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield lambda: importlib.import_module("flashinfer")
    apus_flashinfer.uninstall()
    for name in [k for k in sys.modules if k.split(".")[0] == "flashinfer"]:
        del sys.modules[name]
    sys.modules.update(before)


def test_attention_and_caches_are_replaced_and_the_rest_is_not(real):
    package = real()
    names = apus_flashinfer.install()
    assert names == [
        "BatchDecodeWithPagedKVCacheWrapper", "merge_state", "packbits",
        "single_decode_with_kv_cache",
    ]
    ours = apus_flashinfer.BatchDecodeWithPagedKVCacheWrapper
    assert package.BatchDecodeWithPagedKVCacheWrapper is ours
    assert package.decode.BatchDecodeWithPagedKVCacheWrapper is ours
    assert package.cascade.BatchDecodeWithPagedKVCacheWrapper is ours
    assert package.quantization.packbits is sys.modules["flashinfer.quantization"].packbits
    assert package.decode.BatchDecodeMlaWithPagedKVCacheWrapper.kind == "real"
    assert package.mm_fp8() == package.rmsnorm() == "real"
    assert package.decode.get_batch_decode_module() == "real"
    batch = Batch([1], [9])
    result = package.single_decode_with_kv_cache(batch.q[0], batch.k, batch.v)
    batch.check(result.unsqueeze(0), Options())
    assert package.packbits(torch.ones(3, dtype=torch.bool)).tolist() == [0xE0]


def test_it_can_be_undone_and_done_twice(real):
    package = real()
    before = package.decode.BatchDecodeWithPagedKVCacheWrapper
    first = apus_flashinfer.install()
    assert apus_flashinfer.install() == first
    apus_flashinfer.uninstall()
    assert package.BatchDecodeWithPagedKVCacheWrapper is before
    assert package.cascade.BatchDecodeWithPagedKVCacheWrapper is before
    assert package.single_decode_with_kv_cache() == package.packbits() == "real"
    apus_flashinfer.uninstall()
    assert apus_flashinfer.install() == first


def test_it_imports_the_package_itself(real):
    assert apus_flashinfer.install()
    assert sys.modules["flashinfer"].merge_state is apus_flashinfer.merge_state


def test_without_flashinfer_there_is_nothing_to_overlay(monkeypatch):
    for name in [k for k in sys.modules if k.split(".")[0] == "flashinfer"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "flashinfer", None)
    with pytest.raises(ImportError, match="flashinfer must be installed"):
        apus_flashinfer.install()


def test_apus_under_the_name_of_flashinfer_stays_as_it_is(monkeypatch):
    monkeypatch.setitem(sys.modules, "flashinfer", apus_flashinfer)
    assert apus_flashinfer.install() == []
    alias = types.ModuleType("flashinfer")
    alias.install = apus_flashinfer.install
    monkeypatch.setitem(sys.modules, "flashinfer", alias)
    assert apus_flashinfer.install() == []
