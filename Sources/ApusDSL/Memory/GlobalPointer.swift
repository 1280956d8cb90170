public import ApusIR

/// An address of elements of one type in device memory: `x[i]` is the address of element i.
public struct GlobalPointer<T: DataScalar> {
  /// Bytes; the element is at `address` + `offset`.
  public let address: Value<U64>
  /// Bytes known at elaboration; they become the instruction's immediate.
  let offset: Int

  /// Bytes of an element.
  public static var stride: Int { T.byteCount }

  init(address: Value<U64>, offset: Int) {
    self.address = address
    self.offset = offset
  }

  /// The whole address in one register.
  public var resolved: Value<U64> {
    if offset == 0 { return address }
    return address.apply(
      .arithmetic(.add), [.constant(.u64(UInt64(bitPattern: Int64(offset))))])
  }

  /// The address of element `index`, counted in 64 bits.
  public subscript<I: IndexScalar>(index: Value<I>) -> GlobalPointer {
    let emitter = address.emitter
    emitter.requireOwn(index.emitter)
    let size = UInt32(Self.stride)
    let sum: Value<U64>
    if I.type == .u32 {
      sum = emitter.value(
        .arithmetic(.madWide), [index.operand, .constant(.u32(size)), address.operand])
    } else {
      let wide: Value<U64> = I.type == .u64 ? index.retyped() : index.converted(to: U64.self)
      sum = emitter.value(
        .arithmetic(.mad), [wide.operand, .constant(.u64(UInt64(size))), address.operand])
    }
    return GlobalPointer(address: sum, offset: offset)
  }

  /// The address of element `index`, an immediate of the instruction.
  public subscript(index: Int) -> GlobalPointer {
    GlobalPointer(address: address, offset: offset + index * Self.stride)
  }

  /// The same address of elements of another type.
  public func cast<R: DataScalar>(to type: R.Type) -> GlobalPointer<R> {
    GlobalPointer<R>(address: address, offset: offset)
  }
}

/// A tensor map among the launch arguments.
public struct TensorMapParameter {
  let address: Value<U64>
}

/// A structure among the launch arguments.
public struct BytesParameter {
  let id: ParameterID
  let emitter: Emitter

  /// The field `offset` bytes from the start.
  public func field<T: DataScalar>(_ type: T.Type, offset: Int) -> Value<T> {
    emitter.value(.memory(.parameter(id, offset: offset)))
  }

  /// The structure's own address.
  public var address: Value<U64> { emitter.value(.memory(.parameterAddress(id))) }
}

extension Value {
  /// The same operand under another phantom type of the same register type.
  func retyped<R: Scalar>() -> Value<R> { Value<R>(operand: operand, emitter: emitter) }
}

/// How a load or store of device memory treats order and caches; the default is a plain one.
public struct Caching: Sendable, Hashable {
  /// L1 treatment.
  public var l1: Op.L1Priority
  /// Bytes a miss also brings into L2; loads only.
  public var l2Prefetch: Op.L2Prefetch
  /// The read-only path, for data nothing writes during the launch; loads only.
  public var isReadOnly: Bool
  /// L2 policy, one of `CachePolicy`.
  public var policy: Constant?
  /// Memory order.
  public var ordering: Op.Ordering

  /// A treatment.
  public init(
    l1: Op.L1Priority = .normal, l2Prefetch: Op.L2Prefetch = .none, isReadOnly: Bool = false,
    policy: Constant? = nil, ordering: Op.Ordering = .weak
  ) {
    self.l1 = l1
    self.l2Prefetch = l2Prefetch
    self.isReadOnly = isReadOnly
    self.policy = policy
    self.ordering = ordering
  }

  /// A plain access.
  public static let plain = Caching()
  /// Data read once, by nobody written: read-only path, not kept in L1.
  public static let streamed = Caching(l1: .noAllocate, l2Prefetch: .bytes128, isReadOnly: true)
}
