/// The name closest to `name` in Levenshtein distance, or nil when none is within a third of its
/// length (at least one edit). Ties go to the earliest candidate.
///
/// Bounded for hostile input: names over 200 UTF-8 bytes are not compared, nor candidates after
/// the 10 000th.
func nearestName(to name: String, among candidates: [String]) -> String? {
  let target = Array(name.utf8.prefix(maximumLength + 1))
  guard target.count <= maximumLength else { return nil }
  var best: (name: String, distance: Int)?
  var limit = max(1, target.count / 3)
  for candidate in candidates.prefix(10_000) {
    let other = Array(candidate.utf8.prefix(maximumLength + 1))
    guard other.count <= maximumLength, abs(other.count - target.count) <= limit else { continue }
    let distance = editDistance(target, other)
    guard distance <= limit, distance < best?.distance ?? .max else { continue }
    best = (candidate, distance)
    limit = distance
  }
  return best?.name
}

private let maximumLength = 200

/// Insertions, deletions and replacements that turn `a` into `b` (Wagner and Fischer 1974, one row
/// at a time).
func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
  var row = Array(0...b.count)
  for (i, byte) in a.enumerated() {
    var diagonal = row[0]
    row[0] = i + 1
    for (j, other) in b.enumerated() {
      let replaced = diagonal + (byte == other ? 0 : 1)
      diagonal = row[j + 1]
      row[j + 1] = min(replaced, row[j] + 1, diagonal + 1)
    }
  }
  return row[b.count]
}
