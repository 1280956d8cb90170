"""Tests of the generator of PERFORMANCE.md."""

import json
import pathlib
import tempfile
import unittest
import xml.etree.ElementTree

import chart_gpu
import freshness
import performance
import performance_gpu as gpu
import readme

MACHINE = {"cpuModel": "A & B <CPU>", "coreCount": 2, "operatingSystem": "OS 1"}
LIMITS = {"readBytesPerSecond": 40e9, "fmaFlopsPerSecond": 200e9}
SHAPE = {
    "batch": 1, "kvLength": 8192, "qoHeadCount": 32, "kvHeadCount": 8, "headDimQK": 128,
    "q": "bf16", "kv": "bf16", "cache": "padded", "layout": "NHD",
}


def base(kind, date, cases):
    return {
        "schema": 1, "kind": kind, "date": date, "commit": "0123456789abcdef", "machine": MACHINE,
        "instructionSet": "avx512", "threads": 2, "limits": LIMITS, "cases": cases, "skipped": [],
    }


def compare(date, seconds):
    side = {"medianSeconds": seconds, "bytesPerSecond": 4e7 / seconds, "flopsPerSecond": 1e9}
    peer = side | {"medianSeconds": 8 * seconds, "way": "hnd gqa default"}
    case = {
        "name": "one", "operator": "batchDecode", "shape": SHAPE,
        "work": {"bytes": 40_000_000, "flops": 1000}, "apus": side, "torch": peer, "ratio": 8.0,
        "ratioRange": [7.5, 8.5],
    }
    torch = {"version": "9.9", "threads": 2}
    return base("cpu-compare", date, [case]) | {"isFull": False, "torch": torch, "rounds": 3}


def bench(date, seconds, quick=False):
    case = {
        "name": "two", "operator": "batchDecode", "shape": SHAPE,
        "work": {"bytes": 40_000_000, "flops": 1000}, "time": {"medianSeconds": seconds},
        "bytesPerSecond": 4e7 / seconds, "flopsPerSecond": 1e6,
    }
    return base("apus-bench", date, [case]) | {"suite": "decode", "isQuick": quick}


