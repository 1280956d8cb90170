"""Whether GPU figures were measured with the kernels of this tree.

A result names the kernels of each case and the first digits of the SHA-256 of their PTX. The tree's
are in Tests/ApusKernelsTests/Golden/hashes.txt, which tests hold to what the kernels print. A kernel is
- current: its code is that of the tree,
- older: it has changed since, or the catalogue no longer has it on the result's GPU,
- unknown: the result has no hash, or the kernel is no row of the catalogue.
"""

from collections import namedtuple

HASHES = "Tests/ApusKernelsTests/Golden/hashes.txt"
TARGETS = {"8.0": "sm_80", "8.6": "sm_86", "8.9": "sm_89", "9.0": "sm_90a"}
CURRENT, OLDER, UNKNOWN = "current", "older", "unknown"
MARK = "†"

Kernel = namedtuple("Kernel", "state measured now")


def recorded(root):
    """{symbol: {target: hash}} of the tree's catalogue."""
    rows, path = {}, root / HASHES
    if not path.exists():
        return rows
    for line in path.read_text().splitlines():
        words = line.split()
        if len(words) == 5 and not line.startswith("#"):
            rows.setdefault(words[0], {})[words[1]] = words[2]
    return rows


def kernel(symbol, measured, target, rows):
    """One kernel of a result; `measured` is its hash or None."""
    hashes = rows.get(symbol)
    if not measured or measured == "?" or not hashes:
        return Kernel(UNKNOWN, measured, None)
    # GPUs newer than the newest target run the newest code that is for them: any row will do.
    known = {hashes.get(target)} if target else set(hashes.values())
    if measured in known:
        return Kernel(CURRENT, measured, measured)
    return Kernel(OLDER, measured, hashes.get(target) if target else None)


def case_kernels(case, report, rows):
    """{symbol: Kernel} of one case."""
    target = TARGETS.get(str(report["device"].get("capability")))
    symbols, hashes = case.get("kernels") or [], case.get("ptxHashes") or []
    pairs = zip(symbols, hashes + [None] * (len(symbols) - len(hashes)))
    return {symbol: kernel(symbol, measured, target, rows) for symbol, measured in pairs}


def case_state(case, report, rows):
    """The state of a case: older if one of its kernels is, else unknown if one is."""
    states = [entry.state for entry in case_kernels(case, report, rows).values()]
    return next((state for state in (OLDER, UNKNOWN) if state in states), CURRENT if states else UNKNOWN)


def mark(case, report, rows):
    """What stands behind the name of a case: a mark where a kernel of it has changed."""
    return f" {MARK}" if case_state(case, report, rows) == OLDER else ""


def kernels(report, rows):
    """{symbol: Kernel} of all cases; where one was measured with several codes, the worst counts."""
    order, found = (CURRENT, UNKNOWN, OLDER), {}
    for case in report["cases"]:
        for symbol, entry in case_kernels(case, report, rows).items():
            if symbol not in found or order.index(entry.state) > order.index(found[symbol].state):
                found[symbol] = entry
    return found


def counted(count, noun):
    return f"{count} {noun}{'' if count == 1 else 's'}"


def sentence(reports, rows):
    """What a page must say beside figures of these results; empty where all are current."""
    states = [case_state(case, report, rows) for report in reports for case in report["cases"]]
    older, unknown = states.count(OLDER), states.count(UNKNOWN)
    parts = []
    if older:
        parts.append(
            f"{counted(older, 'GPU shape')} of {len(states)} "
            f"{'was' if older == 1 else 'were'} measured with an older kernel"
        )
    if unknown:
        parts.append(
            f"for {counted(unknown, 'GPU shape')} of {len(states)} the kernel's code at the time is unknown"
        )
    text = "; ".join(parts)
    return text[:1].upper() + text[1:] + "." if text else ""


def section(results, root, table):
    """File by file how the kernels stand, and each older one; `results` are pairs of path and report."""
    rows, body, lists = recorded(root), [], []
    for path, report in results:
        name = path.relative_to(root).as_posix()
        found = kernels(report, rows)
        states = [entry.state for entry in found.values()]
        body.append([f"[{name}]({name})", *(str(states.count(s)) for s in (CURRENT, OLDER, UNKNOWN))])
        older = sorted((symbol, entry) for symbol, entry in found.items() if entry.state == OLDER)
        if older:
            lists += [f"Older in {name}:", ""]
            lists += [f"- `{symbol}`: {entry.measured}, now {entry.now or 'gone'}" for symbol, entry in older]
            lists += [""]
    if not body:
        return []
    lines = [
        "## Kernels behind the GPU figures", "",
        f"Each result names the code of its kernels by hash. *current* kernels are those of `{HASHES}`; "
        f"*older* ones have changed since, and {MARK} marks their cases above; of *unknown* ones the result has "
        "no hash or the catalogue no row.", "",
    ]
    return lines + table(["file", CURRENT, OLDER, UNKNOWN], body) + [""] + lists
