internal import ApusNumerics

extension BenchSuite {
  static let decodeBatches = [1, 8, 16]
  static let decodeLengths = [1024, 8192, 32768]
  static let decodeHeads = [(32, 32), (32, 8), (64, 8)]
  static let decodeDims = [64, 128]

  /// The table of batch × length × heads × width × cache type, padded and paged by 16; single decode
  /// at width 128; and, around one middle shape, every cache type under f32 and bf16 queries, other
  /// page sizes, and HND. Queries of the table have the cache's type, bf16 over 8-bit caches.
  static var decodeCases: [BenchCase] {
    var cases = singleDecodeCases
    for cache in [BenchCache.padded, .paged] {
      for batch in decodeBatches {
        for length in decodeLengths {
          for heads in decodeHeads {
            for dim in decodeDims {
              for type in ElementType.allCases {
                cases.append(decode(cache, batch, length, heads, dim, kv: type))
              }
            }
          }
        }
      }
    }
    return cases + decodeVariations
  }

  private static var singleDecodeCases: [BenchCase] {
    decodeLengths.flatMap { length in
      decodeHeads.flatMap { heads in
        ElementType.allCases.map { type in
          BenchCase(
            .singleDecode,
            shape(.ragged, batch: 1, length, heads, 128, q: queryType(type), kv: type),
            isQuick: length == 8192 && heads == (32, 8) && type == .bf16)
        }
      }
    }
  }

  private static var decodeVariations: [BenchCase] {
    var cases: [BenchCase] = []
    for type in ElementType.allCases {
      for query in [ElementType.f32, .bf16] where query != queryType(type) {
        cases.append(decode(.padded, 16, 8192, (32, 8), 128, q: query, kv: type))
      }
    }
    for type in [ElementType.bf16, .e4m3] {
      for pageSize in [1, 64, 256] {
        cases.append(decode(.paged, 16, 8192, (32, 8), 128, kv: type, pageSize: pageSize))
      }
      for cache in [BenchCache.padded, .paged] {
        cases.append(decode(cache, 16, 8192, (32, 8), 128, kv: type, layout: "HND"))
      }
    }
    return cases
  }

  private static func decode(
    _ cache: BenchCache, _ batch: Int, _ length: Int, _ heads: (Int, Int), _ dim: Int,
    q: ElementType? = nil, kv: ElementType, pageSize: Int = 16, layout: String = "NHD"
  ) -> BenchCase {
    var shape = shape(cache, batch: batch, length, heads, dim, q: q ?? queryType(kv), kv: kv)
    shape.layout = layout
    if cache == .paged { shape.pageSize = pageSize }
    let isQuick =
      q == nil && layout == "NHD" && pageSize == 16 && length == 8192 && dim == 128
      && heads == (32, 8) && batch != 16
      && (cache == .padded || (batch == 8 && (kv == .bf16 || kv == .e4m3)))
    return BenchCase(.batchDecode, shape, isQuick: isQuick)
  }

  private static func shape(
    _ cache: BenchCache, batch: Int, _ length: Int, _ heads: (Int, Int), _ dim: Int,
    q: ElementType, kv: ElementType
  ) -> BenchShape {
    BenchShape(
      batch: batch, kvLength: length, qoHeadCount: heads.0, kvHeadCount: heads.1, headDimQK: dim,
      headDimVO: dim, q: ElementName(q), kv: ElementName(kv), o: ElementName(q), cache: cache,
      layout: "NHD")
  }

  /// Models whose cache is 8 bits wide keep their activations in bf16.
  static func queryType(_ kv: ElementType) -> ElementType {
    kv.byteCount == 1 ? .bf16 : kv
  }
}
