internal import ApusNumerics

extension BenchSuite {
  /// Prefill of 512 to 8k tokens, heads 32/8, causal and full.
  static var prefillCases: [BenchCase] {
    var cases: [BenchCase] = []
    for length in [512, 1024, 2048, 4096, 8192] {
      for isCausal in [true, false] {
        for dim in [64, 128] {
          for type in [ElementType.bf16, .f16, .f32] {
            let name = ElementName(type)
            let shape = BenchShape(
              qoLength: length, kvLength: length, headDimQK: dim, headDimVO: dim, q: name, kv: name,
              o: name, cache: .ragged, layout: "NHD", isCausal: isCausal)
            cases.append(
              BenchCase(
                .singlePrefill, shape,
                isQuick: dim == 128 && type != .f16 && (length == 512 || length == 1024)))
          }
        }
      }
    }
    return cases
  }

  /// 4 (speculation), 16 and 128 (chunked prefill) new tokens against 8k and 32k, causal.
  static var appendCases: [BenchCase] {
    var cases: [BenchCase] = []
    for cache in [BenchCache.ragged, .paged] {
      for batch in [1, 8] {
        for qoLength in [4, 16, 128] {
          for kvLength in [8192, 32768] {
            for type in [ElementType.bf16, .f32, .e4m3] {
              let q = ElementName(queryType(type))
              let shape = BenchShape(
                batch: batch, qoLength: qoLength, kvLength: kvLength, q: q, kv: ElementName(type),
                o: q, cache: cache, layout: "NHD", pageSize: cache == .paged ? 16 : nil,
                isCausal: true)
              cases.append(
                BenchCase(
                  .batchAppend, shape,
                  isQuick: batch == 1 && kvLength == 8192 && qoLength != 128 && type != .f32))
            }
          }
        }
      }
    }
    return cases
  }

  /// Latent decode (ckv 512 + kpe 64, pages of 64) for 16 to 128 heads, and two queries per request.
  static var mlaCases: [BenchCase] {
    var cases: [BenchCase] = []
    for heads in [16, 32, 64, 128] {
      for batch in [1, 8] {
        for length in [1024, 8192, 32768] {
          for type in [ElementType.bf16, .f32, .e4m3] {
            for qoLength in [1, 2] where qoLength == 1 || (length == 8192 && type == .bf16) {
              let q = ElementName(queryType(type))
              let shape = BenchShape(
                batch: batch, qoLength: qoLength, kvLength: length, qoHeadCount: heads,
                kvHeadCount: 1, headDimQK: 576, headDimVO: 512, q: q, kv: ElementName(type), o: q,
                cache: .latent, layout: "NHD", pageSize: 64, isCausal: true)
              cases.append(
                BenchCase(
                  .mlaDecode, shape,
                  isQuick: length == 1024 && (heads == 16 || heads == 128) && batch == 8
                    && type != .f32))
            }
          }
        }
      }
    }
    return cases
  }

  /// Merge of states, rows stored into a cache, rotation.
  static var opsCases: [BenchCase] {
    mergeCases + storeCases + rotaryCases
  }

  private static var mergeCases: [BenchCase] {
    [128, 8192].flatMap { rows in
      [2, 8].flatMap { states in
        [ElementType.f32, .bf16].map { type in
          BenchCase(
            .mergeStates,
            BenchShape(
              qoLength: rows, q: ElementName(type), o: ElementName(type), stateCount: states),
            isQuick: rows == 128)
        }
      }
    }
  }

  private static var storeCases: [BenchCase] {
    var cases: [BenchCase] = []
    let conversions: [(ElementType, ElementType, Bool)] = [
      (.bf16, .bf16, false), (.bf16, .e4m3, false), (.bf16, .e4m3, true), (.f32, .e5m2, false),
    ]
    for tokens in [1, 512] {
      for (source, cache, isDynamic) in conversions {
        let shape = BenchShape(
          batch: 16, qoLength: tokens, kvLength: 1024, q: ElementName(source),
          kv: ElementName(cache), o: ElementName(source), cache: .paged, layout: "NHD",
          pageSize: 16, hasDynamicScale: isDynamic)
        cases.append(BenchCase(.appendKV, shape, isQuick: tokens == 512))
      }
    }
    return cases
  }

  private static var rotaryCases: [BenchCase] {
    [16, 4096].flatMap { rows in
      [ElementType.f32, .bf16].map { type in
        BenchCase(
          .rotary, BenchShape(qoLength: rows, q: ElementName(type), kv: ElementName(type)),
          isQuick: rows == 4096)
      }
    }
  }
}
