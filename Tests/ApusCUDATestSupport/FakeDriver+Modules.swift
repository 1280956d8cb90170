internal import ApusCUDA
internal import CApusDriver

extension FakeDriver {
  func addModules(_ table: inout DriverTable) {
    table.moduleLoadDataEx = { module, image, count, keys, values in
      self.call("cuModuleLoadDataEx") { state in
        let status = state.notCapturing
        if status != 0 { return status }
        var options: [Int: UnsafeMutableRawPointer?] = [:]
        for index in 0..<Int(count) { options[Int(keys[index])] = values[index] }
        return state.load(
          String(cString: image.assumingMemoryBound(to: CChar.self)), options, module)
      }
    }
    table.moduleUnload = { module in self.call("cuModuleUnload") { $0.remove(module, .module) } }
    table.moduleGetFunction = { function, module, name in
      let name = String(cString: name)
      return self.call("cuModuleGetFunction") { state in
        let status = state.check(module, .module)
        if status != 0 { return status }
        let symbols = state.objects[module]?.name.split(separator: " ").map(String.init) ?? []
        guard symbols.contains(name) else { return FakeState.notFound }
        // The name of a function holds its module, for unloading, and its symbol.
        function.pointee = state.add(.function, "of \(module)")
        state.symbols[function.pointee] = name
        return FakeState.ok
      }
    }
    table.moduleGetGlobal = { _, _, _, _ in
      self.call("cuModuleGetGlobal") { _ in FakeState.notFound }
    }
    table.funcGetAttribute = { value, attribute, function in
      self.call("cuFuncGetAttribute") { state in
        // Any plausible figures: 32 registers, 1024 threads, 48 KB.
        value.pointee = [4: 32, 0: 1024, 8: 48 << 10, 5: 80, 6: 90][attribute] ?? 0
        return state.check(function, .function)
      }
    }
    table.funcSetAttribute = { function, _, _ in
      self.call("cuFuncSetAttribute") { $0.check(function, .function) }
    }
    if configuration.hasFunctionLoad {
      table.funcLoad = { function in
        self.call("cuFuncLoad") { $0.check(function, .function) }
      }
    }
  }

  func addLaunches(_ table: inout DriverTable) {
    table.launchKernelEx = { form, function, parameters, _ in
      self.call("cuLaunchKernelEx") { state in
        let status = max(
          state.check(function, .function), state.checkStream(form.pointee.stream))
        if status != 0 { return status }
        guard let launch = state.launch(form.pointee, function, parameters) else {
          return FakeState.invalidValue
        }
        return state.enqueue(.launch(launch), on: form.pointee.stream)
      }
    }
    table.occupancyMaxActiveBlocks = { count, function, threads, _ in
      self.call("cuOccupancyMaxActiveBlocksPerMultiprocessor") { state in
        count.pointee = 2048 / max(1, threads)
        return state.check(function, .function)
      }
    }
    table.occupancyMaxActiveClusters = { count, function, form in
      self.call("cuOccupancyMaxActiveClusters") { state in
        let size = form.pointee.attributes?.pointee.value.cluster.x ?? 1
        let isThere = size <= state.configuration.largestCluster
        count.pointee = isThere ? 132 / Int32(max(1, size)) : 0
        return state.check(function, .function)
      }
    }
    table.tensorMapEncodeTiled = {
      map, type, rank, address, dimensions, strides, box, steps, interleave, swizzle, promotion,
      fill in
      self.call("cuTensorMapEncodeTiled") { state in
        if UInt(bitPattern: map) % 64 != 0 { return FakeState.invalidValue }
        map.pointee.words.0 = address
        map.pointee.words.1 = dimensions[0]
        map.pointee.words.2 = rank > 1 ? dimensions[1] : 1
        map.pointee.words.3 = rank > 1 ? strides[0] : 0
        map.pointee.words.4 = UInt64(box[0])
        map.pointee.words.5 = rank > 1 ? UInt64(box[1]) : 1
        map.pointee.words.6 = UInt64(type) | UInt64(rank) << 8 | UInt64(interleave) << 16
        map.pointee.words.7 = UInt64(swizzle) | UInt64(promotion) << 8 | UInt64(fill) << 16
        map.pointee.words.8 = UInt64(steps[0])
        map.pointee.words.9 = (rank > 2 ? dimensions[2] : 1) | (rank > 3 ? dimensions[3] : 1) << 32
        map.pointee.words.10 = rank > 4 ? dimensions[4] : 1
        map.pointee.words.11 = rank > 2 ? strides[1] : 0
        map.pointee.words.12 = rank > 3 ? strides[2] : 0
        map.pointee.words.13 = rank > 4 ? strides[3] : 0
        for axis in 2..<max(Int(rank), 2) {
          map.pointee.words.14 |= UInt64(box[axis]) << UInt64(16 * (axis - 2))
        }
        return state.contextStatus
      }
    }
  }

