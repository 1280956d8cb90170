public import ApusIR

/// The code of a thread block under construction; every statement is one of its methods.
///
/// All statements take the caller's file and line as default arguments, which diagnostics and
/// simulator reports name.
public struct Block {
  let emitter: Emitter

  /// Threads, cluster and residency of the kernel.
  public var launch: LaunchBounds { emitter.launch }

  /// Whether the kernel is built for sm_90a or newer.
  public var isHopper: Bool { emitter.target >= .sm90a }

  /// Records a mistake of the kernel's author; `Kernel.build` throws all of them.
  ///
  /// - Parameter message: `operation: requirement; found value. remedy`.
  public func elaborationFailure(
    _ message: String, file: String = #fileID, line: Int = #line
  ) {
    emitter.fail(message, at: emitter.settle(file, line))
  }

  /// Records a mistake unless `condition` holds.
  public func require(
    _ condition: Bool, _ message: @autoclosure () -> String, file: String = #fileID,
    line: Int = #line
  ) {
    if !condition { elaborationFailure(message(), file: file, line: line) }
  }

  // MARK: - Values and variables

  /// A constant.
  public func constant<T: NumberScalar>(
    _ literal: T.Literal, as type: T.Type, file: String = #fileID, line: Int = #line
  ) -> Value<T> {
    let location = SourceLocation(fileID: file, line: line)
    return Value(
      operand: emitter.constant(literal, as: type, at: location), emitter: emitter)
  }

  /// A truth value known now.
  public func constant(_ value: Bool) -> Value<Pred> {
    Value(operand: .constant(.pred(value)), emitter: emitter)
  }

  /// The value itself, its nodes placed at this line.
  public func `let`<T: Scalar>(
    _ value: Value<T>, file: String = #fileID, line: Int = #line
  ) -> Value<T> {
    emitter.requireOwn(value.emitter, at: emitter.settle(file, line))
    return value
  }

  /// A variable that starts with a value.
  public func variable<T: Scalar>(
    _ initial: Value<T>, _ name: String = "", file: String = #fileID, line: Int = #line
  ) -> Variable<T> {
    let location = emitter.settle(file, line)
    emitter.requireOwn(initial.emitter, at: location)
    let id = emitter.builder.variable(
      T.type, initial: initial.operand, name: name, at: location)
    return Variable(id: id, emitter: emitter)
  }

  /// A variable that starts with a literal.
  public func variable<T: NumberScalar>(
    _ initial: T.Literal, as type: T.Type, _ name: String = "", file: String = #fileID,
    line: Int = #line
  ) -> Variable<T> {
    variable(
      constant(initial, as: type, file: file, line: line), name, file: file, line: line)
  }

  /// A variable without content until the first assignment.
  public func variable<T: Scalar>(
    _ type: T.Type, _ name: String = "", file: String = #fileID, line: Int = #line
  ) -> Variable<T> {
    let location = emitter.settle(file, line)
    return Variable(
      id: emitter.builder.variable(T.type, name: name, at: location), emitter: emitter)
  }

  /// Writes a variable in the threads that are here.
  public func assign<T: Scalar>(
    _ variable: Variable<T>, _ value: Value<T>, file: String = #fileID, line: Int = #line
  ) {
    let location = emitter.settle(file, line)
    emitter.requireOwn(variable.emitter, at: location)
    emitter.requireOwn(value.emitter, at: location)
    emitter.builder.assign(variable.id, value.operand, at: location)
  }

  /// Writes a literal to a variable.
  public func assign<T: NumberScalar>(
    _ variable: Variable<T>, _ literal: T.Literal, file: String = #fileID, line: Int = #line
  ) {
    assign(
      variable, constant(literal, as: T.self, file: file, line: line), file: file, line: line)
  }

  // MARK: - Text

  /// A heading in printed code and simulator reports; in Swift, one comment with the formula.
  public func phase(_ title: String, file: String = #fileID, line: Int = #line) {
    emitter.perform(.control(.phase(title)), at: emitter.settle(file, line))
  }

  /// A line of text in printed code.
  public func comment(_ text: String, file: String = #fileID, line: Int = #line) {
    emitter.perform(.control(.comment(text)), at: emitter.settle(file, line))
  }

  // MARK: - Parameters

  /// The next launch argument: a global address, a multiple of `alignment` bytes by promise.
  public func pointer<T: DataScalar>(
    _ name: String, to type: T.Type, alignment: Int = 16, file: String = #fileID,
    line: Int = #line
  ) -> GlobalPointer<T> {
    GlobalPointer(
      address: parameter(name, .pointer(alignment: alignment), file, line), offset: 0)
  }

  /// The next launch argument: a number.
  public func parameter<T: DataScalar>(
    _ name: String, _ type: T.Type, file: String = #fileID, line: Int = #line
  ) -> Value<T> {
    parameter(name, .scalar(T.type), file, line)
  }

  /// The next launch argument: a tensor map.
  public func tensorMap(
    _ name: String, file: String = #fileID, line: Int = #line
  ) -> TensorMapParameter {
    let location = emitter.settle(file, line)
    let id = emitter.builder.addParameter(name: name, kind: .tensorMap)
    return TensorMapParameter(
      address: emitter.value(.memory(.parameterAddress(id)), name: name, at: location))
  }

  /// The next launch argument: a structure by value, read field by field.
  public func bytes(
    _ name: String, count: Int, alignment: Int = 16, file: String = #fileID, line: Int = #line
  ) -> BytesParameter {
    _ = emitter.settle(file, line)
    return BytesParameter(
      id: emitter.builder.addParameter(
        name: name, kind: .bytes(count: count, alignment: alignment)),
      emitter: emitter)
  }

  private func parameter<T: Scalar>(
    _ name: String, _ kind: Parameter.Kind, _ file: String, _ line: Int
  ) -> Value<T> {
    let location = emitter.settle(file, line)
    let id = emitter.builder.addParameter(name: name, kind: kind)
    return emitter.value(.memory(.parameter(id, offset: 0)), name: name, at: location)
  }
}
