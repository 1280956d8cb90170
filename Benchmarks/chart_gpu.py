"""GPU charts as SVG text: decode against the read limit, prefill against its peers."""

import math

import performance_gpu as gpu
from chart import GRID, INK, LIMIT, OURS, PEER, WIDTH, bar, text

LEFT, RIGHT, TOP, PLOT_HEIGHT = 70, 30, 78, 380
WIDE_LEFT, ROW = 250, 44


def frame(height, title, under):
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        text(16, 26, title, 16, weight="bold"),
        text(16, 46, under, 12),
    ]


def legend(names):
    """Coloured squares with their names, from the right edge."""
    lines, x = [], WIDTH - 20
    for name, color in reversed(names):
        x -= 9 + 6.6 * len(name)
        lines.append(text(x, 46, name))
        x -= 17
        lines.append(f'<rect x="{x:.1f}" y="36" width="12" height="12" fill="{color}"/>')
        x -= 14
    return lines


def decode_chart(report, root):
    """A point per cell: the rate of reading the cache over that of a kernel that only reads, ours and
    the fastest recorded peer's, each over its own run; an empty text without both."""
    points = [
        (cell.case["bytes"], cell.share, cell.peer_share)
        for cell in gpu.decode_cells(report, root) if cell.ratio
    ]
    if not points:
        return ""
    low = math.floor(math.log10(min(point[0] for point in points)) * 2) / 2
    high = math.ceil(math.log10(max(point[0] for point in points)) * 2) / 2
    top = max(1.1, max(max(point[1:]) for point in points) * 1.03)
    width, bottom = WIDTH - LEFT - RIGHT, TOP + PLOT_HEIGHT

    def place(count, fraction):
        x = LEFT + (math.log10(count) - low) / (high - low) * width
        return x, bottom - fraction / top * PLOT_HEIGHT

    lines = frame(
        bottom + 52, "Decode on the GPU: part of the read limit, by bytes read a call",
        f"{report['device']['name']}, {len(points)} cells of the peers' table, {report['date'][:10]}",
    )
    lines += legend([("Apus", OURS), ("fastest of FlashInfer, FlashAttention-3", PEER)])
    for tenth in range(0, int(top * 10) + 1, 2):
        _, y = place(10**low, tenth / 10)
        color = LIMIT if tenth == 10 else GRID
        lines.append(
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="{color}"/>'
        )
        lines.append(text(LEFT - 8, y + 4, f"{tenth * 10} %", 11, "end"))
    for power in range(math.ceil(low), math.floor(high) + 1):
        x, _ = place(10**power, 0)
        lines.append(
            f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}" stroke="{GRID}"/>'
        )
        name = f"{10 ** (power - 9)} GB" if power >= 9 else f"{10 ** (power - 6)} MB"
        lines.append(text(x, bottom + 18, name, 11, "middle", INK))
    lines.append(text(LEFT + width / 2, bottom + 40, "K and V of all requests", 12, "middle"))
    for index, color in ((2, PEER), (1, OURS)):
        for point in sorted(points):
            x, y = place(point[0], point[index])
            lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.2" fill="{color}" opacity="0.75"/>')
    return "\n".join(lines + ["</svg>"]) + "\n"


def prefill_chart(report, bridge, root):
    """TFLOP/s of bf16 shapes by the peers' method, with cuDNN of the same run and the best recorded
    peer scaled by cuDNN then and now; an empty text without a bridge."""
    rows = []
    for case, cudnn, _, ratio in gpu.prefill_cells(report, bridge, root):
        if ratio:
            ours = case["flops"] / gpu.median(case["graph"]) * 1e-12
            theirs = case["flops"] / gpu.median(cudnn["graph"]) * 1e-12
            rows.append((case["tag"], ours, max(theirs, ours / ratio)))
    if not rows:
        return ""
    plot = WIDTH - WIDE_LEFT - 90
    top = max(max(row[1:]) for row in rows) * 1.02
    lines = frame(
        TOP + ROW * len(rows) + 16, "Dense prefill on the GPU: TFLOP/s, bf16",
        f"{report['device']['name']}, launched from a graph, {report['date'][:10]}",
    )
    lines += legend([("Apus", OURS), ("fastest of cuDNN, FlashAttention-3, FlashInfer", PEER)])
    for index, (name, ours, peer) in enumerate(rows):
        y = TOP + index * ROW
        lines.append(text(WIDE_LEFT - 10, y + 20, name, 12, "end"))
        lines += bar(WIDE_LEFT, y, ours / top * plot, OURS, f"{ours:.0f}")
        lines += bar(WIDE_LEFT, y + 16, peer / top * plot, PEER, f"{peer:.0f}")
    return "\n".join(lines + ["</svg>"]) + "\n"