class PerformanceTests(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.results = self.root / "Benchmarks/Results/cpu"
        self.results.mkdir(parents=True)

    def put(self, name, report):
        (self.results / name).write_text(json.dumps(report))

    def test_no_results_say_how_to_make_them(self):
        files = performance.render(self.root)
        self.assertEqual(list(files), ["PERFORMANCE.md"])
        self.assertIn("No results are stored yet", files["PERFORMANCE.md"])

    def test_the_newest_of_each_kind_is_shown(self):
        self.put("b.json", compare("2026-01-02T00:00:00Z", 0.002))
        self.put("a.json", compare("2026-01-03T00:00:00Z", 0.004))
        page = performance.render(self.root)["PERFORMANCE.md"]
        self.assertIn("4.00 ms", page)
        self.assertNotIn("2.00 ms", page)

    def test_ratio_limit_and_source_stand_in_the_row(self):
        self.put("a.json", compare("2026-01-03T00:00:00Z", 0.002))
        page = performance.render(self.root)["PERFORMANCE.md"]
        # 40 MB at 40 GB/s take 1 ms at least: half of 2 ms.
        self.assertIn("| `one` | 2.00 ms | 20.0 | 1.00 | 50 % | 16.0 ms |", page)
        self.assertIn("**8.0** (7.5–8.5)", page)
        self.assertIn("[Benchmarks/Results/cpu/a.json](Benchmarks/Results/cpu/a.json)", page)
        self.assertIn("`0123456789ab`", page)

    def test_uncommitted_changes_are_admitted(self):
        report = bench("2026-01-03T00:00:00Z", 0.002) | {"commit": "0123456789abcdef-dirty"}
        self.put("a.json", report)
        page = performance.render(self.root)["PERFORMANCE.md"]
        self.assertIn("`0123456789ab with changes`", page)

    def test_the_arithmetic_limit_counts_where_it_is_the_longer(self):
        work = {"bytes": 40, "flops": 150_000_000}
        self.assertAlmostEqual(performance.of_limit(work, 0.002, LIMITS), 0.5)

    def test_pairs_count_where_the_operands_allow_them(self):
        limits = LIMITS | {"dotFlopsPerSecond": 400e9}
        work = {"bytes": 40, "flops": 300_000_000, "usesPairs": True}
        self.assertAlmostEqual(performance.of_limit(work, 0.002, limits), 0.5)
        self.assertAlmostEqual(performance.of_limit(work, 0.002, LIMITS), 1.0)
        report = bench("2026-01-03T00:00:00Z", 0.002) | {"limits": limits}
        self.put("a.json", report)
        page = performance.render(self.root)["PERFORMANCE.md"]
        self.assertIn("bf16 pairs 400 GFLOP/s", page)

    def test_decode_is_a_table_of_types(self):
        self.put("a.json", bench("2026-01-03T00:00:00Z", 0.002))
        page = performance.render(self.root)["PERFORMANCE.md"]
        self.assertIn("| batch 1, kv 8k, heads 32/8, d 128 | 20.0 (50 %) |", page)

    def test_quick_runs_are_no_results(self):
        self.put("a.json", bench("2026-01-03T00:00:00Z", 0.002, quick=True))
        self.assertIn("No results", performance.render(self.root)["PERFORMANCE.md"])

    def test_an_unknown_kind_is_refused(self):
        self.put("a.json", base("mystery", "2026-01-03T00:00:00Z", []))
        with self.assertRaisesRegex(performance.UnknownKind, "found mystery"):
            performance.render(self.root)

    def test_an_unknown_schema_is_refused(self):
        self.put("a.json", bench("2026-01-03T00:00:00Z", 0.002) | {"schema": 2})
        with self.assertRaisesRegex(performance.UnknownKind, "must be 1; found 2"):
            performance.render(self.root)

    def test_the_chart_is_well_formed(self):
        self.put("a.json", compare("2026-01-03T00:00:00Z", 0.002))
        svg = performance.render(self.root)[performance.CHART]
        root = xml.etree.ElementTree.fromstring(svg)
        words = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
        self.assertIn("read bandwidth 40.0", words)
        self.assertTrue(any("A & B <CPU>" in w for w in words))

    def test_stale_files_are_named(self):
        self.put("a.json", compare("2026-01-03T00:00:00Z", 0.002))
        files = performance.render(self.root)
        self.assertEqual(performance.stale(self.root, files), sorted(files))
        for name, text in files.items():
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_text(text)
        self.assertEqual(performance.stale(self.root, files), [])
        (self.root / "PERFORMANCE.md").write_text("edited")
        self.assertEqual(performance.stale(self.root, files), ["PERFORMANCE.md"])
        (self.results / "a.json").unlink()
        self.assertIn(performance.CHART, performance.stale(self.root, performance.render(self.root)))

    def test_figures_of_the_readme_stand_between_its_marks(self):
        self.put("a.json", compare("2026-01-03T00:00:00Z", 0.002))
        page = self.root / readme.PAGE
        page.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
        text = performance.render(self.root)[readme.PAGE]
        self.assertTrue(text.startswith("before\n") and text.endswith("\nafter\n"))
        self.assertNotIn("old", text)
        self.assertIn(performance.CHART, text)
        self.assertIn(
            "| CPU decode, bf16, 1 shape | 50 % of the read bandwidth | 8.0 × PyTorch |", text
        )

    def test_gpu_charts_show_ours_beside_the_peers(self):
        peers = self.root / gpu.PEERS
        peers.parent.mkdir(parents=True)
        rows = [
            {"peer": "triton", "op": "read_only", "tbps": 4.0},
            {"peer": "p", "op": "decode", "tag": "t", "dtype": "q=bf16 kv=bf16", "ms": 1, "tbps": 2.0},
            {"peer": gpu.CUDNN, "op": "prefill", "tag": "t", "dtype": "bf16", "ms": 2, "tflops": 500},
            {"peer": "p", "op": "prefill", "tag": "t", "dtype": "bf16", "ms": 1, "tflops": 1000},
        ]
        peers.write_text("\n".join(json.dumps(row) for row in rows))
        case = {
            "tag": "t", "qType": "bf16", "kvType": "bf16", "bytes": 3e9, "flops": 6e11,
            "graph": {"medianSeconds": 1e-3},
        }
        report = {
            "device": {"name": "G & U", "multiprocessorCount": 1, "cudaVersion": "13.0"},
            "limits": {"readBytesPerSecond": 4e12}, "date": "2026-01-03", "cases": [case],
        }
        bridge = {"cases": [{"name": "t", "graph": {"medianSeconds": 1e-3}}]}
        for svg, circles in (
            (chart_gpu.decode_chart(report, self.root), 2),
            (chart_gpu.prefill_chart(report, bridge, self.root), 0),
        ):
            root = xml.etree.ElementTree.fromstring(svg)
            space = "{http://www.w3.org/2000/svg}"
            self.assertEqual(len(list(root.iter(f"{space}circle"))), circles)
            words = [e.text for e in root.iter(f"{space}text")]
            self.assertTrue(any("G & U" in word for word in words))
        # Half of cuDNN's time then: the peer would need half of its time now too.
        self.assertIn("600", words)
        self.assertIn("1200", words)
        self.assertEqual(chart_gpu.prefill_chart(report, None, self.root), "")

    def put_gpu(self, hashes, tree, capability="9.0"):
        """A GPU result of one case per kernel, and the catalogue of the tree."""
        file = self.root / freshness.HASHES
        file.parent.mkdir(parents=True)
        file.write_text("# ptxas 13.0\n" + "".join(f"{line} 40 0\n" for line in tree))
        cases = [
            {
                "operation": "merge", "tag": f"t_{symbol}", "qType": "bf16", "kvType": "bf16",
                "bytes": 1e9, "kernels": [symbol], "graph": {"medianSeconds": 1e-3},
            } | ({"ptxHashes": [measured]} if measured else {})
            for symbol, measured in hashes.items()
        ]
        device = {
            "name": "G", "multiprocessorCount": 1, "cudaVersion": "13.0", "capability": capability,
        }
        report = base("apus-gpu-bench", "2026-01-03T00:00:00Z", cases)
        self.put("g.json", report | {"suite": "gpu-ops", "device": device, "isQuick": False})
        return performance.render(self.root)["PERFORMANCE.md"]

    def test_cases_of_older_kernels_are_marked_and_listed(self):
        page = self.put_gpu(
            {"same": "aa", "other": "bb", "gone": "cc", "bare": None, "unasked": "?"},
            ["same sm_80 zz", "same sm_90a aa", "other sm_90a b2", "gone sm_80 cc", "bare sm_90a dd",
             "unasked sm_90a ee"],
        )
        self.assertIn("| `merge t_same` bf16 | ", page)
        self.assertIn("| `merge t_other` bf16 † | ", page)
        # A row for another GPU is no row for this one.
        self.assertIn("| `merge t_gone` bf16 † | ", page)
        self.assertIn("| `merge t_bare` bf16 | ", page)
        name = "Benchmarks/Results/cpu/g.json"
        self.assertIn(f"| [{name}]({name}) | 1 | 2 | 2 |", page)
        self.assertIn("- `other`: bb, now b2\n", page)
        self.assertIn("- `gone`: cc, now gone\n", page)
        self.assertNotIn("- `bare`", page)

    def test_a_gpu_beyond_the_targets_runs_any_row(self):
        page = self.put_gpu({"a": "old", "b": "new"}, ["a sm_80 old", "a sm_90a x", "b sm_90a y"], "12.0")
        self.assertIn("| `merge t_a` bf16 | ", page)
        self.assertIn("- `b`: new, now gone\n", page)

    def test_a_row_that_is_in_no_catalogue_is_unknown(self):
        page = self.put_gpu({"custom": "aa"}, ["same sm_90a aa"])
        self.assertIn("g.json) | 0 | 0 | 1 |", page)
        self.assertNotIn(freshness.MARK + " |", page)

    def test_the_readme_says_what_is_older_or_unknown(self):
        page = self.root / readme.PAGE
        page.write_text(f"{readme.BEGIN}\n{readme.END}\n")
        self.put_gpu({"same": "aa", "other": "bb", "bare": None}, ["same sm_90a aa", "other sm_90a cc"])
        self.assertIn(
            "1 GPU shape of 3 was measured with an older kernel; for 1 GPU shape of 3 the kernel's code at "
            "the time is unknown.", performance.render(self.root)[readme.PAGE],
        )
        report = {"cases": [{"kernels": ["same"], "ptxHashes": ["aa"]}], "device": {"capability": "9.0"}}
        self.assertEqual(freshness.sentence([report], freshness.recorded(self.root)), "")

    def test_a_readme_without_marks_is_refused(self):
        (self.root / readme.PAGE).write_text(f"{readme.END}{readme.BEGIN}")
        with self.assertRaisesRegex(readme.MissingMark, "in this order"):
            performance.render(self.root)


if __name__ == "__main__":
    unittest.main()
