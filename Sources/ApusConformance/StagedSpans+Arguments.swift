internal import ApusCore

// The tensors of each operator's arguments, moved to the device.

extension StagedSpans {
  func map(_ arguments: AttentionArguments) -> AttentionArguments {
    var result = arguments
    switch arguments.q {
    case .packed(let view): result.q = .packed(map(view))
    case .split(let nope, let rope): result.q = .split(nope: map(nope), rope: map(rope))
    }
    result.kv = map(arguments.kv)
    result.o = map(arguments.o)
    result.lse = arguments.lse.map(map)
    result.sinks = arguments.sinks.map(map)
    result.scales = AttentionScales(
      q: map(arguments.scales.q), k: map(arguments.scales.k), v: map(arguments.scales.v),
      o: map(arguments.scales.o), kpe: map(arguments.scales.kpe))
    return result
  }

  func map(_ operand: KVOperand) -> KVOperand {
    switch operand {
    case .separate(let k, let v): .separate(k: map(k), v: map(v))
    case .combined(let kv): .combined(map(kv))
    case .latent(let ckv, let kpe): .latent(ckv: map(ckv), kpe: map(kpe))
    case .packedLatent(let latent): .packedLatent(map(latent))
    }
  }

  func map(_ scale: Scale) -> Scale {
    switch scale {
    case .one, .tensor: scale
    case .head(let view): .head(map(view))
    case .tokenHead(let view): .tokenHead(map(view))
    }
  }

  func map(_ scale: AppendScale) -> AppendScale {
    switch scale {
    case .one, .tensor: scale
    case .head(let view): .head(map(view))
    case .dynamicTokenHead(let view): .dynamicTokenHead(map(view))
    }
  }

  func map(_ arguments: AppendArguments) -> AppendArguments {
    AppendArguments(
      keys: map(arguments.keys), values: map(arguments.values), cache: map(arguments.cache),
      kScale: map(arguments.kScale), vScale: map(arguments.vScale))
  }

  func map(_ arguments: MergeArguments) -> MergeArguments {
    let states: MergeArguments.States =
      switch arguments.states {
      case .two(let aV, let aS, let bV, let bS, let v, let s):
        .two(aV: map(aV), aS: map(aS), bV: map(bV), bS: map(bS), v: map(v), s: map(s))
      case .inPlace(let v, let s, let otherV, let otherS, let mask):
        .inPlace(
          v: map(v), s: map(s), otherV: map(otherV), otherS: map(otherS), mask: mask.map(map))
      case .many(let states, let logits, let v, let s):
        .many(states: map(states), logits: map(logits), v: map(v), s: map(s))
      }
    return MergeArguments(states, convention: arguments.convention)
  }

  func map(_ arguments: RotaryArguments) -> RotaryArguments {
    var result = arguments
    result.q = map(arguments.q)
    result.k = map(arguments.k)
    result.qOut = map(arguments.qOut)
    result.kOut = map(arguments.kOut)
    if case .cosSinCache(let table, let pairing) = arguments.source {
      result.source = .cosSinCache(map(table), pairing: pairing)
    }
    return result
  }
}

extension MergeArguments {
  /// Every tensor.
  var views: [TensorView] {
    switch states {
    case .two(let aV, let aS, let bV, let bS, let v, let s): [aV, aS, bV, bS, v, s]
    case .inPlace(let v, let s, let otherV, let otherS, let mask):
      [v, s, otherV, otherS] + (mask.map { [$0] } ?? [])
    case .many(let states, let logits, let v, let s): [states, logits, v, s]
    }
  }
}

extension AppendArguments {
  /// Every tensor.
  var views: [TensorView] {
    var result = [keys, values]
    switch cache {
    case .separate(let k, let v): result += [k, v]
    case .combined(let kv): result.append(kv)
    case .latent(let ckv, let kpe): result += [ckv, kpe]
    case .packedLatent(let latent): result.append(latent)
    }
    for case .head(let view) in [kScale, vScale] { result.append(view) }
    for case .dynamicTokenHead(let view) in [kScale, vScale] { result.append(view) }
    return result
  }
}