  func addGraphs(_ table: inout DriverTable) {
    table.graphInstantiate = { executable, graph, _ in
      self.call("cuGraphInstantiateWithFlags") { state in
        let status = state.check(graph, .graph)
        if status != 0 { return status }
        executable.pointee = state.add(.executable)
        state.graphs[executable.pointee] = state.graphs[graph]
        state.kept[executable.pointee] = state.kept[graph]
        return FakeState.ok
      }
    }
    table.graphLaunch = { executable, stream in
      self.call("cuGraphLaunch") { state in
        let status = max(state.check(executable, .executable), state.checkStream(stream))
        if status != 0 { return status }
        for work in state.graphs[executable] ?? [] {
          let status = state.enqueue(work, on: stream)
          if status != 0 { return status }
        }
        return FakeState.ok
      }
    }
    table.graphUpload = { executable, stream in
      self.call("cuGraphUpload") { state in
        max(state.check(executable, .executable), state.checkStream(stream))
      }
    }
    table.graphExecUpdate = { executable, graph, info in
      self.call("cuGraphExecUpdate") { state in
        let status = max(state.check(executable, .executable), state.check(graph, .graph))
        if status != 0 { return status }
        guard state.graphs[executable]?.count == state.graphs[graph]?.count else {
          info.pointee.result = 2
          return 910
        }
        state.graphs[executable] = state.graphs[graph]
        return FakeState.ok
      }
    }
    table.graphGetNodes = { graph, _, count in
      self.call("cuGraphGetNodes") { state in
        count.pointee = state.graphs[graph]?.count ?? 0
        return state.check(graph, .graph)
      }
    }
    table.graphDestroy = { graph in self.call("cuGraphDestroy") { $0.remove(graph, .graph) } }
    table.graphExecDestroy = { executable in
      self.call("cuGraphExecDestroy") { $0.remove(executable, .executable) }
    }
  }

  /// A Hopper-like device.
  static func attribute(_ number: Int, _ configuration: Configuration) -> Int32? {
    let hopper: Int32 = configuration.capability >= 90 ? 1 : 0
    let values: [Int: Int32] = [
      CAPUS_DEVICE_MAX_THREADS_PER_BLOCK: 1024, CAPUS_DEVICE_MAX_GRID_X: .max,
      CAPUS_DEVICE_MAX_GRID_Y: 65535, CAPUS_DEVICE_MAX_GRID_Z: 65535,
      CAPUS_DEVICE_SHARED_PER_BLOCK: 48 << 10, CAPUS_DEVICE_WARP_SIZE: 32,
      CAPUS_DEVICE_CLOCK_KHZ: 1_980_000,
      CAPUS_DEVICE_MULTIPROCESSOR_COUNT: configuration.multiprocessorCount,
      CAPUS_DEVICE_MEMORY_CLOCK_KHZ: 3_201_000, CAPUS_DEVICE_MEMORY_BUS_BITS: 6144,
      CAPUS_DEVICE_L2_BYTES: 60 << 20, CAPUS_DEVICE_THREADS_PER_MULTIPROCESSOR: 2048,
      CAPUS_DEVICE_CAPABILITY_MAJOR: configuration.capability / 10,
      CAPUS_DEVICE_CAPABILITY_MINOR: configuration.capability % 10,
      CAPUS_DEVICE_SHARED_PER_MULTIPROCESSOR: 228 << 10,
      CAPUS_DEVICE_REGISTERS_PER_MULTIPROCESSOR: 65536,
      CAPUS_DEVICE_COOPERATIVE_LAUNCH: 1, CAPUS_DEVICE_SHARED_PER_BLOCK_OPT_IN: 227 << 10,
      CAPUS_DEVICE_RESERVED_SHARED_PER_BLOCK: 1024, CAPUS_DEVICE_MEMORY_POOLS: 1,
      CAPUS_DEVICE_CLUSTER_LAUNCH: hopper, CAPUS_DEVICE_TENSOR_MAP_ACCESS: hopper,
    ]
    return values[number]
  }
}

