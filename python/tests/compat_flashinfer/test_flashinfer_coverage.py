"""The list of names in Documentation/Python-FlashInfer.md against the package."""

import importlib
import json
import pathlib
import re

import pytest

import apus.compat.flashinfer as flashinfer
from apus.compat.flashinfer import _unavailable

DOCUMENT = pathlib.Path(__file__).parents[3] / "Documentation" / "Python-FlashInfer.md"
RECORDED = json.loads((pathlib.Path(__file__).parent / "signatures.json").read_text())


def documented(heading):
    """Names in code spans of the table rows under a heading."""
    text = DOCUMENT.read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    return [re.findall(r"`([A-Za-z_0-9]+)`", row.split("|")[1]) for row in rows], rows


def test_the_table_of_what_runs_is_what_there_is():
    names = {name for row in documented("What runs")[0] for name in row}
    assert names == set(flashinfer.__all__)
    for name in names:
        assert not isinstance(getattr(flashinfer, name), _unavailable.Unavailable)


def test_the_table_of_what_does_not_is_that_of_the_package():
    names, rows = documented("What does not")
    assert {name for row in names for name in row} == set(_unavailable.PLANS)
    for row, text in zip(names, rows):
        assert len({_unavailable.PLANS[name] for name in row}) == 1, text


def test_recorded_names_are_there():
    for path in RECORDED:
        name = path.split(".")[1]
        module = importlib.import_module(f"apus.compat.flashinfer.{path.split('.')[0]}")
        assert hasattr(module, name)
        assert hasattr(flashinfer, name), name


@pytest.mark.parametrize("name", sorted(_unavailable.PLANS))
def test_names_without_an_implementation_import_and_say_why(name):
    value = getattr(flashinfer, name)
    for use in (lambda: value(1, out=2), lambda: value.attribute):
        with pytest.raises(NotImplementedError) as raised:
            use()
        assert str(raised.value).startswith(f"flashinfer.{name}: ")
        assert _unavailable.PLANS[name] in str(raised.value)
    assert name in repr(value)


def test_modules_have_the_names_of_their_groups():
    for module, _, names in _unavailable.GROUPS:
        home = {
            "fused_norm": "norm", "selection": "topk", "architectures": "prefill",
            "nvfp4_cache": "page", "ranges": "attention", "tracing": None,
            "trtllm_low_latency_gemm": "gemm",
        }.get(module, module)
        if home is None:
            continue
        found = importlib.import_module(f"apus.compat.flashinfer.{home}")
        for name in names.split():
            assert getattr(found, name) is getattr(flashinfer, name)
        with pytest.raises(AttributeError, match="no_such_name"):
            getattr(found, "no_such_name")


def test_other_names_do_not_exist():
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(flashinfer, "no_such_name")
    with pytest.raises(ImportError):
        from apus.compat.flashinfer import no_such_name  # noqa: F401


def test_tuning_is_nothing():
    with flashinfer.autotune(True):
        pass
    assert flashinfer.__version__.startswith("0.7.2")
