"""Bar charts as SVG text, without packages."""

from xml.sax.saxutils import escape

WIDTH, ROW, LEFT, RIGHT, TOP = 960, 44, 280, 150, 78
OURS, PEER, LIMIT, INK, GRID = "#1f6feb", "#9a9a9a", "#d1242f", "#1f2328", "#e3e6ea"


def text(x, y, words, size=12, anchor="start", color=INK, weight="normal"):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="{color}" font-weight="{weight}">{escape(words)}</text>'
    )


def bar(x, y, width, color, label):
    return [
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="14" fill="{color}"/>',
        text(x + max(width, 1) + 5, y + 11.5, label, size=11),
    ]


def label(shape):
    length = shape["kvLength"]
    kv = f"{length // 1024}k" if length % 1024 == 0 else str(length)
    heads = f"{shape['qoHeadCount']}/{shape['kvHeadCount']}"
    return f"{shape['kv']}, batch {shape['batch']}, heads {heads}, kv {kv}, d {shape['headDimQK']}"


def decode_chart(report):
    """GB/s of the decode cells of a comparison, Apus above PyTorch, and the read bandwidth as a line;
    an empty text when it has none."""
    cases = [case for case in report["cases"] if case["operator"] == "batchDecode"]
    if not cases:
        return ""
    order = ["f32", "f16", "bf16", "e4m3", "e5m2"]
    cases.sort(key=lambda case: order.index(case["shape"]["kv"]))
    limit = report["limits"]["readBytesPerSecond"] / 1e9
    rates = [side["bytesPerSecond"] / 1e9 for c in cases for side in (c["apus"], c.get("torch")) if side]
    greatest = max(rates + [limit]) * 1.02
    plot = WIDTH - LEFT - RIGHT
    height = TOP + ROW * len(cases) + 34
    bottom = TOP + ROW * len(cases)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        text(16, 26, "Decode on the CPU: bytes of cache read per second", 16, weight="bold"),
        text(16, 46, f"{report['machine']['cpuModel']}, {report['instructionSet']}, "
             f"{report['threads']} threads, {report['date'][:10]}", 12),
        f'<rect x="{WIDTH - 300}" y="36" width="12" height="12" fill="{OURS}"/>',
        text(WIDTH - 283, 46, "Apus"),
        f'<rect x="{WIDTH - 240}" y="36" width="12" height="12" fill="{PEER}"/>',
        text(WIDTH - 223, 46, f"PyTorch {report['torch']['version'].split('+')[0]}"),
    ]
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 1e9) if greatest / s <= 8)
    for tick in range(int(greatest / step) + 1):
        x = LEFT + tick * step / greatest * plot
        lines.append(
            f'<line x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}" stroke="{GRID}"/>'
        )
        lines.append(text(x, bottom + 18, f"{tick * step:g}", 11, "middle"))
    lines.append(text(LEFT + plot + 12, bottom + 18, "GB/s", 11))
    for index, case in enumerate(cases):
        y = TOP + index * ROW + 6
        lines.append(text(LEFT - 10, y + 20, label(case["shape"]), 12, "end"))
        rate = case["apus"]["bytesPerSecond"] / 1e9
        lines += bar(LEFT, y, rate / greatest * plot, OURS, f"{rate:.1f}")
        if "torch" in case:
            rate = case["torch"]["bytesPerSecond"] / 1e9
            ratio = f"{rate:.1f} ({case['ratio']:.1f} times slower)"
            if case["ratio"] < 1:
                ratio = f"{rate:.1f} ({1 / case['ratio']:.1f} times faster)"
            lines += bar(LEFT, y + 16, rate / greatest * plot, PEER, ratio)
    x = LEFT + limit / greatest * plot
    lines.append(
        f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{bottom}" stroke="{LIMIT}" '
        'stroke-dasharray="5 3"/>'
    )
    lines.append(text(x, TOP - 10, f"read bandwidth {limit:.1f}", 11, "end", LIMIT))
    return "\n".join(lines + ["</svg>"]) + "\n"
