"""The figures of README.md, between two comments of it."""

import performance_gpu as gpu

PAGE = "README.md"
BEGIN, END = "<!-- figures:begin -->", "<!-- figures:end -->"


class MissingMark(Exception):
    """README.md without the comments that the figures stand between."""


def replaced(page, figures):
    """The page with new figures between its comments."""
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise MissingMark(f"performance: {PAGE} must hold {BEGIN} and {END} once, in this order.")
    return page[: page.index(BEGIN)] + BEGIN + "\n" + figures + page[page.index(END) :]


def span(values, digits=0, unit=""):
    """Least to greatest, or the one value where they print alike."""
    low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return (low if low == high else f"{low} to {high}") + unit


def cpu_rows(newest):
    """Prefill and decode beside PyTorch in the same run, over all cells of the comparisons."""
    groups = {}
    for key in (("cpu-compare", "default"), ("cpu-compare", "full")):
        if key not in newest:
            continue
        report = newest[key][1]
        limits = report["limits"]
        for case in report["cases"]:
            if "ratio" not in case:
                continue
            work, seconds = case["work"], case["apus"]["medianSeconds"]
            peak = limits["fmaFlopsPerSecond"]
            if work.get("usesPairs"):
                peak = limits.get("dotFlopsPerSecond", peak)
            decode = case["operator"].endswith("Decode")
            name = ("decode" if decode else "prefill", case["shape"]["kv"])
            share = (
                case["apus"]["bytesPerSecond"] / limits["readBytesPerSecond"] if decode
                else case["apus"]["flopsPerSecond"] / peak
            )
            cells = groups.setdefault(name, {})
            cells[case["name"]] = (share, case["ratio"])
    rows = []
    for (work, kind), cells in sorted(groups.items()):
        shares, ratios = zip(*cells.values())
        limit = "the read bandwidth" if work == "decode" else "the arithmetic peak"
        rows.append(
            [
                f"CPU {work}, {kind}, {len(cells)} shape{'' if len(cells) == 1 else 's'}",
                f"{span([share * 100 for share in shares])} % of {limit}",
                f"{span(ratios, 1)} × PyTorch",
            ]
        )
    return rows


def gpu_rows(newest, root):
    """Prefill, decode and cache writes on the GPU beside the best recorded peer."""
    rows = []
    cells, then = gpu.load_peers(root)
    if ("apus-gpu-bench", "gpu-prefill") in newest:
        report = newest[("apus-gpu-bench", "gpu-prefill")][1]
        bridge = newest.get(("gpu-bridge", "prefill"))
        now = {case["name"]: case for case in bridge[1]["cases"]} if bridge else {}
        rates, ratios = [], []
        for case in report["cases"]:
            cudnn = now.get(case["tag"]) if case["qType"] == "bf16" else None
            cell = cells.get(("prefill", case["tag"], case["qType"]), {})
            ratio = gpu.prefill_ratio(case, cudnn, cell)
            if ratio:
                ratios.append(ratio)
            if case.get("burst"):
                rates.append(case["flops"] / gpu.median(case["burst"]) * 1e-12)
        if rates and ratios:
            rows.append(
                [
                    f"{report['device']['name']} prefill, {len(report['cases'])} shapes",
                    f"{span(rates)} TFLOP/s",
                    f"{gpu.geometric_mean(ratios):.2f} × the best peer (mean of {len(ratios)})",
                ]
            )
    if ("apus-gpu-bench", "gpu-decode") in newest:
        report = newest[("apus-gpu-bench", "gpu-decode")][1]
        read = report["limits"].get("readBytesPerSecond")
        ratios, shares = [], []
        for case in report["cases"]:
            ratio = gpu.decode_ratio(case, gpu.decode_peer(case, cells), read, then)
            if ratio:
                ratios.append(ratio)
            seconds = gpu.median(case.get("graph"))
            if seconds and read:
                shares.append(case["bytes"] / seconds / read * 100)
        if ratios:
            rows.append(
                [
                    f"{report['device']['name']} decode, {len(shares)} shapes",
                    f"up to {max(shares):.0f} % of a kernel that only reads",
                    f"{gpu.geometric_mean(ratios):.2f} × the best peer (mean of {len(ratios)}, "
                    f"least {min(ratios):.2f})",
                ]
            )
    return rows


def figures(newest, root, table, charts):
    """Everything between the comments; `charts` are pairs of title and file."""
    rows = cpu_rows(newest) + gpu_rows(newest, root)
    lines = []
    for title, name in charts:
        lines += [f"![{title}]({name})", ""]
    if rows:
        lines += table(["work", "of the limit", "beside others"], rows) + [""]
    return "\n".join(lines)
