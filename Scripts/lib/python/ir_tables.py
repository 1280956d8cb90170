"""Writes the generated tables of Documentation/IR.md from the documentation in the sources."""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
DOCUMENT = ROOT / "Documentation/IR.md"
IR = ROOT / "Sources/ApusIR"


def sentence(lines):
    """The first sentence of a doc comment that is no signature."""
    if "" in lines:
        lines = lines[:lines.index("")]
    text = " ".join(lines).strip()
    while True:
        match = re.match(r"(.+?\.)( (?=[^a-z])|$)", text)
        if not match:
            return text
        first, rest = match.group(1), text[match.end():]
        # What follows a signature says which operands come after it.
        if first.startswith("PTX §"):
            return f"See {first.rstrip('.')}."
        if not rest or not re.match(r"then |;|,|regions |one region ", first):
            return first
        text = rest


def cell(text):
    return text.replace("|", "\\|")


def documented(source, pattern, indent):
    """Pairs of a declaration that matches the pattern at an indentation, and its doc comment."""
    comment = []
    for line in source.splitlines():
        stripped = line.strip()
        if stripped.startswith("///"):
            comment.append(stripped[3:].strip())
            continue
        if line.startswith(" " * indent) and not line.startswith(" " * (indent + 1)):
            match = re.match(pattern, stripped)
            if match:
                yield match, comment
        comment = []


def enum_body(source, name):
    """The lines of `public enum NAME` within an extension."""
    start = re.search(rf"^  public enum {name}\b.*\{{$", source, re.M)
    end = re.search(r"^  \}$", source[start.end():], re.M)
    return source[start.end():start.end() + end.start()]


def ops():
    lines = []
    groups = (IR / "Operations/Op.swift").read_text()
    for match, comment in documented(groups, r"case (\w+)\((\w+)\)", 2):
        group = match.group(2)
        lines += [f"### {' '.join(comment).rstrip('.')}", "", "| op | operands → results | meaning |", "| --- | --- | --- |"]
        files = sorted((IR / "Operations").glob("*.swift"))
        body = next(
            enum_body(file.read_text(), group)
            for file in files
            if re.search(rf"^  public enum {group}\b", file.read_text(), re.M))
        for case, words in documented(body, r"case `?(\w+)`?", 4):
            text = " ".join(words)
            signatures = []
            while True:
                signature = re.match(r"(`\([^`]*`|`[^`]*→[^`]*`)(, | or |\. |\.$|: )?", text)
                if not signature:
                    break
                signatures.append(signature.group(1))
                text = text[signature.end():]
            lines.append(
                f"| `{case.group(1)}` | {cell(', '.join(signatures)) or '–'} | {cell(sentence([text]))} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def rules():
    source = (IR / "Verifier/Diagnostic.swift").read_text()
    lines = ["| rule | what must hold | checked by |", "| --- | --- | --- |"]
    for file in sorted((IR / "Verifier").glob("*Rule.swift")):
        text = file.read_text()
        name = re.search(r"static let rule = Diagnostic\.Rule\.(\w+)", text).group(1)
        for _, comment in documented(text, r"(?:enum|struct) (\w+Rule)\b", 0):
            if comment:
                first = sentence(comment)
                lines.append(f"| `{name}` | {cell(first)} | {file.name} |")
    names = set(re.findall(r"^    case (\w+)$", source, re.M))
    found = set(re.findall(r"^\| `(\w+)`", "\n".join(lines), re.M))
    if names != found:
        sys.exit(f"ir-tables: each rule must have a file with a comment; found {sorted(names ^ found)}.")
    return "\n".join(lines)


def passes():
    lines = ["| pass | what it does |", "| --- | --- |"]
    for file in sorted((IR / "Passes").glob("*.swift")):
        for match, comment in documented(file.read_text(), r"public enum (\w+)", 0):
            if comment:
                lines.append(f"| `{match.group(1)}` | {cell(sentence(comment))} |")
    return "\n".join(lines)


def versions():
    source = (ROOT / "Sources/ApusKernels/Resources/PTXVersion+Driver.swift").read_text()
    rows = re.findall(r'\(PTXVersion\((\d+), (\d+)\), "([\d.]+)", (\d+)\)', source)
    lines = ["| PTX | CUDA | oldest driver branch |", "| --- | --- | --- |"]
    for major, minor, cuda, driver in reversed(rows):
        lines.append(f"| {major}.{minor} | {cuda} | r{driver} |")
    return "\n".join(lines)


def generated(text):
    for name, table in [("ops", ops()), ("rules", rules()), ("passes", passes()), ("versions", versions())]:
        start, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
        if start not in text or end not in text:
            sys.exit(f"ir-tables: Documentation/IR.md must have the marks {start} and {end}.")
        before, rest = text.split(start, 1)
        after = rest.split(end, 1)[1]
        text = f"{before}{start}\n{table}\n{end}{after}"
    return text


def main(arguments):
    text = DOCUMENT.read_text()
    new = generated(text)
    if arguments == ["--check"]:
        if new != text:
            sys.exit("ir-tables: Documentation/IR.md must say what the sources say; found it stale. Run Scripts/ir-tables.")
        print("ir-tables: Documentation/IR.md is current")
    else:
        DOCUMENT.write_text(new)


if __name__ == "__main__":
    main(sys.argv[1:])
