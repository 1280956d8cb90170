internal import ApusDSL
internal import ApusIR

/// A place in a ring of stages as two values: code that holds the stage it works on and the next one
/// at once derives the next without an assignment.
struct PipelinePosition {
  /// 0…stages − 1.
  let stage: Value<U32>
  /// Parity of the phase that the stage is in.
  let parity: Value<U32>
  /// Stages of the ring.
  let stages: Int

  /// The position after this one.
  var next: PipelinePosition {
    if stages == 2 {
      // The parity flips with every step from stage 1 to stage 0.
      return PipelinePosition(stage: stage ^ 1, parity: parity ^ stage, stages: stages)
    }
    if stages & (stages - 1) == 0 {
      let next = stage + 1
      return PipelinePosition(
        stage: next & (stages - 1), parity: parity ^ next >> stages.trailingZeroBitCount,
        stages: stages)
    }
    let isThrough = stage == stages - 1
    return PipelinePosition(
      stage: select(isThrough, stage - (stages - 1), stage + 1),
      parity: select(isThrough, parity ^ 1, parity), stages: stages)
  }
}

/// A position carried around loops.
struct PipelineCursor {
  private let stage: Variable<U32>
  private let parity: Variable<U32>
  private let stages: Int

  /// A cursor at stage 0 of the first phase.
  init(_ block: Block, stages: Int, file: String = #fileID, line: Int = #line) {
    stage = block.variable(0, as: U32.self, "stage", file: file, line: line)
    parity = block.variable(0, as: U32.self, "parity", file: file, line: line)
    self.stages = stages
  }

  /// Where the cursor is now.
  var position: PipelinePosition {
    PipelinePosition(stage: stage.value, parity: parity.value, stages: stages)
  }

  /// Moves the cursor.
  func move(
    to position: PipelinePosition, _ block: Block, file: String = #fileID, line: Int = #line
  ) {
    block.assign(stage, position.stage, file: file, line: line)
    block.assign(parity, position.parity, file: file, line: line)
  }
}

extension Block {
  /// Repeats `body` while the condition holds; the condition stands at the end of the loop, where
  /// the assembler wants its branch, and once before it.
  func repeatWhile(
    _ condition: () -> Value<Pred>, file: String = #fileID, line: Int = #line,
    _ body: () -> Void
  ) {
    when(condition(), .uniform, file: file, line: line) {
      loop(file: file, line: line) {
        body()
        breakIf(!condition(), file: file, line: line)
      }
    }
  }
}
