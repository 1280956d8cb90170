internal import CApusDriver

/// Which other driver calls a capture forbids while it lasts. Values are those of
/// CUstreamCaptureMode.
public enum CaptureMode: Int32, Sendable, Hashable {
  /// Unsafe calls of any thread end the capture.
  case global = 0
  /// Unsafe calls of the capturing thread do.
  case threadLocal = 1
  /// None do.
  case relaxed = 2
}

/// Recorded work that was not enqueued: made by capturing a stream.
public struct Graph: ~Copyable, Sendable {
  /// The context it belongs to.
  public let context: Context
  /// The driver's handle.
  public let handle: UInt

  init(context: Context, handle: UInt) {
    self.context = context
    self.handle = handle
  }

  deinit {
    let handle = handle
    context.release("cuGraphDestroy", "Graph.deinit") { $0.graphDestroy(handle) }
  }

  /// Number of nodes: launches, copies, fills. The corresponding driver function is
  /// cuGraphGetNodes.
  public func nodeCount() throws(CUDAError) -> Int {
    var count = 0
    try context.call("cuGraphGetNodes", "Graph.nodeCount") {
      $0.graphGetNodes(handle, nil, &count)
    }
    return count
  }

  /// Makes an executable of it. The corresponding driver function is cuGraphInstantiateWithFlags.
  ///
  /// Modules and memory that the captured work uses must outlive the executable.
  public func instantiate() throws(CUDAError) -> ExecutableGraph {
    var executable: UInt = 0
    try context.call("cuGraphInstantiateWithFlags", "Graph.instantiate") {
      $0.graphInstantiate(&executable, handle, 0)
    }
    return ExecutableGraph(context: context, handle: executable)
  }
}

/// A graph that can be launched any number of times, each by one driver call.
public struct ExecutableGraph: ~Copyable, Sendable {
  /// Whether an executable took the parameters of another graph.
  public enum Update: Sendable, Hashable {
    /// It did.
    case updated
    /// The graphs differ in more than parameters: instantiate anew. The number is
    /// CUgraphExecUpdateResult.
    case incompatible(reason: Int32)
  }

  /// The context it belongs to.
  public let context: Context
  /// The driver's handle.
  public let handle: UInt

  init(context: Context, handle: UInt) {
    self.context = context
    self.handle = handle
  }

  deinit {
    let handle = handle
    context.release("cuGraphExecDestroy", "ExecutableGraph.deinit") {
      $0.graphExecDestroy(handle)
    }
  }

  /// Enqueues the whole graph. The corresponding driver function is cuGraphLaunch.
  ///
  /// - Throws: `.argument` when the stream belongs to another context.
  public func launch(on stream: Stream) throws(CUDAError) {
    try stream.require(context, "ExecutableGraph.launch", "the graph")
    try context.call("cuGraphLaunch", "ExecutableGraph.launch") {
      $0.graphLaunch(handle, stream.handle)
    }
  }

  /// Moves to the device what the first launch would. The corresponding driver function is
  /// cuGraphUpload.
  public func upload(on stream: Stream) throws(CUDAError) {
    try stream.require(context, "ExecutableGraph.upload", "the graph")
    try context.call("cuGraphUpload", "ExecutableGraph.upload") {
      $0.graphUpload(handle, stream.handle)
    }
  }

  /// Takes the parameters of a graph of the same shape, which is much cheaper than instantiating.
  /// The corresponding driver function is cuGraphExecUpdate.
  public func update(from graph: borrowing Graph) throws(CUDAError) -> Update {
    let operation = "ExecutableGraph.update"
    let source = graph.handle
    return try context.withCurrent(operation) { () throws(CUDAError) -> Update in
      var info = capus_graph_update_info()
      let status = context.table.graphExecUpdate(handle, source, &info)
      if status == Int32(CAPUS_ERROR_GRAPH_EXEC_UPDATE_FAILURE) {
        return .incompatible(reason: info.result)
      }
      try context.table.check(status, "cuGraphExecUpdate", operation)
      return .updated
    }
  }
}

extension Stream {
  /// Records the work that `body` enqueues on this stream instead of running it.
  ///
  /// When `body` throws, the capture is ended and what it recorded is thrown away. The
  /// corresponding driver functions are cuStreamBeginCapture and cuStreamEndCapture.
  ///
  /// - Throws: `.call`; the legacy default stream cannot be captured.
  public func capture(
    mode: CaptureMode = .threadLocal, _ body: () throws(CUDAError) -> Void
  ) throws(CUDAError) -> Graph {
    try beginCapture(mode: mode)
    do {
      try body()
    } catch {
      abandonCapture()
      throw error
    }
    do {
      return try endCapture()
    } catch {
      // The call may have failed before it reached the capture.
      abandonCapture()
      throw error
    }
  }

  /// Ends a capture whose work nobody wants. A failure means that none is left to end, and would
  /// hide the error that led here.
  private func abandonCapture() {
    var graph: UInt = 0
    let table = context.table
    try? context.withCurrent("Stream.capture") { () throws(CUDAError) in
      _ = table.streamEndCapture(handle, &graph)
    }
    if graph != 0 { _ = Graph(context: context, handle: graph) }
  }

  /// Begins a capture that `endCapture` must end. The corresponding driver function is
  /// cuStreamBeginCapture.
  public func beginCapture(mode: CaptureMode = .threadLocal) throws(CUDAError) {
    try context.call("cuStreamBeginCapture", "Stream.beginCapture") {
      $0.streamBeginCapture(handle, mode.rawValue)
    }
  }

  /// Ends a capture and returns what it recorded. The corresponding driver function is
  /// cuStreamEndCapture.
  public func endCapture() throws(CUDAError) -> Graph {
    let operation = "Stream.endCapture"
    let table = context.table
    return try context.withCurrent(operation) { () throws(CUDAError) -> Graph in
      var graph: UInt = 0
      let status = table.streamEndCapture(handle, &graph)
      if status != 0 {
        // An invalidated capture may still hand out a graph, which is ours to destroy.
        if graph != 0 { _ = Graph(context: context, handle: graph) }
        throw table.error(status, "cuStreamEndCapture", operation)
      }
      return Graph(context: context, handle: graph)
    }
  }

  /// Whether the stream is being captured. The corresponding driver function is
  /// cuStreamIsCapturing.
  public func isCapturing() throws(CUDAError) -> Bool {
    var status: Int32 = 0
    try context.call("cuStreamIsCapturing", "Stream.isCapturing") {
      $0.streamIsCapturing(handle, &status)
    }
    return status != 0
  }
}
