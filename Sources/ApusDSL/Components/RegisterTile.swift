public import ApusIR

/// Accumulators of matrix products in the registers of a warp: `rows` × `columns` of binary32.
///
/// Rows come in bands of 16; `FragmentLayout.wgmmaAccumulator` says which element each lane's
/// register holds, for `mma` (band by band, 8 columns at a time) and for `wgmma` (one band per
/// warp, all columns at once). A lane holds 2 rows of each band: `laneRows` in all.
public struct RegisterTile {
  /// An element that a lane holds.
  public struct Element {
    /// Column without the lane's share; add `Block.laneColumn`.
    public let column: Int
    /// The register.
    public let variable: Variable<F32>
  }

  /// Rows of a warp; a multiple of 16.
  public let rows: Int
  /// Columns; a multiple of 8.
  public let columns: Int
  /// Registers, band after band.
  let variables: [Variable<F32>]

  /// The layout of one band.
  public var layout: FragmentLayout { .wgmmaAccumulator(n: columns, .f32) }

  /// Rows of which a lane holds elements.
  public var laneRows: Int { rows / 8 }

  private var registersPerBand: Int { columns / 2 }

  func band(_ band: Int) -> ArraySlice<Variable<F32>> {
    variables[band * registersPerBand..<(band + 1) * registersPerBand]
  }

  /// Row of the tile that `laneRow` stands for, without the lane's share; add `Block.laneRow`.
  public func rowOffset(_ laneRow: Int) -> Int { laneRow / 2 * 16 + laneRow % 2 * 8 }

  /// The elements a lane holds of one of its rows, left to right.
  public func row(_ laneRow: Int) -> [Element] {
    let band = band(laneRow / 2)
    return zip(band.indices, band).compactMap { index, variable in
      let place = layout.position(lane: 0, register: index - band.startIndex)
      return place.row == laneRow % 2 * 8
        ? Element(column: place.column, variable: variable) : nil
    }
  }
}

extension Block {
  /// The lane's share of rows: lane ÷ 4.
  public var laneRow: Value<U32> { laneIndex >> 2 }

  /// The lane's share of columns: 2 · (lane mod 4).
  public var laneColumn: Value<U32> { (laneIndex & 3) << 1 }

  /// Accumulators that start at zero.
  public func registerTile(
    _ name: String, rows: Int, columns: Int, file: String = #fileID, line: Int = #line
  ) -> RegisterTile {
    let isValid = rows > 0 && rows % 16 == 0 && columns > 0 && columns % 8 == 0
    require(
      isValid,
      "registerTile: rows must be a multiple of 16, columns of 8; found \(rows) × \(columns).",
      file: file, line: line)
    let rows = isValid ? rows : 16
    let columns = isValid ? columns : 8
    let variables = (0..<rows * columns / warpSize).map { _ in
      variable(0, as: F32.self, name, file: file, line: line)
    }
    return RegisterTile(rows: rows, columns: columns, variables: variables)
  }

  /// A whole row of the tile combined, the same result in the four lanes that share it.
  public func rowReduce(
    _ tile: RegisterTile, laneRow: Int, file: String = #fileID, line: Int = #line,
    _ combine: (_ a: Value<F32>, _ b: Value<F32>) -> Value<F32>
  ) -> Value<F32> {
    let values = tile.row(laneRow).map { $0.variable.value }
    guard let first = values.first else { return constant(0, as: F32.self) }
    let own = values.dropFirst().reduce(first, combine)
    return warpReduce(own, lanes: 4, file: file, line: line, combine)
  }

  /// Applies `transform` to every element; `column` is without the lane's share.
  public func update(
    _ tile: RegisterTile, file: String = #fileID, line: Int = #line,
    _ transform: (_ value: Value<F32>, _ laneRow: Int, _ column: Int) -> Value<F32>
  ) {
    for laneRow in 0..<tile.laneRows {
      for element in tile.row(laneRow) {
        assign(
          element.variable, transform(element.variable.value, laneRow, element.column),
          file: file, line: line)
      }
    }
  }

  /// 16 columns of a band as A operand of a further product: 4 registers of pairs.
  ///
  /// Accumulator and A fragments hold the same elements in the same lanes, so no data moves; the
  /// pairing follows from `FragmentLayout`.
  public func operandA<T: PairScalar>(
    _ tile: RegisterTile, band: Int = 0, column: Int, as type: T.Type, file: String = #fileID,
    line: Int = #line
  ) -> [Value<T>] {
    _ = emitter.settle(file, line)
    let registers = Array(tile.band(band))
    let target = FragmentLayout.a(T.element, k: 16)
    return (0..<target.registerCount).map { register in
      let halves = (0..<2).map { element -> Value<F32> in
        let place = target.position(lane: 0, register: register, element: element)
        let index = registers.indices.first {
          let own = tile.layout.position(lane: 0, register: $0)
          return own.row == place.row && own.column == place.column + column
        }
        guard let index else {
          emitter.fail(
            "operandA: column must be a multiple of 16 below \(tile.columns); found \(column).",
            at: SourceLocation(fileID: file, line: line))
          return constant(0, as: F32.self)
        }
        return registers[index].value
      }
      return halves[0].converted(to: type, high: halves[1])
    }
  }
}
