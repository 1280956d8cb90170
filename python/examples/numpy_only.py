"""Attention with NumPy alone: a paged KV cache, an append, a decode step, and a prefill.

    python numpy_only.py
"""

import numpy as np

import apus

HEADS, KV_HEADS, DIM, PAGE = 8, 2, 64, 16
# f32 sums of this many products may be this far from float64.
EPS = float(np.finfo(np.float32).eps)


def softmax_attention(q, k, v):
    """One query row of all heads, in float64: q (heads, dim), k and v (tokens, kv_heads, dim)."""
    k, v = (np.repeat(x.astype(np.float64), HEADS // KV_HEADS, axis=1) for x in (k, v))
    scores = np.einsum("hd,thd->ht", q.astype(np.float64), k) / np.sqrt(DIM)
    weights = np.exp(scores - scores.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    return np.einsum("ht,thd->hd", weights, v)


def main() -> None:
    random = np.random.default_rng(0)
    normal = lambda *shape: random.standard_normal(shape, dtype=np.float32)  # noqa: E731

    # Three requests of different lengths share 12 pages; the table says whose is which.
    lengths = np.array([37, 5, 60])
    table = np.array([[3, 7, 1, 0], [11, 0, 0, 0], [2, 9, 4, 6]], dtype=np.int32)
    k_cache, v_cache = normal(12, PAGE, KV_HEADS, DIM), normal(12, PAGE, KV_HEADS, DIM)

    # One new token each goes to the end of its request.
    keys, values = normal(3, KV_HEADS, DIM), normal(3, KV_HEADS, DIM)
    apus.append(
        keys, values, k=k_cache, v=v_cache, page_size=PAGE, block_table=table,
        kv_lengths=lengths + 1, batch_indices=np.arange(3, dtype=np.int32), positions=lengths)
    lengths = lengths + 1

    # A plan depends on lengths and tables alone; every layer of a model runs the same one.
    plan = apus.AttentionPlan(
        apus.backend("cpu"), qo_head_count=HEADS, kv_head_count=KV_HEADS, head_dim_qk=DIM,
        q_type="f32", qo_indptr=np.arange(4), page_size=PAGE, block_table=table,
        kv_lengths=lengths)
    print(plan.describe())
    q = normal(3, HEADS, DIM)
    out, lse = plan.run(q, k=k_cache, v=v_cache, lse=True)

    for r, length in enumerate(lengths):
        k, v = (x[table[r]].reshape(-1, KV_HEADS, DIM)[:length] for x in (k_cache, v_cache))
        error = np.abs(out[r] - softmax_attention(q[r], k, v)).max()
        print(f"request {r}: {length} keys, greatest error {error:.1e}, lse {lse[r, 0]:.3f}")
        assert error < EPS * (DIM + length)

    # Prefill of a prompt, causal, over keys that lie one after the other.
    prompt = 20
    q, k, v = (normal(prompt, heads, DIM) for heads in (HEADS, KV_HEADS, KV_HEADS))
    plan = apus.AttentionPlan(
        apus.backend("cpu"), qo_head_count=HEADS, kv_head_count=KV_HEADS, head_dim_qk=DIM,
        q_type="f32", qo_indptr=[0, prompt], kv_indptr=[0, prompt], causal=True)
    out = plan.run(q, k=k, v=v)
    errors = [
        np.abs(out[i] - softmax_attention(q[i], k[: i + 1], v[: i + 1])).max()
        for i in range(prompt)]
    print(f"prefill of {prompt} tokens: greatest error {max(errors):.1e}")
    assert max(errors) < EPS * (DIM + prompt)


if __name__ == "__main__":
    main()
