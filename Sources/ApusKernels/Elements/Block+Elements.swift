internal import ApusDSL
internal import ApusIR
internal import ApusNumerics

extension Block {
  // MARK: - Raw words

  /// The bits of 1, 2, 4, 8 or any multiple of 16 bytes: one register per 4 bytes, or one with the
  /// low bits filled. The address is aligned to the smaller of the size and 16.
  func loadWords(
    _ source: GlobalPointer<U32>, bytes: Int, _ caching: Caching = .plain, file: String = #fileID,
    line: Int = #line
  ) -> [Value<U32>] {
    switch bytes {
    case 1: [load(source.cast(to: U8.self), caching, file: file, line: line).word]
    case 2: [load(source.cast(to: U16Word.self), caching, file: file, line: line).word]
    case 4, 8: load(source, count: bytes / 4, caching, file: file, line: line)
    default:
      (0..<bytes / 16).flatMap {
        load(source[4 * $0], count: 4, caching, file: file, line: line)
      }
    }
  }

  /// Writes the bits of 1, 2, 4, 8 or any multiple of 16 bytes, as `loadWords` reads them.
  func storeWords(
    _ words: [Value<U32>], to destination: GlobalPointer<U32>, bytes: Int,
    file: String = #fileID, line: Int = #line
  ) {
    switch bytes {
    case 1: store(words[0].byte, to: destination.cast(to: U8.self), file: file, line: line)
    case 2: store(words[0].half, to: destination.cast(to: U16Word.self), file: file, line: line)
    case 4, 8: store(words, to: destination, file: file, line: line)
    default:
      for part in 0..<bytes / 16 {
        store(
          Array(words[4 * part..<4 * part + 4]), to: destination[4 * part], file: file, line: line)
      }
    }
  }

  // MARK: - Widening

  /// `count` elements of words as f32; exact.
  func widen(_ words: [Value<U32>], _ type: ElementType, count: Int) -> [Value<F32>] {
    var result: [Value<F32>] = []
    for word in words {
      switch type {
      case .f32: result.append(word.bitcast(to: F32.self))
      case .f16:
        let halves = word.bitcast(to: F16x2.self).halves
        result += [halves.low.converted(to: F32.self), halves.high.converted(to: F32.self)]
      case .bf16:
        // A bf16 is the upper half of the f32 of the same value.
        result += [
          (word << 16).bitcast(to: F32.self), (word & 0xFFFF_0000).bitcast(to: F32.self),
        ]
      case .e4m3, .e5m2: result += widenFP8(word, type)
      }
    }
    return Array(result.prefix(count))
  }

  private func widenFP8(_ word: Value<U32>, _ type: ElementType) -> [Value<F32>] {
    let pairs = word.converted(to: F16x2.self, from: type == .e4m3 ? .e4m3 : .e5m2)
    return [
      pairs.low.floats.low, pairs.low.floats.high, pairs.high.floats.low, pairs.high.floats.high,
    ]
  }

  // MARK: - Narrowing

  /// f32 values rounded to nearest even and saturated (`OverflowRule.saturate`), as words.
  func narrow(_ values: [Value<F32>], _ type: ElementType) -> [Value<U32>] {
    switch type {
    case .f32: values.map { $0.bitcast(to: U32.self) }
    case .f16, .bf16:
      stride(from: 0, to: values.count, by: 2).map { index in
        let low = saturated(values[index], type)
        let high = index + 1 < values.count ? saturated(values[index + 1], type) : low
        return type == .f16
          ? low.converted(to: F16x2.self, high: high).bitcast(to: U32.self)
          : low.converted(to: BF16x2.self, high: high).bitcast(to: U32.self)
      }
    case .e4m3, .e5m2:
      stride(from: 0, to: values.count, by: 4).map { index in
        let four = (index..<index + 4).map { values[min($0, values.count - 1)] }
        return narrowFP8(four[0], four[1], type).packed(high: narrowFP8(four[2], four[3], type))
      }
    }
  }

  /// Clamped to the finite values of a 16-bit type: what lies beyond the largest rounds to it or
  /// overflows, so that clamping before rounding is the saturating rule. NaN stays.
  private func saturated(_ value: Value<F32>, _ type: ElementType) -> Value<F32> {
    let limit = constant(type.greatestFiniteMagnitude, as: F32.self)
    let negative = constant(-type.greatestFiniteMagnitude, as: F32.self)
    return maxNaN(minNaN(value, limit), negative)
  }

  /// Two codes; before sm_89 the compiler of the language replaces the conversion by bit tricks.
  private func narrowFP8(
    _ low: Value<F32>, _ high: Value<F32>, _ type: ElementType
  ) -> Value<U16> {
    low.converted(to: type == .e4m3 ? .e4m3 : .e5m2, high: high)
  }
}
