/* Tensors, lists and structures, right and wrong. */
#include "fuzz.h"

#include <string.h>

size_t type_bytes(int type) {
  switch (type) {
    case APUS_F32: case TYPE_I32: return 4;
    case APUS_F16: case APUS_BF16: return 2;
    default: return 1;
  }
}

/* A pattern of 8 bytes: `keep` bits are random, `set` bits are set. */
typedef struct {
  uint64_t keep, set;
} pattern;

/* Finite numbers between 1/8 and 1/2 in size, of either sign. */
static pattern numbers(int type) {
  switch (type) {
    case APUS_F32: return (pattern){0x807fffff807fffffu, 0x3e0000003e000000u};
    case APUS_F16: return (pattern){0x83ff83ff83ff83ffu, 0x3000300030003000u};
    case APUS_BF16: return (pattern){0x807f807f807f807fu, 0x3e003e003e003e00u};
    case APUS_E4M3: return (pattern){0x8787878787878787u, 0x2828282828282828u};
    case APUS_E5M2: return (pattern){0x8383838383838383u, 0x3434343434343434u};
    case TYPE_I32: return (pattern){0x0000000f0000000fu, 0};
    default: return (pattern){0x0101010101010101u, 0};
  }
}

static pattern nans(int type) {
  switch (type) {
    case APUS_F32: return (pattern){0, 0x7fc000007fc00000u};
    case APUS_F16: return (pattern){0, 0x7e007e007e007e00u};
    case APUS_BF16: return (pattern){0, 0x7fc07fc07fc07fc0u};
    case APUS_E4M3: return (pattern){0, 0x7f7f7f7f7f7f7f7fu};
    case APUS_E5M2: return (pattern){0, 0x7e7e7e7e7e7e7e7eu};
    default: return (pattern){0, 0xffffffffffffffffu};
  }
}

static int is_nan(int type, const uint8_t *p) {
  uint32_t wide;
  uint16_t half;
  switch (type) {
    case APUS_F32: memcpy(&wide, p, 4); return (wide & 0x7fffffff) > 0x7f800000;
    case APUS_F16: memcpy(&half, p, 2); return (half & 0x7fff) > 0x7c00;
    case APUS_BF16: memcpy(&half, p, 2); return (half & 0x7fff) > 0x7f80;
    case APUS_E4M3: return (*p & 0x7f) == 0x7f;
    case APUS_E5M2: return (*p & 0x7f) > 0x7c;
    default: return 0;
  }
}

static void fill_span(fuzzer *f, uint8_t *p, size_t size, pattern q) {
  for (size_t i = 0; i < size; i += 8) {
    uint64_t bits = ((q.keep ? next(f) : 0) & q.keep) | q.set;
    memcpy(p + i, &bits, size - i < 8 ? size - i : 8);
  }
}

void fill_numbers(fuzzer *f, tensor *t) {
  fill_span(f, t->memory->data, t->memory->size, numbers(t->type));
}

void fill_positive(fuzzer *f, tensor *t) {
  pattern positive = {0x007fffff007fffffu, 0x3f0000003f000000u};
  fill_span(f, t->memory->data, t->memory->size, positive);
}

void fill_nan(fuzzer *f, tensor *t) {
  fill_span(f, t->memory->data, t->memory->size, nans(t->type));
}

/* Walks rows of the innermost dimension of a box. */
typedef void visit(fuzzer *f, tensor *t, size_t offset, int64_t count, int64_t stride);

static void walk(fuzzer *f, tensor *t, const int64_t *start, const int64_t *count, visit *each) {
  int64_t index[MOST_DIMENSIONS] = {0};
  for (int axis = 0; axis < t->rank; axis++) {
    if (count[axis] <= 0) return;
  }
  int inner = t->rank - 1;
  for (;;) {
    int64_t element = 0;
    for (int axis = 0; axis < t->rank; axis++) {
      element += (start[axis] + index[axis]) * t->strides[axis];
    }
    each(f, t, (size_t)element * type_bytes(t->type), count[inner], t->strides[inner]);
    int axis = inner - 1;
    while (axis >= 0 && ++index[axis] == count[axis]) index[axis--] = 0;
    if (axis < 0) return;
  }
}

static void fill_row(fuzzer *f, tensor *t, size_t offset, int64_t count, int64_t stride) {
  size_t bytes = type_bytes(t->type);
  pattern q = numbers(t->type);
  if (stride == 1) {
    fill_span(f, t->memory->data + offset, (size_t)count * bytes, q);
    return;
  }
  for (int64_t i = 0; i < count; i++) {
    fill_span(f, t->memory->data + offset + (size_t)(i * stride) * bytes, bytes, q);
  }
}

