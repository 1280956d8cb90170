internal import ApusCore
internal import ApusIR

extension GeneralSample {
  /// The launches of the kernel in hand.
  func launches(_ addresses: [UInt64]) -> [KernelLaunch] {
    let (qo, kv) = (shape.qoHeadCount, shape.kvHeadCount)
    let outer = isPaged ? [slots / pageSize, pageSize] : [slots]
    let type = ScalarType(kernel.cache)
    func cache(_ buffer: Int, _ width: Int) -> TensorView {
      .sample(addresses[buffer], type, outer + [kv, width])
    }
    func head(_ offset: Int, _ count: Int) -> Scale {
      .head(.sample(addresses[6], .f32, [count], skipping: offset))
    }
    var scales = AttentionScales(q: head(0, qo), o: head(qo + 2 * kv, qo))
    if hasOptions {
      scales.k = .tokenHead(.sample(addresses[7], .f32, outer + [kv]))
      if !isLatent { scales.v = .tokenHead(.sample(addresses[8], .f32, outer + [kv])) }
    } else {
      scales.k = head(qo, kv)
      if isLatent { scales.kpe = .tensor(ropeScale) } else { scales.v = head(qo + kv, kv) }
    }
    let (width, value) = (shape.headDimQK, shape.headDimVO)
    let arguments = AttentionArguments(
      q: .packed(
        .sample(
          addresses[0], ScalarType(kernel.query.sampleType), [rows, qo, width], skipping: lead)),
      kv: isLatent
        ? .latent(ckv: cache(1, value), kpe: cache(2, width - value))
        : .separate(k: cache(1, width), v: cache(2, value)),
      o: .sample(addresses[3], ScalarType(kernel.output.sampleType), [rows, qo, value]),
      lse: .sample(addresses[4], .f32, [rows, qo]), scales: scales,
      sinks: .sample(addresses[5], .f32, [qo]))
    // The merge of what is split is another kernel's.
    return plan.launches(for: arguments).filter { $0.kernel is GeneralAttentionKernel }
      .bound(metadata: addresses[9], workspace: addresses[10])
  }
}
