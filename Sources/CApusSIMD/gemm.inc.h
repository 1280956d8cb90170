// gemm and the packing of its right operand, for prefill.
//
// A block of GEMM_ROWS rows by GEMM_VECTORS vectors of C stays in registers over the whole depth:
// one load of B serves GEMM_ROWS FMAs and one broadcast of A serves GEMM_VECTORS. Columns are the
// outer loop, so that a panel of B is read from L1 by all rows. Each element of C is summed in
// index order by one chain: its bits do not depend on rows, columns or its place in a block.

enum { GEMM_ROWS = 6, GEMM_VECTORS = REGISTERS == 32 ? 4 : 2 };

/// R rows by C vectors, or with C = 1 by `columns` <= VL columns.
INLINE void gemm_block(const int R, const int C, const float *a, ptrdiff_t lda, const float *b,
                       ptrdiff_t ldb, int columns, int depth, float *c, ptrdiff_t ldc,
                       int accumulate) {
  const int partial = C == 1 && columns < VL;
  vf sum[GEMM_ROWS * GEMM_VECTORS], bv[GEMM_VECTORS];
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int x = 0; x < C; x++) {
      const float *from = c + r * ldc + x * VL;
      sum[r * C + x] = !accumulate ? (vf)0 : partial ? v_load_n(from, columns) : v_load(from);
    }
  }
  for (int k = 0; k < depth; k++) {
    const float *row = b + k * ldb;
    UNROLL for (int x = 0; x < C; x++) {
      bv[x] = partial ? v_load_n(row, columns) : v_load(row + x * VL);
    }
    UNROLL for (int r = 0; r < R; r++) {
      const vf av = a[r * lda + k];
      UNROLL for (int x = 0; x < C; x++) sum[r * C + x] = v_fma(av, bv[x], sum[r * C + x]);
    }
  }
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int x = 0; x < C; x++) {
      float *to = c + r * ldc + x * VL;
      if (partial) {
        v_store_n(to, sum[r * C + x], columns);
      } else {
        v_store(to, sum[r * C + x]);
      }
    }
  }
}

/// All rows of one column panel of C vectors, or of `columns` <= VL columns.
INLINE void gemm_panel(const int C, const float *a, ptrdiff_t lda, int rows, const float *b,
                       ptrdiff_t ldb, int columns, int depth, float *c, ptrdiff_t ldc,
                       int accumulate) {
#define BLOCK(R)                                                                           \
  gemm_block(R, C, a + i * lda, lda, b, ldb, columns, depth, c + i * ldc, ldc, accumulate)
  int i = 0;
  for (; i + GEMM_ROWS <= rows; i += GEMM_ROWS) BLOCK(GEMM_ROWS);
  if (i + 4 <= rows) {
    BLOCK(4);
    i += 4;
  }
  if (i + 2 <= rows) {
    BLOCK(2);
    i += 2;
  }
  if (i < rows) BLOCK(1);
#undef BLOCK
}

static void gemm(const float *a, ptrdiff_t lda, int rows, const float *b, ptrdiff_t ldb,
                 int columns, int depth, float *c, ptrdiff_t ldc, int accumulate) {
  int j = 0;
  for (; j + GEMM_VECTORS * VL <= columns; j += GEMM_VECTORS * VL) {
    gemm_panel(GEMM_VECTORS, a, lda, rows, b + j, ldb, GEMM_VECTORS * VL, depth, c + j, ldc,
               accumulate);
  }
  if (GEMM_VECTORS == 4 && j + 2 * VL <= columns) {
    gemm_panel(2, a, lda, rows, b + j, ldb, 2 * VL, depth, c + j, ldc, accumulate);
    j += 2 * VL;
  }
  for (; j < columns; j += VL) {
    const int n = columns - j < VL ? columns - j : VL;
    gemm_panel(1, a, lda, rows, b + j, ldb, n, depth, c + j, ldc, accumulate);
  }
}

/// One perfect shuffle of VL * VL elements.
INLINE void v_shuffle_round(vf x[VL]) {
  vf y[VL];
  UNROLL for (int i = 0; i < VL / 2; i++) {
    y[2 * i] = zip_low(x[i], x[i + VL / 2]);
    y[2 * i + 1] = zip_high(x[i], x[i + VL / 2]);
  }
  UNROLL for (int i = 0; i < VL; i++) x[i] = y[i];
}

/// Transposes VL vectors in log2(VL) perfect shuffles.
INLINE void v_transpose(vf x[VL]) {
  v_shuffle_round(x);
  v_shuffle_round(x);
  if (VL >= 8) v_shuffle_round(x);
  if (VL >= 16) v_shuffle_round(x);
}

INLINE void pack_transposed(const int type, const void *const *k, int tokens, int padded, int dim,
                            float *dst, ptrdiff_t ldd) {
  const vf unit = type_unit(type);
  for (int j = 0; j < padded; j += VL) {
    const int width = padded - j < VL ? padded - j : VL;
    for (int c = 0; c < dim; c += VL) {
      const int height = dim - c < VL ? dim - c : VL;
      vf x[VL];
      UNROLL for (int t = 0; t < VL; t++) {
        if (j + t >= tokens) {
          x[t] = 0;
        } else {
          const void *from = element(k[j + t], type, c);
          x[t] = (height == VL ? v_widen(type, from) : v_widen_n(type, from, height)) * unit;
        }
      }
      v_transpose(x);
      UNROLL for (int r = 0; r < VL; r++) {
        float *to = dst + (c + r) * ldd + j;
        if (r < height && width == VL) {
          v_store(to, x[r]);
        } else if (r < height) {
          v_store_n(to, x[r], width);
        }
      }
    }
  }
}
