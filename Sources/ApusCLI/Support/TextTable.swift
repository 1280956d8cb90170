/// Rows of text in aligned columns, two spaces apart.
struct TextTable {
  /// How a column lines up.
  enum Alignment {
    case left
    case right
  }

  private let alignments: [Alignment]
  private var rows: [[String]]

  /// A table with its header row.
  init(_ columns: [(title: String, alignment: Alignment)]) {
    alignments = columns.map(\.alignment)
    rows = [columns.map(\.title)]
  }

  /// Adds a row; cells that are missing stay empty, cells without a column are dropped.
  mutating func add(_ cells: [String]) {
    rows.append(alignments.indices.map { $0 < cells.count ? cells[$0] : "" })
  }

  /// All rows with the given indentation, the header underlined; no line ends in spaces.
  func text(indent: Int = 0) -> String {
    let widths = alignments.indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    let margin = String(repeating: " ", count: indent)
    var lines = rows.map { row in
      margin
        + alignments.indices.map { pad(row[$0], widths[$0], alignments[$0]) }.joined(
          separator: "  ")
    }
    lines.insert(
      margin + widths.map { String(repeating: "─", count: $0) }.joined(separator: "  "), at: 1)
    return lines.map(trimmed).joined(separator: "\n")
  }

  private func pad(_ cell: String, _ width: Int, _ alignment: Alignment) -> String {
    let spaces = String(repeating: " ", count: max(width - cell.count, 0))
    return alignment == .left ? cell + spaces : spaces + cell
  }

  private func trimmed(_ line: String) -> String {
    var line = line
    while line.last == " " { line.removeLast() }
    return line
  }
}
