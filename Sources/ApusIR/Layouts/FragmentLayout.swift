/// Which matrix element each lane's register holds: one function for softmax, masks, epilogues and
/// the simulator.
///
/// Registers of operands hold 32 bits, `elementsPerRegister` elements with the first in the low
/// bits; f32 accumulators hold one. With g = lane ÷ 4 and t = lane mod 4 the 8×8 pieces of every
/// fragment put row g (column g of B) and `elementsPerRegister` neighbours from t on into a lane.
/// Sources: PTX § Matrix Fragments for mma, § Register Fragments for wgmma.
public struct FragmentLayout: Sendable, Hashable {
  /// A place in the matrix.
  public struct Position: Sendable, Hashable {
    /// Row: m of A and D, k of B.
    public var row: Int
    /// Column: k of A, n of B and D.
    public var column: Int

    /// A place.
    public init(row: Int, column: Int) {
      self.row = row
      self.column = column
    }
  }

  private enum Operand { case a, b, accumulator }

  /// Rows of the fragment.
  public let rows: Int
  /// Columns of the fragment.
  public let columns: Int
  /// Elements in each register.
  public let elementsPerRegister: Int
  private let operand: Operand

  /// D of `mma`: 16×8. f32: register r holds row g + 8(r ÷ 2), column 2t + r mod 2; f16: register r
  /// holds row g + 8r, columns 2t and 2t + 1.
  public static func mmaAccumulator(_ type: Op.AccumulatorType) -> FragmentLayout {
    FragmentLayout(
      rows: 16, columns: 8, elementsPerRegister: type == .f32 ? 1 : 2, operand: .accumulator)
  }

  /// D of `wgmma` for one warp's 16 rows: warp w of the warpgroup holds rows 16w… of the 64. As
  /// `mmaAccumulator`, repeated every 8 columns.
  public static func wgmmaAccumulator(n: Int, _ type: Op.AccumulatorType) -> FragmentLayout {
    FragmentLayout(
      rows: 16, columns: n, elementsPerRegister: type == .f32 ? 1 : 2, operand: .accumulator)
  }

  /// A of `mma`, and of `wgmma` from registers for one warp's 16 rows: 16×k. Register r holds rows
  /// g + 8(r mod 2) and the elements from k = e·t + 4e·(r ÷ 2) on, e elements per register.
  public static func a(_ element: Op.MatrixElement, k: Int) -> FragmentLayout {
    FragmentLayout(
      rows: 16, columns: k, elementsPerRegister: 32 / element.bitWidth, operand: .a)
  }

  /// B of `mma`: k×8. Register r holds column g and the elements from k = e·t + 4e·r on.
  public static func b(_ element: Op.MatrixElement, k: Int) -> FragmentLayout {
    FragmentLayout(
      rows: k, columns: 8, elementsPerRegister: 32 / element.bitWidth, operand: .b)
  }

  /// Registers in each lane.
  public var registerCount: Int { rows * columns / (warpSize * elementsPerRegister) }

  /// Place of element `element` (0 in the low bits) of a lane's register.
  public func position(lane: Int, register: Int, element: Int = 0) -> Position {
    let group = lane / 4
    let thread = lane % 4
    switch operand {
    case .a:
      return Position(
        row: group + 8 * (register % 2),
        column: elementsPerRegister * (thread + 4 * (register / 2)) + element)
    case .b:
      return Position(
        row: elementsPerRegister * (thread + 4 * register) + element, column: group)
    case .accumulator:
      // Four elements of each lane per 8 columns: two neighbours in row g, two in row g + 8.
      let index = register * elementsPerRegister + element
      return Position(
        row: group + 8 * (index / 2 % 2), column: 8 * (index / 4) + 2 * thread + index % 2)
    }
  }
}
