"""The figures of README.md, between two comments of it."""

import freshness
import performance_gpu as gpu
import roofline

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
            work = case["work"]
            decode = case["operator"].endswith("Decode")
            name = ("decode" if decode else "prefill", case["shape"]["kv"])
            share = (
                case["apus"]["bytesPerSecond"] / limits["readBytesPerSecond"] if decode
                else case["apus"]["flopsPerSecond"] / roofline.peak(work, limits)
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
    if ("apus-gpu-bench", "gpu-prefill") in newest:
        report = newest[("apus-gpu-bench", "gpu-prefill")][1]
        bridge = newest.get(("gpu-bridge", "prefill"), (None, None))[1]
        cells = list(gpu.prefill_cells(report, bridge, root))
        ratios = [cell.ratio for cell in cells if cell.ratio]
        rates = [
            cell.case["flops"] / gpu.median(cell.case["burst"]) * 1e-12
            for cell in cells if cell.case.get("burst")
        ]
        if rates and ratios:
            rows.append(
                [
                    f"{report['device']['name']} prefill, {len(cells)} shapes",
                    f"{span(rates)} TFLOP/s",
                    f"{gpu.geometric_mean(ratios):.2f} × the best peer (mean of {len(ratios)})",
                ]
            )
    if ("apus-gpu-bench", "gpu-decode") in newest:
        report = newest[("apus-gpu-bench", "gpu-decode")][1]
        cells = list(gpu.decode_cells(report, root))
        ratios = [cell.ratio for cell in cells if cell.ratio]
        shares = [cell.share for cell in cells if cell.share]
        if ratios:
            rows.append(
                [
                    f"{report['device']['name']} decode, {len(shares)} shapes",
                    f"up to {max(shares) * 100:.0f} % of a kernel that only reads",
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
    # Figures of kernels that have changed are no claim about this tree unless the page says so.
    reports = [report for _, report in gpu.results(newest)]
    note = freshness.sentence(reports, freshness.recorded(root))
    if note:
        lines += [f"{note} [PERFORMANCE.md](PERFORMANCE.md#kernels-behind-the-gpu-figures) counts them by file.", ""]
    return "\n".join(lines)
