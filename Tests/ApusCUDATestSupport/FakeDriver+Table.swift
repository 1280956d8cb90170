public import ApusCUDA
internal import CApusDriver

extension FakeDriver {
  /// The table that `Driver` takes; it keeps this object alive.
  public var table: DriverTable {
    var table = DriverTable()
    addInitialization(&table)
    addDevices(&table)
    addContexts(&table)
    addStreams(&table)
    addCaptureObjects(&table)
    addEvents(&table)
    addMemory(&table)
    addCopies(&table)
    addModules(&table)
    addLaunches(&table)
    addGraphs(&table)
    return table
  }

  private func addInitialization(_ table: inout DriverTable) {
    table.initialize = { _ in
      self.call("cuInit") { state in
        state.isInitialized = true
        return FakeState.ok
      }
    }
    table.driverGetVersion = { version in
      self.call("cuDriverGetVersion") { state in
        version.pointee = state.configuration.version
        return FakeState.ok
      }
    }
    // Words for errors are no work: they are neither recorded nor made to fail.
    table.getErrorName = { status, text in
      guard let name = DriverStatuses.name(status) else { return FakeState.invalidValue }
      text.pointee = UnsafeRawPointer(name.utf8Start).assumingMemoryBound(to: CChar.self)
      return FakeState.ok
    }
    table.getErrorString = { status, text in
      guard DriverStatuses.name(status) != nil else { return FakeState.invalidValue }
      let words: StaticString = "words of the fake driver"
      text.pointee = UnsafeRawPointer(words.utf8Start).assumingMemoryBound(to: CChar.self)
      return FakeState.ok
    }
  }

  private func addDevices(_ table: inout DriverTable) {
    table.deviceGetCount = { count in
      self.call("cuDeviceGetCount") { state in
        count.pointee = Int32(state.configuration.deviceCount)
        return state.isInitialized ? 0 : 3
      }
    }
    table.deviceGet = { device, ordinal in
      self.call("cuDeviceGet") { state in
        device.pointee = ordinal
        return state.check(device: ordinal)
      }
    }
    table.deviceGetName = { name, capacity, device in
      self.call("cuDeviceGetName") { state in
        Self.write("Fake \(device)", to: name, capacity: Int(capacity))
        return state.check(device: device)
      }
    }
    table.deviceGetPCIBusID = { text, capacity, device in
      self.call("cuDeviceGetPCIBusId") { state in
        Self.write("0000:0\(device):00.0", to: text, capacity: Int(capacity))
        return state.check(device: device)
      }
    }
    table.deviceTotalMem = { bytes, device in
      self.call("cuDeviceTotalMem") { state in
        bytes.pointee = state.configuration.memoryByteCount
        return state.check(device: device)
      }
    }
    table.deviceGetAttribute = { value, attribute, device in
      self.call("cuDeviceGetAttribute") { state in
        guard let found = Self.attribute(Int(attribute), state.configuration) else {
          return FakeState.invalidValue
        }
        value.pointee = found
        return state.check(device: device)
      }
    }
    table.deviceCanAccessPeer = { value, device, peer in
      self.call("cuDeviceCanAccessPeer") { state in
        value.pointee = device == peer ? 0 : 1
        return max(state.check(device: device), state.check(device: peer))
      }
    }
  }

  private func addContexts(_ table: inout DriverTable) {
    table.primaryCtxRetain = { context, device in
      self.call("cuDevicePrimaryCtxRetain") { state in
        context.pointee = FakeState.primary(device)
        state.retains[device, default: 0] += 1
        return FakeState.ok
      }
    }
    table.primaryCtxRelease = { device in
      self.call("cuDevicePrimaryCtxRelease") { state in
        guard state.retains[device, default: 0] > 0 else { return FakeState.invalidContext }
        state.retains[device, default: 0] -= 1
        return FakeState.ok
      }
    }
    table.primaryCtxGetState = { device, flags, active in
      self.call("cuDevicePrimaryCtxGetState") { state in
        flags.pointee = 0
        active.pointee =
          state.foreignRetains.contains(device) || state.retains[device, default: 0] > 0 ? 1 : 0
        return FakeState.ok
      }
    }
    table.ctxGetCurrent = { context in
      self.call("cuCtxGetCurrent") { state in
        context.pointee = state.current
        return FakeState.ok
      }
    }
    table.ctxPushCurrent = { context in
      self.call("cuCtxPushCurrent") { state in
        let device = state.device(of: context)
        guard state.foreignRetains.contains(device) || state.retains[device, default: 0] > 0 else {
          return FakeState.invalidContext
        }
        state.stacks[FakeState.thread, default: []].append(context)
        return FakeState.ok
      }
    }
    table.ctxPopCurrent = { context in
      self.call("cuCtxPopCurrent") { state in
        guard state.current != 0 else { return FakeState.invalidContext }
        context.pointee = state.current
        state.stacks[FakeState.thread]?.removeLast()
        return FakeState.ok
      }
    }
    table.ctxGetDevice = { device in
      self.call("cuCtxGetDevice") { state in
        device.pointee = state.device(of: state.current)
        return state.contextStatus
      }
    }
    table.ctxSynchronize = {
      self.call("cuCtxSynchronize") { state in
        let status = state.notCapturing
        // Captured streams never finish: there is nothing to wait for, even for relaxed threads.
        return status == 0 && !state.captures.isEmpty ? FakeState.captureUnsupported : status
      }
    }
    table.ctxGetStreamPriorityRange = { least, greatest in
      self.call("cuCtxGetStreamPriorityRange") { state in
        least.pointee = 0
        greatest.pointee = -5
        return state.contextStatus
      }
    }
    table.ctxEnablePeerAccess = { peer, _ in
      self.call("cuCtxEnablePeerAccess") { state in
        if state.current == 0 { return FakeState.invalidContext }
        return state.peers.insert([state.current, peer]).inserted ? 0 : 704
      }
    }
  }

