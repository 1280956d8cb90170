"""Signatures against those of FlashInfer 0.6.18 and 0.7.2 (signatures.json)."""

import importlib
import inspect
import json
import pathlib

import pytest
import torch

from apus.compat.flashinfer.topk import TopKTieBreak
from apus.compat.flashinfer.utils import MaskMode

RECORDED = json.loads((pathlib.Path(__file__).parent / "signatures.json").read_text())

# Arguments that 0.7.2 moved, so that both orders cannot hold at once: the new one does.
MOVED = {
    "decode.trtllm_batch_decode_with_kv_cache": {"bf16q_fp8kv_transform_mode"},
    "mla.trtllm_batch_decode_with_kv_cache_mla": set(),
}
# Options that reach `run` of a wrapper through keywords.
KEYWORDS = {"attention.BatchAttentionWithAttentionSinkWrapper.run"}


def ours(path):
    module, *names = path.split(".")
    value = importlib.import_module(f"apus.compat.flashinfer.{module}")
    for name in names:
        value = getattr(value, name)
    return inspect.signature(value)


def default(text):
    return eval(text, {"torch": torch, "TopKTieBreak": TopKTieBreak, "MaskMode": MaskMode})


@pytest.mark.parametrize("path", sorted(RECORDED))
def test_names_order_and_defaults_are_recorded_ones(path):
    signature = ours(path)
    parameters = [p for p in signature.parameters.values() if p.name != "self"]
    kinds = inspect.Parameter
    positional = [p for p in parameters if p.kind == kinds.POSITIONAL_OR_KEYWORD]
    by_name = {p.name: p for p in parameters}
    for version, recorded in RECORDED[path].items():
        is_keyword = False
        place = 0
        for entry in recorded:
            name, text = entry if isinstance(entry, list) else (entry, None)
            if name.startswith("**"):
                assert any(p.kind == kinds.VAR_KEYWORD for p in parameters)
                continue
            if name.startswith("*"):
                is_keyword = True
                if name != "*":
                    assert any(p.kind == kinds.VAR_POSITIONAL for p in parameters), (version, name)
                continue
            assert name in by_name, (version, name)
            found = by_name[name]
            if text is None:
                assert found.default is kinds.empty or found.default is None, (version, name)
            else:
                assert found.default is not kinds.empty, (version, name)
                wanted = default(text)
                assert found.default == wanted, (version, name, found.default)
                assert type(found.default) is type(wanted) or isinstance(wanted, (int, float))
            if is_keyword:
                assert found.kind in (kinds.KEYWORD_ONLY, kinds.POSITIONAL_OR_KEYWORD)
                continue
            if name not in MOVED.get(path, ()) or version != "0.6.18":
                assert positional[place].name == name, (version, name, positional[place].name)
            place += 1


def test_no_argument_is_required_that_the_recorded_ones_lack():
    for path, versions in RECORDED.items():
        required = {
            p.name for p in ours(path).parameters.values()
            if p.default is inspect.Parameter.empty
            and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"
        }
        for version, recorded in versions.items():
            names = {entry for entry in recorded if isinstance(entry, str)}
            assert required <= names, (path, version, required - names)


def test_partials_return_the_log_sum_exp():
    import apus.compat.flashinfer as flashinfer

    assert flashinfer.single_prefill_with_kv_cache_return_lse.keywords == {"return_lse": True}
    for name in (
        "BatchDecodeWithPagedKVCacheWrapper", "BatchPrefillWithPagedKVCacheWrapper",
        "BatchPrefillWithRaggedKVCacheWrapper",
    ):
        wrapper = getattr(flashinfer, name)
        assert wrapper.__dict__["run_return_lse"].keywords == {"return_lse": True}
        assert wrapper.begin_forward is wrapper.plan
