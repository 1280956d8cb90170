"""The example scripts run to their end and say what they should."""

import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [name])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out


def test_numpy_only(monkeypatch, capsys):
    pytest.importorskip("numpy", reason="numpy is not installed")
    printed = run("numpy_only.py", monkeypatch, capsys)
    assert printed.count("greatest error") == 4


def test_flashinfer_users(monkeypatch, capsys):
    pytest.importorskip("torch", reason="torch is not installed")
    printed = run("flashinfer_users.py", monkeypatch, capsys)
    assert "padded decode: (16, 32, 128) torch.float16" in printed
    assert "paged decode: (3, 32, 128) torch.bfloat16" in printed


def test_flash_mla_users(monkeypatch, capsys):
    pytest.importorskip("torch", reason="torch is not installed")
    printed = run("flash_mla_users.py", monkeypatch, capsys)
    assert "layer 1: out (4, 2, 16, 512) torch.bfloat16, lse (4, 16, 2)" in printed


def test_transformers_generate(monkeypatch, capsys):
    pytest.importorskip("transformers", reason="transformers is not installed")
    printed = run("transformers_generate.py", monkeypatch, capsys)
    assert "32 tokens in" in printed


def test_every_example_is_tested():
    source = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert f'run("{path.name}"' in source
