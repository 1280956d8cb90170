"""Prints what several versions of ptxas make of the kernels, from reports of `apus kernels resources`."""

import json
import pathlib
import sys


def main(folder, versions):
    reports = {}
    for version in versions:
        text = (pathlib.Path(folder) / f"{version}.json").read_text()
        reports[version] = json.loads(text)["rows"]
    print(f"{'ptxas':<8}{'rows':>6}{'passed':>8}{'skipped':>9}{'failed':>8}  registers")
    failed = 0
    for version, rows in reports.items():
        bad = [row for row in rows if row["problems"]]
        skipped = [row for row in rows if row.get("skipped")]
        registers = [row["registers"] for row in rows if row.get("registers") is not None]
        span = f"{min(registers)}…{max(registers)}" if registers else "–"
        passed = len(rows) - len(bad) - len(skipped)
        print(f"{version:<8}{len(rows):>6}{passed:>8}{len(skipped):>9}{len(bad):>8}  {span}")
        failed += len(bad)
    for version, rows in reports.items():
        for row in rows:
            for problem in row["problems"]:
                print(f"{version} {row['symbol']} {row['target']}: {problem.strip()}")
    by_name = {}
    for version, rows in reports.items():
        for row in rows:
            if row.get("registers") is not None:
                name = f"{row['symbol']} {row['target']}"
                by_name.setdefault(name, {})[version] = row["registers"]
    spread = []
    for name, found in by_name.items():
        if len(set(found.values())) > 1:
            spread.append((max(found.values()) - min(found.values()), name, found))
    spread.sort(key=lambda entry: (-entry[0], entry[1]))
    print(f"{len(by_name) - len(spread)} rows have the same registers in every version that knows them")
    for _, name, found in spread[:20]:
        print(f"  {name}: " + ", ".join(f"{count} in {version}" for version, count in found.items()))
    if len(spread) > 20:
        print(f"  and {len(spread) - 20} more")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
