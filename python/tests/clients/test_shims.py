"""Top-level names of other libraries: unmodified programs run on Apus."""

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest
import torch

SHIMS = Path(__file__).parents[2] / "shims"
NAMES = ("flashinfer", "flash_mla", "flash_mla_cuda", "flash_attn", "flash_attn_interface")
TARGETS = {
    "flashinfer": "apus.compat.flashinfer", "flash_mla": "apus.compat.flash_mla",
    "flash_mla_cuda": "apus.compat.flash_mla.cuda", "flash_attn": "apus.compat.flash_attn",
    "flash_attn_interface": "apus.compat.flash_attn.hopper"}


def forget():
    for name in list(sys.modules):
        if name.split(".")[0] in (*NAMES, "apus_shims"):
            del sys.modules[name]
    sys.meta_path[:] = [
        finder for finder in sys.meta_path if not type(finder).__module__.startswith("apus_shims")]


@pytest.fixture
def shims(monkeypatch):
    forget()
    monkeypatch.syspath_prepend(str(SHIMS))
    yield
    forget()


@pytest.mark.parametrize("name", NAMES)
def test_names_are_aliases(shims, name):
    module, target = importlib.import_module(name), importlib.import_module(TARGETS[name])
    assert Path(module.__file__).is_relative_to(SHIMS)
    for attribute in getattr(target, "__all__", []):
        assert getattr(module, attribute) is getattr(target, attribute)
    if hasattr(target, "__version__"):
        assert module.__version__ == target.__version__
        assert module.__version__.endswith("+apus")
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nothing'"):
        getattr(module, "nothing")  # noqa: B009


def test_submodules_are_the_same_modules(shims):
    import flash_attn.bert_padding
    import flash_mla.cuda
    import flash_mla_cuda
    from flash_attn.flash_attn_interface import flash_attn_func
    from flash_attn.layers.rotary import apply_rotary_emb
    from flash_attn.ops.triton.rotary import apply_rotary

    from apus.compat.flash_attn import bert_padding as original

    assert flash_attn.bert_padding is original
    assert original.__spec__.name == original.__name__ == "apus.compat.flash_attn.bert_padding"
    assert flash_mla_cuda.fwd_kvcache_mla is flash_mla.cuda.fwd_kvcache_mla
    assert flash_attn.flash_attn_func is flash_attn_func
    assert callable(apply_rotary_emb) and callable(apply_rotary)
    assert importlib.util.find_spec("flash_attn.bert_padding") is not None
    assert importlib.util.find_spec("flash_attn.nothing") is None
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("flash_attn.cute")


def test_names_belong_to_nobody_without_the_shims():
    forget()
    for name in NAMES:
        found = importlib.util.find_spec(name)
        assert found is None or not Path(found.origin).is_relative_to(SHIMS.parent)


FLASHINFER = """
import flashinfer
q = torch.empty(16, 32, 128, device="cpu", dtype=torch.float16).normal_()
k_padded = torch.randn(16, 1024, 32, 128, device="cpu").to(torch.float8_e4m3fn); v_padded = torch.randn(16, 1024, 32, 128, device="cpu").to(torch.float8_e4m3fn)
output = flashinfer.batch_decode_with_padded_kv_cache(q, k_padded, v_padded, "NHD", "NONE")
"""  # noqa: E501

FLASH_MLA = """
from flash_mla import get_mla_metadata, flash_mla_with_kvcache
tile_scheduler_metadata, num_splits = get_mla_metadata(cache_seqlens, s_q * h_q // h_kv, h_kv)
for i in range(num_layers):
    o_i, lse_i = flash_mla_with_kvcache(q_i, kvcache_i, block_table, cache_seqlens, dv,
    tile_scheduler_metadata, num_splits, causal=True)
"""  # noqa: E501


def test_a_program_written_for_flashinfer(shims):
    if importlib.util.find_spec("apus.compat.flashinfer") is None:
        pytest.skip("apus.compat.flashinfer is missing")
    from flash_cases import agree
    from flash_plugin import DEVICE

    names = {"torch": torch}
    exec(FLASHINFER.replace('"cpu"', repr(DEVICE)), names)

    q, output = names["q"], names["output"]
    assert output.shape == q.shape and output.dtype == torch.float16
    for r in (0, 15):
        agree(
            output[r][None], None, q[r][None], names["k_padded"][r].float(),
            names["v_padded"][r].float())


def test_a_program_written_for_flash_mla(shims):
    from flash_cases import agree

    b, s_q, h_q, h_kv, d, dv = 4, 2, 16, 1, 576, 512
    lengths = torch.tensor([100, 1, 64, 130], dtype=torch.int32)
    names = dict(
        cache_seqlens=lengths, s_q=s_q, h_q=h_q, h_kv=h_kv, dv=dv, num_layers=2,
        q_i=(torch.randn(b, s_q, h_q, d) / 10).bfloat16(),
        kvcache_i=(torch.randn(14, 64, h_kv, d) / 10).bfloat16(),
        block_table=torch.randperm(14)[:12].view(4, 3).int())
    exec(FLASH_MLA, names)
    assert names["o_i"].shape == (b, s_q, h_q, dv) and names["lse_i"].shape == (b, h_q, s_q)
    for r, length in enumerate(lengths.tolist()):
        rows = names["kvcache_i"][names["block_table"][r].long()].flatten(0, 1)[:length]
        agree(
            names["o_i"][r], names["lse_i"][r], names["q_i"][r], rows, rows[..., :dv],
            causal=True)