extension FakeState {
  /// Loads PTX that has a version line; everything else is refused with the compiler's words.
  mutating func load(
    _ text: String, _ options: [Int: UnsafeMutableRawPointer?],
    _ module: UnsafeMutablePointer<UInt>
  ) -> Int32 {
    if current == 0 { return Self.invalidContext }
    func log(_ text: String, _ buffer: Int, _ size: Int) {
      guard let place = options[buffer] ?? nil else { return }
      let capacity = Int(bitPattern: options[size] ?? nil)
      FakeDriver.write(
        text, to: place.assumingMemoryBound(to: CChar.self), capacity: capacity)
    }
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    if let line = lines.firstIndex(where: { $0.contains("no_such_instruction") }) {
      log(
        "ptxas application ptx input, line \(line + 1); error   : Not a name of any known "
          + "instruction\n", CAPUS_JIT_ERROR_LOG, CAPUS_JIT_ERROR_LOG_BYTES)
      return 218
    }
    guard text.contains(".version") else {
      log(
        "ptxas application ptx input, line 1; fatal   : Missing .version directive at start of "
          + "file\n", CAPUS_JIT_ERROR_LOG, CAPUS_JIT_ERROR_LOG_BYTES)
      return 218
    }
    let symbols = lines.compactMap { line -> String? in
      guard let range = line.firstRange(of: ".entry ") else { return nil }
      let rest: Substring = line[range.upperBound..<line.endIndex]
      return String(rest.prefix { $0 != "(" && $0 != " " })
    }
    let info = symbols.map {
      "ptxas info    : Compiling entry function '\($0)' for 'sm_90'\n"
        + "ptxas info    : Function properties for \($0)\n"
        + "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
        + "ptxas info    : Used 32 registers, used 0 barriers, 380 bytes cmem[0]\n"
    }
    log(
      configuration.compilerInfo ?? info.joined(), CAPUS_JIT_INFO_LOG, CAPUS_JIT_INFO_LOG_BYTES)
    module.pointee = add(.module, symbols.joined(separator: " "))
    return Self.ok
  }

  /// The launch that a driver call describes; nil if its parameters are not those of the kernel.
  func launch(
    _ form: capus_launch_config, _ function: UInt,
    _ parameters: UnsafeMutablePointer<UnsafeMutableRawPointer?>?
  ) -> FakeLaunch? {
    guard let symbol = symbols[function] else { return nil }
    let sizes = configuration.kernel(symbol)?.parameterByteCounts ?? []
    var bytes: [[UInt8]] = []
    for (index, size) in sizes.enumerated() {
      guard let list = parameters, let place = list[index] else { return nil }
      // As the kernel's own parameter space would be aligned: 64 for a tensor map.
      if UInt(bitPattern: place) % UInt(min(64, size)) != 0 { return nil }
      bytes.append([UInt8](UnsafeRawBufferPointer(start: place, count: size)))
    }
    var attributes: [[UInt32]] = []
    for index in 0..<Int(form.attribute_count) {
      guard let attribute = form.attributes?[index] else { return nil }
      let cluster = attribute.value.cluster
      attributes.append([attribute.id, cluster.x, cluster.y, cluster.z])
    }
    return FakeLaunch(
      kernel: symbol, grid: [form.grid_x, form.grid_y, form.grid_z],
      block: [form.block_x, form.block_y, form.block_z],
      dynamicSharedByteCount: form.dynamic_shared_bytes, attributes: attributes,
      stream: form.stream, parameters: bytes)
  }
}