static void accept_row(fuzzer *f, tensor *t, size_t offset, int64_t count, int64_t stride) {
  size_t bytes = type_bytes(t->type);
  for (int64_t i = 0; i < count; i++) {
    size_t at = offset + (size_t)(i * stride) * bytes;
    memcpy(t->memory->copy + at, t->memory->data + at, bytes);
    if (f->is_tame && is_nan(t->type, t->memory->data + at)) {
      fail(f, "a result is not a number, although no input in use is");
      return;
    }
  }
}

void fill_box(fuzzer *f, tensor *t, const int64_t *start, const int64_t *count) {
  walk(f, t, start, count, fill_row);
}

void accept_box(fuzzer *f, tensor *t, const int64_t *start, const int64_t *count) {
  walk(f, t, start, count, accept_row);
}

void check_rest(fuzzer *f, tensor *t, const char *name) {
  if (t->memory->size == 0) return;
  if (memcmp(t->memory->copy, t->memory->data, t->memory->size) != 0) {
    fail(f, "a byte of %s between or behind its elements was written to", name);
  }
}

/* Bytes that shape and strides reach; -1 where they are negative or do not fit 63 bits. */
static int64_t reach(const int64_t *shape, const int64_t *strides, int rank, int64_t bytes) {
  int64_t last = 0, step, total;
  for (int i = 0; i < rank; i++) {
    if (shape[i] == 0) return 0;
  }
  for (int i = 0; i < rank; i++) {
    if (shape[i] < 0 || (strides[i] < 0 && shape[i] > 1)) return -1;
    if (shape[i] == 1) continue;
    if (__builtin_mul_overflow(shape[i] - 1, strides[i], &step)) return -1;
    if (__builtin_add_overflow(last, step, &last)) return -1;
  }
  if (__builtin_add_overflow(last, 1, &last)) return -1;
  return __builtin_mul_overflow(last, bytes, &total) ? -1 : total;
}

static void dense(int64_t *strides, const int64_t *shape, int rank) {
  int64_t step = 1;
  for (int i = rank - 1; i >= 0; i--) {
    strides[i] = step;
    if (__builtin_mul_overflow(step, shape[i] > 1 ? shape[i] : 1, &step)) step = INT64_MAX;
  }
}

static void state_type(fuzzer *f, tensor *t, int is_integer) {
  static const uint8_t codes[] = {0, 2, 2, 4, 10, 12, 1, 0};
  t->dl.dtype.code = codes[t->type];
  t->dl.dtype.bits = (uint8_t)(8 * type_bytes(t->type));
  t->dl.dtype.lanes = 1;
  if (t->type == TYPE_U8 && chance(f, 30)) t->dl.dtype.code = 6;
  if (is_integer && type_bytes(t->type) < 4 && chance(f, 30)) {
    t->dl.dtype.code = (uint8_t)range(f, 0, 1);
  }
}

void make(
    fuzzer *f, tensor *t, int type, int is_integer, int is_output, int rank, const int64_t *shape) {
  memset(t, 0, sizeof *t);
  t->type = type;
  t->rank = rank;
  memcpy(t->shape, shape, (size_t)rank * sizeof *shape);
  dense(t->strides, shape, rank);
  int style = (int)range(f, 0, 9);
  if (style == 0 && rank >= 2) {
    /* Rows apart. */
    int64_t step = shape[rank - 1] + range(f, 0, 9);
    for (int i = rank - 2; i >= 0; i--) {
      t->strides[i] = step;
      step = step * (shape[i] > 1 ? shape[i] : 1) + (i == 1 ? range(f, 0, 3) : 0);
    }
  } else if (style == 1 && rank == 3) {
    /* The outer two the other way round. */
    t->strides[0] = shape[2];
    t->strides[1] = shape[2] * (shape[0] > 1 ? shape[0] : 1);
  }
  int64_t bytes = reach(t->shape, t->strides, rank, (int64_t)type_bytes(type));
  t->memory = take(f, (size_t)bytes, is_output);
  t->dl.data = t->memory->data;
  t->dl.ndim = rank;
  t->dl.device.device_type = chance(f, 95) ? kDLCPU : kDLCUDAHost;
  t->dl.shape = place(f, t->shape, (size_t)rank * 8);
  int is_dense = 1;
  int64_t wanted[MOST_DIMENSIONS];
  dense(wanted, shape, rank);
  for (int i = 0; i < rank; i++) is_dense &= wanted[i] == t->strides[i];
  t->dl.strides = is_dense && chance(f, 60) ? NULL : place(f, t->strides, (size_t)rank * 8);
  if (chance(f, 10)) {
    t->dl.byte_offset = (uint64_t)range(f, 1, 4096);
    t->dl.data = (void *)((uintptr_t)t->memory->data - t->dl.byte_offset);
  }
  state_type(f, t, is_integer);
  if (is_output) {
    fill_span(f, t->memory->data, t->memory->size, (pattern){UINT64_MAX, 0});
  } else {
    fill_numbers(f, t);
  }
}

