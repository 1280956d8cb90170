import ApusIR

/// An immutable value of a kernel under construction: what each thread holds in a register.
///
/// Operators and functions of values emit nodes where they stand; values live to the end of the
/// `when`, `loop` or role they are made in, and a `Variable` carries content out or around.
///
/// Nodes of operators and of properties have the file and line of the statement (a call on `Block`,
/// or a function with a `line` argument) that follows them; at the end of a closure, of the last
/// one before them.
public struct Value<T: Scalar> {
  let operand: Operand
  let emitter: Emitter
}

/// A mutable register. `Block.assign` writes it; `value` reads it.
///
/// Variables carry content around loops and out of branches. Their names appear in printed code.
public struct Variable<T: Scalar> {
  let id: ValueID
  let emitter: Emitter

  /// The content now: a snapshot, which later assignments do not change.
  public var value: Value<T> { emitter.value(.movement(.copy), [.value(id)]) }
}

extension Value {
  /// A node with this value and others as operands, at a statement's place.
  func apply<R: Scalar>(
    _ op: Op, _ others: [Operand] = [], at location: SourceLocation? = nil
  ) -> Value<R> {
    emitter.value(op, [operand] + others, at: location)
  }

  /// A node with this value and another of the same kernel.
  func combine<R: Scalar>(
    _ op: Op, _ other: Value, at location: SourceLocation? = nil
  ) -> Value<R> {
    emitter.requireOwn(other.emitter, at: location)
    return emitter.value(op, [operand, other.operand], at: location)
  }
}
