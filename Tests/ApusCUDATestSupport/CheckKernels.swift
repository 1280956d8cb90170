/// Kernels in handwritten PTX with which the driver runtime is checked on a GPU.
///
/// The only PTX text outside the printer: a driver must be testable without the kernel language.
public enum CheckKernels {
  /// `vector_add(a, b, c, n)`: `c[i] = a[i] + b[i]` in f32, one thread an element; runs from sm_80 on.
  public static let vectorAdd = """
    .version 7.0
    .target sm_80
    .address_size 64

    .visible .entry vector_add(
      .param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n)
    {
    \(vectorAddBody)}

    """

  /// PTX for sm_90: `vector_add_after`, the same as vector_add behind the end of its predecessor;
  /// `cluster_rank(out)`, which writes each block's rank in its cluster; `copy_tile(map, out, x, y)`,
  /// which moves a box of 2048 bytes at (x, y) through shared memory to `out`, 512 threads.
  public static let hopper = """
    .version 8.0
    .target sm_90
    .address_size 64

    .visible .entry vector_add_after(
      .param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n)
    {
      griddepcontrol.wait;
    \(vectorAddBody)}

    .visible .entry cluster_rank(.param .u64 out)
    {
      .reg .u32 %block, %rank;
      .reg .u64 %base, %place;
      mov.u32 %block, %ctaid.x;
      mov.u32 %rank, %cluster_ctarank;
      ld.param.u64 %base, [out];
      cvta.to.global.u64 %base, %base;
      mul.wide.u32 %place, %block, 4;
      add.u64 %place, %base, %place;
      st.global.u32 [%place], %rank;
      barrier.cluster.arrive.aligned;
      barrier.cluster.wait.aligned;
      ret;
    }

    .visible .entry copy_tile(
      .param .align 64 .b8 map[128], .param .u64 out, .param .u32 x, .param .u32 y)
    {
      .shared .align 128 .b8 tile[2048];
      .shared .align 8 .b64 full;
      .reg .pred %other, %done;
      .reg .u32 %thread, %x, %y, %tile, %full, %source, %word;
      .reg .u64 %map, %base, %place;
      mov.u32 %thread, %tid.x;
      mov.u32 %tile, tile;
      mov.u32 %full, full;
      setp.ne.u32 %other, %thread, 0;
      @%other bra READY;
      ld.param.u32 %x, [x];
      ld.param.u32 %y, [y];
      mov.b64 %map, map;
      cvta.param.u64 %map, %map;
      mbarrier.init.shared::cta.b64 [%full], 1;
      fence.mbarrier_init.release.cluster;
      mbarrier.arrive.expect_tx.shared::cta.b64 _, [%full], 2048;
      cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes
        [%tile], [%map, {%x, %y}], [%full];
    READY:
      bar.sync 0;
    AGAIN:
      mbarrier.try_wait.parity.shared::cta.b64 %done, [%full], 0;
      @!%done bra AGAIN;
      shl.b32 %source, %thread, 2;
      add.u32 %source, %source, %tile;
      ld.shared.u32 %word, [%source];
      ld.param.u64 %base, [out];
      cvta.to.global.u64 %base, %base;
      mul.wide.u32 %place, %thread, 4;
      add.u64 %place, %base, %place;
      st.global.u32 [%place], %word;
      ret;
    }

    """

  /// PTX that a compiler refuses at line 6, with an instruction that does not exist.
  public static let broken = """
    .version 7.0
    .target sm_80
    .address_size 64
    .visible .entry broken()
    {
      no_such_instruction.f32 %f1, %f2;
      ret;
    }

    """

  private static let vectorAddBody = """
      .reg .pred %outside;
      .reg .u32 %i, %block, %size, %n;
      .reg .f32 %left, %right;
      .reg .u64 %offset, %a, %b, %c;
      mov.u32 %block, %ctaid.x;
      mov.u32 %size, %ntid.x;
      mov.u32 %i, %tid.x;
      mad.lo.u32 %i, %block, %size, %i;
      ld.param.u32 %n, [n];
      setp.ge.u32 %outside, %i, %n;
      @%outside bra END;
      mul.wide.u32 %offset, %i, 4;
      ld.param.u64 %a, [a];
      ld.param.u64 %b, [b];
      ld.param.u64 %c, [c];
      cvta.to.global.u64 %a, %a;
      cvta.to.global.u64 %b, %b;
      cvta.to.global.u64 %c, %c;
      add.u64 %a, %a, %offset;
      add.u64 %b, %b, %offset;
      add.u64 %c, %c, %offset;
      ld.global.f32 %left, [%a];
      ld.global.f32 %right, [%b];
      add.rn.f32 %left, %left, %right;
      st.global.f32 [%c], %left;
    END:
      ret;

    """
}