void make_integers(
    fuzzer *f, tensor *t, const int64_t *values, int rank, const int64_t *shape) {
  make(f, t, TYPE_I32, 0, 0, rank, shape);
  int64_t width = shape[rank - 1], rows = rank == 2 ? shape[0] : 1;
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t i = 0; i < width; i++) {
      int32_t value = (int32_t)values[r * width + i];
      memcpy(t->memory->data + 4 * (r * (rank == 2 ? t->strides[0] : 0) + i), &value, 4);
    }
  }
}

/* Gives a tensor memory for what it now claims, or makes it claim what no memory could hold. */
static void back(
    fuzzer *f, tensor *t, int64_t *shape, int64_t *strides, int rank, int has_strides,
    size_t width) {
  int64_t dense_strides[MOST_DIMENSIONS];
  dense(dense_strides, shape, rank);
  int64_t bytes = reach(shape, has_strides ? strides : dense_strides, rank, (int64_t)width);
  if (bytes > (int64_t)t->memory->size) {
    uint8_t *wide;
    if (bytes <= SLOT_BYTES / 32 && f->used + 6 < SLOT_COUNT) {
      slot *s = take(f, (size_t)bytes, t->memory->is_output);
      memset(s->data, 0x3c, s->size);
      t->memory = s;
      t->dl.data = s->data;
      t->dl.byte_offset = 0;
    } else if (bytes <= (int64_t)1 << 40 && rank == t->rank &&
               memcmp(shape + 1, t->shape + 1, (size_t)(rank - 1) * 8) == 0 &&
               (wide = wide_memory()) != NULL) {
      /* More rows than the call uses, or rows far apart: no more work than before. */
      t->dl.data = wide;
      t->dl.byte_offset = 0;
    } else {
      shape[range(f, 0, rank - 1)] = range(f, -5, -1);
    }
  }
  t->dl.ndim = rank;
  t->dl.shape = place(f, shape, (size_t)rank * 8);
  t->dl.strides = has_strides ? place(f, strides, (size_t)rank * 8) : NULL;
}

void mutate_tensor(fuzzer *f, const DLTensor **where, tensor *t) {
  int64_t shape[MOST_DIMENSIONS], strides[MOST_DIMENSIONS];
  int rank = t->rank;
  memcpy(shape, t->shape, sizeof shape);
  memcpy(strides, t->strides, sizeof strides);
  if (f->used + 6 >= SLOT_COUNT || rank == 0) {
    *where = NULL;
    return;
  }
  int has_strides = t->dl.strides != NULL || chance(f, 50);
  size_t width = type_bytes(t->type);
  switch (range(f, 0, 15)) {
    case 0: *where = NULL; return;
    case 1:
      t->dl.ndim = (int32_t)PICK(f, -1, INT32_MIN, INT32_MAX, 17, 1 << 16);
      return;
    case 2:
      /* One dimension fewer or more. */
      if (rank > 1 && chance(f, 50)) {
        rank--;
        if (chance(f, 50)) {
          memmove(shape, shape + 1, (size_t)rank * 8);
          memmove(strides, strides + 1, (size_t)rank * 8);
        }
      } else {
        shape[rank] = PICK(f, 0, 1, 2);
        strides[rank] = PICK(f, 0, 1, 7);
        rank++;
      }
      break;
    case 3: t->dl.shape = NULL; return;
    case 4: case 5: shape[range(f, 0, rank - 1)] = awkward(f); break;
    case 6: shape[range(f, 0, rank - 1)] += PICK(f, -1, 1, 2); break;
    case 7: shape[range(f, 0, rank - 1)] = 0; break;
    case 8:
      has_strides = 1;
      strides[range(f, 0, rank - 1)] = chance(f, 50) ? awkward(f) : range(f, -2, 3);
      break;
    case 9:
      /* Nothing bounds the strides of a tensor without elements. */
      has_strides = 1;
      shape[range(f, 0, rank - 1)] = 0;
      for (int i = 0; i < rank; i++) strides[i] = awkward(f);
      break;
    case 10:
      width = 8;
      t->dl.dtype.code = (uint8_t)range(f, 0, 20);
      if (chance(f, 50)) t->dl.dtype.bits = (uint8_t)PICK(f, 0, 1, 4, 8, 16, 32, 64, 128, 255);
      break;
    case 11: t->dl.dtype.lanes = (uint16_t)PICK(f, 0, 2, 4, 65535); return;
    case 12:
      t->dl.device.device_type = (int32_t)PICK(f, kDLCUDA, kDLCUDAManaged, 0, -1, INT32_MAX, 4, 10);
      t->dl.device.device_id = (int32_t)awkward(f);
      return;
    case 13: t->dl.data = NULL; t->dl.byte_offset = chance(f, 50) ? 0 : next(f); return;
    case 14:
      /* An offset that overflows, or whose sum with the address does not fit. */
      t->dl.byte_offset = UINT64_MAX - (uint64_t)range(f, 0, (int64_t)(uintptr_t)t->dl.data / 2);
      return;
    default:
      /* Off by one byte; the memory has that byte. */
      if (t->memory->size > 8 && type_bytes(t->type) > 1 && t->memory->size < SLOT_BYTES / 32) {
        slot *s = take(f, t->memory->size + 1, t->memory->is_output);
        memset(s->data, 0x3c, s->size);
        t->memory = s;
        t->dl.data = s->data + 1;
        t->dl.byte_offset = 0;
      }
      return;
  }
  back(f, t, shape, strides, rank, has_strides, width);
}

