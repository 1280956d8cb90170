// Panels of bfloat16 pairs and their product: a part of dot.inc.h.

/// Pairs are the 32-bit elements that v_transpose moves.
INLINE void dot_pack_keys(const int type, const void *const *k, int tokens, int dim,
                          uint32_t *dst, ptrdiff_t ldd) {
  const dot_table table = dot_table_of(type);
  const int pairs = (dim + 1) / 2;
  for (int j = 0; j < tokens; j += 16) {
    const int n = tokens - j < 16 ? tokens - j : 16;
    for (int c = 0; c < pairs; c += 16) {
      const int left = dim - 2 * c;
      vf x[16];
      UNROLL for (int t = 0; t < 16; t++) {
        if (t >= n) {
          x[t] = 0;
          continue;
        }
        const char *from = (const char *)k[j + t] + 2 * c * type_size(type);
        vw row = vw_load_n(type, from, left < 32 ? left : 32);
        if (type_size(type) == 1) {
          // Codes in the first eight bytes of each quarter.
          const vw eights = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
          const vw spread = _mm512_permutexvar_epi64(eights, row);
          row = _mm512_unpacklo_epi8(dot_low(&table, spread), dot_high(&table, spread));
        }
        x[t] = (vf)row;
      }
      v_transpose(x);
      const int height = pairs - c < 16 ? pairs - c : 16;
      UNROLL for (int r = 0; r < 16; r++) {
        if (r < height) v_store((float *)(dst + (c + r) * ldd + j), x[r]);
      }
    }
  }
}

INLINE void dot_pack_values(const int type, const void *const *v, int tokens, int dim,
                            uint32_t *dst, ptrdiff_t ldd) {
  const dot_table table = dot_table_of(type);
  const vw lower = interleave_indices(0), upper = interleave_indices(16);
  for (int j = 0; j < tokens; j += 2) {
    const char *a = v[j], *b = j + 1 < tokens ? v[j + 1] : NULL;
    uint32_t *to = dst + j / 2 * ldd;
    int c = 0;
    if (type_size(type) == 2) {
      for (; c + 32 <= dim; c += 32) {
        const vw u = vw_load(a + 2 * c), w = b ? vw_load(b + 2 * c) : _mm512_setzero_si512();
        _mm512_storeu_si512(to + c, _mm512_permutex2var_epi16(u, lower, w));
        _mm512_storeu_si512(to + c + 16, _mm512_permutex2var_epi16(u, upper, w));
      }
    } else {
      for (; c + 64 <= dim; c += 64) {
        vw x[4];
        vf y[4];
        dot_pairs(type, 4, &table, a + c, b ? b + c : NULL, x);
        UNROLL for (int i = 0; i < 4; i++) y[i] = (vf)x[i];
        dot_unmix(type, y);
        UNROLL for (int i = 0; i < 4; i++) v_store((float *)(to + c + i * VL), y[i]);
      }
    }
    for (; c < dim; c += 16) {
      const int left = dim - c < 16 ? dim - c : 16;
      const ptrdiff_t at = (ptrdiff_t)c * type_size(type);
      const vw x = dot_pair(type, &table, a + at, b ? b + at : NULL, left);
      _mm512_mask_storeu_epi32(to + c, first_lanes(left), x);
    }
  }
}

/// As gemm_block, over `depth` pairs.
INLINE void dot_gemm_block(const int R, const int C, const uint16_t *a, ptrdiff_t lda,
                           const uint32_t *b, ptrdiff_t ldb, int columns, int depth, float *c,
                           ptrdiff_t ldc, int accumulate) {
  const int partial = C == 1 && columns < VL;
  vf sum[DOT_ROWS * DOT_VECTORS];
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int x = 0; x < C; x++) {
      const float *from = c + r * ldc + x * VL;
      sum[r * C + x] = !accumulate ? (vf)0 : partial ? v_load_n(from, columns) : v_load(from);
    }
  }
  for (int k = 0; k < depth; k++) {
    vw bv[DOT_VECTORS];
    UNROLL for (int x = 0; x < C; x++) {
      const uint32_t *row = b + k * ldb + x * VL;
      bv[x] = partial ? (vw)v_load_n(row, columns) : vw_load(row);
    }
    UNROLL for (int r = 0; r < R; r++) {
      const vw av = dot_weight(a + r * lda + 2 * k);
      UNROLL for (int x = 0; x < C; x++) sum[r * C + x] = v_dot(sum[r * C + x], av, bv[x]);
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

INLINE void dot_gemm_panel(const int C, const uint16_t *a, ptrdiff_t lda, int rows,
                           const uint32_t *b, ptrdiff_t ldb, int columns, int depth, float *c,
                           ptrdiff_t ldc, int accumulate) {
#define BLOCK(R)                                                                              \
  dot_gemm_block(R, C, a + i * lda, lda, b, ldb, columns, depth, c + i * ldc, ldc, accumulate)
  int i = 0;
  for (; i + DOT_ROWS <= rows; i += DOT_ROWS) BLOCK(DOT_ROWS);
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

static void dot_gemm(const uint16_t *a, ptrdiff_t lda, int rows, const uint32_t *b, ptrdiff_t ldb,
                     int columns, int depth, float *c, ptrdiff_t ldc, int accumulate) {
  int j = 0;
  for (; j + DOT_VECTORS * VL <= columns; j += DOT_VECTORS * VL) {
    dot_gemm_panel(DOT_VECTORS, a, lda, rows, b + j, ldb, DOT_VECTORS * VL, depth, c + j, ldc,
                   accumulate);
  }
  if (j + 2 * VL <= columns) {
    dot_gemm_panel(2, a, lda, rows, b + j, ldb, 2 * VL, depth, c + j, ldc, accumulate);
    j += 2 * VL;
  }
  for (; j < columns; j += VL) {
    const int n = columns - j < VL ? columns - j : VL;
    dot_gemm_panel(1, a, lda, rows, b + j, ldb, n, depth, c + j, ldc, accumulate);
  }
}