  private func addStreams(_ table: inout DriverTable) {
    table.streamCreate = { stream, _, _ in
      self.call("cuStreamCreateWithPriority") { state in
        if state.current == 0 { return FakeState.invalidContext }
        stream.pointee = state.add(.stream)
        return FakeState.ok
      }
    }
    table.streamDestroy = { stream in
      self.call("cuStreamDestroy") { $0.remove(stream, .stream) }
    }
    table.streamSynchronize = { stream in
      self.call("cuStreamSynchronize") { max($0.notCapturing, $0.checkStream(stream)) }
    }
    table.streamQuery = { stream in self.call("cuStreamQuery") { $0.checkStream(stream) } }
    table.streamWaitEvent = { stream, event, _ in
      self.call("cuStreamWaitEvent") { state in
        // An event of another device may be waited for.
        state.objects[event]?.kind == .event ? state.checkStream(stream) : FakeState.invalidHandle
      }
    }
    table.streamGetPriority = { stream, priority in
      self.call("cuStreamGetPriority") { state in
        priority.pointee = 0
        return state.checkStream(stream)
      }
    }
    table.streamGetCtx = { stream, context in
      self.call("cuStreamGetCtx") { state in
        guard let object = state.objects[stream], object.kind == .stream else {
          return FakeState.invalidHandle
        }
        context.pointee = object.context
        return FakeState.ok
      }
    }
    table.streamIsCapturing = { stream, status in
      self.call("cuStreamIsCapturing") { state in
        status.pointee = state.captures[stream] == nil ? 0 : 1
        return state.checkStream(stream)
      }
    }
    table.streamBeginCapture = { stream, mode in
      self.call("cuStreamBeginCapture") { state in
        let status = state.checkStream(stream)
        if status != 0 { return status }
        if stream == FakeState.legacyStream { return FakeState.captureUnsupported }
        if state.captures[stream] != nil { return FakeState.captureUnsupported }
        state.captures[stream] = []
        state.captureModes[stream] = (mode, FakeState.thread)
        state.captureGraphs[stream] = state.add(.graph)
        return FakeState.ok
      }
    }
    table.streamEndCapture = { stream, graph in
      self.call("cuStreamEndCapture") { state in
        guard let work = state.captures.removeValue(forKey: stream),
          let made = state.captureGraphs.removeValue(forKey: stream)
        else { return 901 }
        state.captureModes[stream] = nil
        if state.invalidated.remove(stream) != nil {
          _ = state.remove(made, .graph)
          return 901
        }
        graph.pointee = made
        state.graphs[made] = work
        return FakeState.ok
      }
    }
  }

  func addCaptureObjects(_ table: inout DriverTable) {
    table.threadExchangeCaptureMode = { mode in
      self.call("cuThreadExchangeStreamCaptureMode") { state in
        let old = state.threadModes[FakeState.thread] ?? 0
        state.threadModes[FakeState.thread] = mode.pointee
        mode.pointee = old
        return FakeState.ok
      }
    }
    table.streamGetCaptureInfo = { stream, status, _, graph, _, _ in
      self.call("cuStreamGetCaptureInfo") { state in
        status.pointee = state.captures[stream] == nil ? 0 : 1
        graph?.pointee = state.captureGraphs[stream] ?? 0
        return state.checkStream(stream)
      }
    }
    table.userObjectCreate = { object, value, destroy, _, _ in
      self.call("cuUserObjectCreate") { state in
        let handle = state.add(.userObject)
        object.pointee = handle
        state.userObjects[handle] = FakeState.UserObject(value) { destroy($0) }
        return FakeState.ok
      }
    }
    table.userObjectRelease = { object, _ in
      self.call("cuUserObjectRelease") { state in
        state.userObjects[object] = nil
        return state.remove(object, .userObject)
      }
    }
    table.graphRetainUserObject = { graph, object, _, _ in
      self.call("cuGraphRetainUserObject") { state in
        guard state.objects[graph]?.kind == .graph,
          let taken = state.userObjects.removeValue(forKey: object)
        else { return FakeState.invalidHandle }
        state.kept[graph, default: []].append(taken)
        return state.remove(object, .userObject)
      }
    }
  }

  private func addEvents(_ table: inout DriverTable) {
    table.eventCreate = { event, _ in
      self.call("cuEventCreate") { state in
        if state.current == 0 { return FakeState.invalidContext }
        event.pointee = state.add(.event)
        return FakeState.ok
      }
    }
    table.eventDestroy = { event in self.call("cuEventDestroy") { $0.remove(event, .event) } }
    table.eventRecord = { event, stream in
      self.call("cuEventRecord") { state in
        let status = max(state.check(event, .event), state.checkStream(stream))
        if status != 0 { return status }
        state.eventTimes[event] = state.clock
        return state.enqueue(.event, on: stream)
      }
    }
    table.eventSynchronize = { event in
      self.call("cuEventSynchronize") { max($0.notCapturing, $0.check(event, .event)) }
    }
    table.eventQuery = { event in
      self.call("cuEventQuery") { max($0.notCapturing, $0.check(event, .event)) }
    }
    table.eventElapsedTime = { milliseconds, start, end in
      self.call("cuEventElapsedTime") { state in
        guard let begin = state.eventTimes[start], let finish = state.eventTimes[end] else {
          return FakeState.invalidHandle
        }
        milliseconds.pointee = Float(finish - begin)
        return FakeState.ok
      }
    }
  }
}