apus_int_list list(fuzzer *f, const int64_t *values, int64_t count) {
  apus_int_list l = {NULL, count, 8};
  int fits = 1;
  for (int64_t i = 0; i < count; i++) fits &= values[i] == (int32_t)values[i];
  if (fits && chance(f, 50)) {
    int32_t narrow[4096];
    for (int64_t i = 0; i < count; i++) narrow[i] = (int32_t)values[i];
    l.width = 4;
    l.data = place(f, narrow, (size_t)count * 4);
  } else {
    l.data = place(f, values, (size_t)count * 8);
  }
  return l;
}

void mutate_list(fuzzer *f, apus_int_list *l) {
  /* What it says is no longer what it has. */
  if (l->count < 0 || l->count > 4096) return;
  switch (range(f, 0, 8)) {
    case 0: l->data = NULL; return;
    case 1: l->count = PICK(f, -1, INT64_MIN, INT64_MAX, ((int64_t)1 << 31) + 1); return;
    case 2: l->width = (int32_t)PICK(f, 0, 3, -4, 16, 1, INT32_MIN); return;
    case 3: if (l->count > 0) l->count--; return;
    case 4: l->count = 0; return;
    case 5:
      /* The same bytes read at the other width. */
      if (l->width == 8) {
        l->width = 4;
      } else {
        l->width = 8;
        l->count /= 2;
      }
      return;
    default: {
      if (l->count <= 0 || l->data == NULL || (l->width != 4 && l->width != 8)) return;
      uint8_t *at = (uint8_t *)l->data + range(f, 0, l->count - 1) * l->width;
      int64_t value = 0;
      if (chance(f, 50)) {
        value = awkward(f);
      } else {
        memcpy(&value, at, (size_t)l->width);
        value += PICK(f, -1, 1, 2, 64);
      }
      memcpy(at, &value, (size_t)l->width);
    }
  }
}

const void *structure(fuzzer *f, const void *bytes, size_t size) {
  uint8_t whole[4096];
  memset(whole, 0, sizeof whole);
  memcpy(whole, bytes, size);
  size_t stated = size, real = size;
  if (chance(f, 5)) {
    /* A newer header, whose new fields are not used. */
    stated = real = size + 8 * (size_t)range(f, 1, 20);
  } else if (f->is_mutated && chance(f, 6)) {
    switch (range(f, 0, 3)) {
      case 0:
        stated = real = size + (size_t)range(f, 1, 400);
        whole[range(f, (int64_t)size, (int64_t)real - 1)] = 1;
        break;
      case 1: stated = (size_t)PICK(f, 0, 7, -1, INT64_MIN, 65537, 1 << 20); break;
      default: stated = real = (size_t)range(f, 8, (int64_t)size - 1); break;
    }
  }
  memcpy(whole, &stated, sizeof stated);
  return place(f, whole, real);
}
