// widen and narrow: storage types from and to f32.

INLINE void widen(const int type, const void *src, float *dst, ptrdiff_t count) {
  const vf unit = type_unit(type);
  ptrdiff_t i = 0;
  for (; i + VL <= count; i += VL) v_store(dst + i, v_widen(type, element(src, type, i)) * unit);
  if (i < count) {
    const int n = (int)(count - i);
    v_store_n(dst + i, v_widen_n(type, element(src, type, i), n) * unit, n);
  }
}

/// Codes, in the low bits of each lane, of x rounded to nearest even in a format of M mantissa
/// bits, exponent bias B and sign bit S; `ceiling` is the code of overflow (infinity, or NaN where
/// there is none) and `nan` that of NaN.
///
/// Normal results: adding half a unit, less one when the kept part is even, rounds the bits in
/// place, and a carry moves to the next exponent as it should. Subnormal results: adding the power
/// of two whose last place is the format's smallest value lets the addition round.
INLINE vi small_codes(vf x, const int M, const int B, const int S, const int ceiling,
                      const int nan) {
  const int shift = 23 - M;
  const vi magnitude = v_bits(x) & (vi)0x7FFFFFFF;
  const vi sign = vi_shr(v_bits(x), 31) << S;
  const vi odd = vi_shr(magnitude, shift) & (vi)1;
  const vi normal = vi_shr(vi_add(magnitude, (vi)((1 << (shift - 1)) - 1) + odd), shift) -
                    (vi)((127 - B) << M);
  const vi least = (127 + 1 - B - M + 23) << 23;
  const vi subnormal = v_bits(v_bitcast(magnitude) + v_bitcast(least)) - least;
  vi code = magnitude < (vi)((128 - B) << 23) ? subnormal : normal;
  code = code < (vi)ceiling ? code : (vi)ceiling;
  code = magnitude > (vi)0x7F800000 ? (vi)nan : code;
  return code | sign;
}

/// As small_codes for bfloat16, whose exponent is f32's: subnormals need no case of their own.
INLINE vi bfloat_codes(vf x) {
  const vi bits = v_bits(x);
  const vi rounded = vi_shr(vi_add(bits, (vi)0x7FFF + (vi_shr(bits, 16) & (vi)1)), 16);
  const vi nan = (vi_shr(bits, 31) << 15) | (vi)0x7FC0;
  return (bits & (vi)0x7FFFFFFF) > (vi)0x7F800000 ? nan : rounded;
}

/// Clamps to the largest finite value of a 16- or 8-bit type; NaN stays.
INLINE vf saturated(int type, vf x) {
  const float largest = type == CAPUS_F16    ? 65504.0f
                        : type == CAPUS_BF16 ? 0x1.fep127f
                        : type == CAPUS_E4M3 ? 448.0f
                                             : 57344.0f;
  return v_max((vf)-largest, v_min((vf)largest, x));
}

/// Stores VL rounded values of a 16- or 8-bit type.
INLINE void narrow_vector(const int type, vf x, void *dst) {
  if (type_size(type) == 2) {
    const vi code = type == CAPUS_F16 ? small_codes(x, 10, 15, 15, 0x7C00, 0x7E00)
                                      : bfloat_codes(x);
    const vh h = __builtin_convertvector(code, vh);
    memcpy(dst, &h, sizeof h);
  } else {
    const vi code = type == CAPUS_E4M3 ? small_codes(x, 3, 7, 7, 0x7F, 0x7F)
                                       : small_codes(x, 2, 15, 7, 0x7C, 0x7E);
    const vb b = __builtin_convertvector(code, vb);
    memcpy(dst, &b, sizeof b);
  }
}

INLINE void narrow(const int type, const float *src, void *dst, ptrdiff_t count, int saturate) {
  char *to = dst;
  ptrdiff_t i = 0;
  if (type == CAPUS_F32) {
    // An empty range may have no address.
    if (count > 0) memcpy(dst, src, (size_t)count * sizeof *src);
    return;
  }
  for (; i + VL <= count; i += VL) {
    const vf x = v_load(src + i);
    narrow_vector(type, saturate ? saturated(type, x) : x, to + i * type_size(type));
  }
  if (i < count) {
    const int n = (int)(count - i);
    const vf x = v_load_n(src + i, n);
    char buffer[2 * VL];
    narrow_vector(type, saturate ? saturated(type, x) : x, buffer);
    memcpy(to + i * type_size(type), buffer, (size_t)(n * type_size(type)));
  }
}
