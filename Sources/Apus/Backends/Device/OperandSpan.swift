package import ApusCore

/// The bytes of one operand, or of several that share bytes.
package struct OperandSpan: Sendable, Hashable {
  /// The operand's name in reports.
  package var name: String
  /// First byte.
  package var address: UInt64
  /// Number of bytes.
  package var byteCount: Int
  /// Whether the operator writes it.
  package var isWritable: Bool
  /// Whether its bytes mean something before the operator writes them; a workspace's do not.
  package var isWritten: Bool

  /// A span.
  package init(
    name: String, address: UInt64, byteCount: Int, isWritable: Bool, isWritten: Bool = true
  ) {
    self.name = name
    self.address = address
    self.byteCount = byteCount
    self.isWritable = isWritable
    self.isWritten = isWritten
  }

  /// All bytes that a view may touch.
  package init(_ name: String, _ view: TensorView, isWritable: Bool = false) {
    self.init(
      name: name, address: UInt64(view.address), byteCount: view.byteCount, isWritable: isWritable)
  }

  /// A workspace.
  init(workspace address: UInt64, _ byteCount: Int) {
    self.init(
      name: "workspace", address: address, byteCount: byteCount, isWritable: true,
      isWritten: false)
  }

  /// A record of bad indices.
  init(record: any DeviceAllocation) {
    self.init(
      name: "indexRecord", address: record.address, byteCount: record.byteCount, isWritable: true)
  }

  /// One past the last byte.
  package var end: UInt64 { address &+ UInt64(max(byteCount, 0)) }

  /// Disjoint spans in ascending order that hold the same bytes: spans that overlap become one,
  /// writable if one of them is. Empty ones are dropped.
  package static func united(_ spans: [OperandSpan]) -> [OperandSpan] {
    var result: [OperandSpan] = []
    for span in spans.filter({ $0.byteCount > 0 }).sorted(by: { $0.address < $1.address }) {
      guard let last = result.last, span.address < last.end else {
        result.append(span)
        continue
      }
      let end = max(last.end, span.end)
      result[result.count - 1].byteCount = Int(end - last.address)
      result[result.count - 1].isWritable = last.isWritable || span.isWritable
      if last.name != span.name { result[result.count - 1].name = "\(last.name), \(span.name)" }
    }
    return result
  }
}

extension AttentionArguments {
  /// Every tensor's bytes.
  package var spans: [OperandSpan] {
    namedTensors.map { OperandSpan($0.name, $0.view, isWritable: ["o", "lse"].contains($0.name)) }
  }
}

extension MergeArguments {
  /// Every tensor's bytes.
  package var spans: [OperandSpan] {
    switch states {
    case .two(let aV, let aS, let bV, let bS, let v, let s):
      [
        OperandSpan("vA", aV), OperandSpan("sA", aS), OperandSpan("vB", bV), OperandSpan("sB", bS),
        OperandSpan("v", v, isWritable: true), OperandSpan("s", s, isWritable: true),
      ]
    case .inPlace(let v, let s, let otherV, let otherS, let mask):
      [
        OperandSpan("v", v, isWritable: true), OperandSpan("s", s, isWritable: true),
        OperandSpan("vOther", otherV), OperandSpan("sOther", otherS),
      ] + (mask.map { [OperandSpan("mask", $0)] } ?? [])
    case .many(let states, let logits, let v, let s):
      [
        OperandSpan("states", states), OperandSpan("logits", logits),
        OperandSpan("v", v, isWritable: true), OperandSpan("s", s, isWritable: true),
      ]
    }
  }
}

extension AppendArguments {
  /// Every tensor's bytes.
  package var spans: [OperandSpan] {
    var result = [OperandSpan("keys", keys), OperandSpan("values", values)]
    let caches: [(String, TensorView)] =
      switch cache {
      case .separate(let k, let v): [("k cache", k), ("v cache", v)]
      case .combined(let kv): [("kv cache", kv)]
      case .latent(let ckv, let kpe): [("ckv cache", ckv), ("kpe cache", kpe)]
      case .packedLatent(let packed): [("latent cache", packed)]
      }
    result += caches.map { OperandSpan($0.0, $0.1, isWritable: true) }
    for (name, scale) in [("kScale", kScale), ("vScale", vScale)] {
      switch scale {
      case .one, .tensor: break
      case .head(let view): result.append(OperandSpan(name, view))
      case .dynamicTokenHead(let view): result.append(OperandSpan(name, view, isWritable: true))
      }
    }
    return result
  }
}

extension AppendLists {
  /// Every tensor's bytes.
  package var spans: [OperandSpan] { namedTensors.map { OperandSpan($0.name, $0.view) } }
}

extension RotaryArguments {
  /// Every tensor's bytes.
  package var spans: [OperandSpan] {
    var result = [
      OperandSpan("q", q), OperandSpan("k", k), OperandSpan("qOut", qOut, isWritable: true),
      OperandSpan("kOut", kOut, isWritable: true),
    ]
    if case .cosSinCache(let table, _) = source { result.append(OperandSpan("cosSinCache", table)) }
    if let positionTensor { result.append(OperandSpan("positions", positionTensor)) }
    return result
  }
}

extension PackBitsArguments {
  /// Every tensor's bytes.
  package var spans: [OperandSpan] {
    [OperandSpan("flags", flags), OperandSpan("packed", packed, isWritable: true)]
  }
}
