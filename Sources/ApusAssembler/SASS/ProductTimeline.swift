/// Products, waits and exponentials in the order of their addresses: where softmax was put.
///
/// One span stretches from a group or wait to the next. Exponentials (`MUFU.EX2`) of a span whose
/// start leaves products in flight run beside the tensor cores; the others delay them.
public struct ProductTimeline: Sendable, Hashable {
  /// What begins a span.
  public enum Event: Sendable, Hashable {
    /// The function's first instruction.
    case start
    /// A group of products closes; how many products it has and of which opcode.
    case group(products: Int, opcode: String)
    /// A wait that leaves so many groups in flight.
    case wait(allowed: Int)
  }

  /// Code between two events.
  public struct Span: Sendable, Hashable {
    /// What begins it.
    public let event: Event
    /// Address of the event.
    public let address: Int
    /// Exponentials in it.
    public internal(set) var exponentials = 0
    /// Those of them that run while products are in flight.
    public internal(set) var overlapped = 0
  }

  /// All spans in the order of addresses.
  public let spans: [Span]

  /// The timeline of a checked function.
  public init(_ function: SASSFunction, _ check: WarpgroupCheck) {
    var spans = [Span(event: .start, address: 0)]
    var products = 0
    for (index, instruction) in function.instructions.enumerated() {
      if instruction.isProduct {
        products += 1
        if instruction.closesGroup {
          spans.append(
            Span(
              event: .group(products: products, opcode: instruction.opcode),
              address: instruction.address))
          products = 0
        }
      } else if let allowed = instruction.allowedGroups {
        spans.append(Span(event: .wait(allowed: allowed), address: instruction.address))
      } else if instruction.name == "MUFU", instruction.has("EX2") {
        spans[spans.count - 1].exponentials += 1
        if check.isInFlight[index] { spans[spans.count - 1].overlapped += 1 }
      }
    }
    self.spans = spans
  }

  /// All exponentials.
  public var exponentials: Int { spans.reduce(0) { $0 + $1.exponentials } }
  /// Exponentials that run while products are in flight.
  public var overlapped: Int { spans.reduce(0) { $0 + $1.overlapped } }
}

extension ProductTimeline: CustomStringConvertible {
  /// A line per span, then the share of exponentials beside products.
  public var description: String {
    let lines = spans.map { span in
      let event =
        switch span.event {
        case .start: "start"
        case .group(let products, let opcode): "group of \(products) × \(opcode)"
        case .wait(let allowed): "wait, \(allowed) groups stay"
        }
      return "  \(hex(span.address))  \(event): \(span.exponentials) MUFU.EX2, "
        + "\(span.overlapped) beside products"
    }
    return (lines + ["  \(overlapped) of \(exponentials) MUFU.EX2 beside products"])
      .joined(separator: "\n")
  }
}
