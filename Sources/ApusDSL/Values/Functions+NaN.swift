import ApusIR

/// The smaller; NaN if either is NaN.
public func minNaN<T: FloatScalar>(_ a: Value<T>, _ b: Value<T>) -> Value<T> {
  a.combine(.arithmetic(.minNaN), b)
}

/// The larger; NaN if either is NaN.
public func maxNaN<T: FloatScalar>(_ a: Value<T>, _ b: Value<T>) -> Value<T> {
  a.combine(.arithmetic(.maxNaN), b)
}
