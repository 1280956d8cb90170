/* Random calls of apus.h: what the parts of the fuzzer share.
 *
 * A case is built from the seed and its number alone, so each can be repeated by itself. It starts
 * as a valid call, laid out in memory between guard pages and canaries, and is then left alone (it
 * must succeed, and write its results and nothing else) or mutated (it must be refused without a
 * trace, or succeed without a write outside its outputs). */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "apus.h"

#if defined(__SANITIZE_ADDRESS__)
#define FUZZ_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FUZZ_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define FUZZ_TSAN 1
#endif
#endif

enum {
  SLOT_COUNT = 96,
  SLOT_BYTES = 8 << 20,
  MOST_REQUESTS = 5,
  MOST_DIMENSIONS = 18,
  BACKENDS = 4,
  FUNCTIONS = 24,
  /* Beside apus_type: types of tensors that are no operands of attention. */
  TYPE_U8 = 6,
  TYPE_I32 = 7
};

/* A piece of memory of exactly `size` bytes. */
typedef struct {
  uint8_t *floor; /* SLOT_BYTES between guard pages */
  uint8_t *copy;  /* contents before the call */
  uint8_t *data;
  size_t size;
  int is_output;
} slot;

/* One thread's fuzzer. */
typedef struct {
  uint64_t random;
  uint64_t seed;
  _Atomic int64_t number;         /* of the case; -1 between cases */
  const char *_Atomic function;   /* being called, or null */
  double started;                 /* CPU seconds of the thread when the call began */
  slot slots[SLOT_COUNT];
  int used;
  apus_backend backends[BACKENDS];
  apus_backend backend;
  apus_plan freed_plan;
  int is_mutated;
  /* NaN in a result is an error: no input of a used element is one. */
  int is_tame;
  /* Another thread may destroy the back end or the plan of this case. */
  int may_be_gone;
  int failures;
  int64_t calls[FUNCTIONS], accepted[FUNCTIONS], statuses[5];
} fuzzer;

/* Functions, for the counts. */
enum {
  F_PLAN, F_RUN, F_APPEND, F_MERGE, F_MERGE_IN_PLACE, F_MERGE_MANY, F_ROTATE, F_PACK, F_HANDLES,
  F_TEXTS, F_BACKENDS, F_SHARED, F_COUNT
};
extern const char *const function_names[F_COUNT];

/* A tensor of the fuzzer; `dl` is what the library gets, the rest what the fuzzer meant. */
typedef struct {
  DLTensor dl;
  int rank;
  int64_t shape[MOST_DIMENSIONS];
  int64_t strides[MOST_DIMENSIONS];
  int type;
  slot *memory;
} tensor;

/* Random numbers. */
uint64_t next(fuzzer *f);
int64_t range(fuzzer *f, int64_t least, int64_t greatest);
int chance(fuzzer *f, int percent);
#define PICK(f, ...)                                                   \
  ((const int64_t[]){__VA_ARGS__}[range(                               \
      f, 0, (int64_t)(sizeof((const int64_t[]){__VA_ARGS__}) / 8) - 1)])
/* A number that code gets wrong: near zero, near powers of two, the extremes. */
int64_t awkward(fuzzer *f);

/* Memory. */
void memory_create(fuzzer *f);
void memory_destroy(fuzzer *f);
void memory_reset(fuzzer *f);
slot *take(fuzzer *f, size_t size, int is_output);
void *place(fuzzer *f, const void *bytes, size_t size);
void snapshot(fuzzer *f);
/* Canaries always, inputs always, outputs unless the call succeeded. */
void check_memory(fuzzer *f, int succeeded);
/* Readable and writable terabyte, or null. */
uint8_t *wide_memory(void);

/* Calls. */
void begin_call(fuzzer *f, const char *function);
/* Counts the status and checks what holds of every call; returns it. */
apus_status end_call(fuzzer *f, int function, apus_status status);
/* A valid call was refused: a failure, unless its handle was destroyed by another thread. */
void refused(fuzzer *f);
void fail(fuzzer *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Tensors. */
size_t type_bytes(int type);
/* A tensor in a random layout whose last dimension is contiguous, filled with finite numbers.
 * `is_integer`: its type may be stated as integers of that width. */
void make(
    fuzzer *f, tensor *t, int type, int is_integer, int is_output, int rank, const int64_t *shape);
/* i32 of the values, row by row: one dimension or two. */
void make_integers(
    fuzzer *f, tensor *t, const int64_t *values, int rank, const int64_t *shape);
void fill_numbers(fuzzer *f, tensor *t);
void fill_positive(fuzzer *f, tensor *t);
void fill_nan(fuzzer *f, tensor *t);
/* The elements `start` … `start + count − 1` of each dimension: numbers into an input; or taken for
 * written by the call, in an output. */
void fill_box(fuzzer *f, tensor *t, const int64_t *start, const int64_t *count);
void accept_box(fuzzer *f, tensor *t, const int64_t *start, const int64_t *count);
/* After boxes were accepted: everything else must be as it was. */
void check_rest(fuzzer *f, tensor *t, const char *name);
/* Changes one thing; the tensor still tells the truth about its memory. */
void mutate_tensor(fuzzer *f, const DLTensor **place, tensor *t);

/* Lists of integers. */
apus_int_list list(fuzzer *f, const int64_t *values, int64_t count);
void mutate_list(fuzzer *f, apus_int_list *l);

/* A copy of a structure in exactly the bytes that it states; sometimes of another version. */
const void *structure(fuzzer *f, const void *bytes, size_t size);

/* Kinds of cases. */
void attention_case(fuzzer *f);
void append_case(fuzzer *f);
void merge_case(fuzzer *f);
void rotate_case(fuzzer *f);
void pack_case(fuzzer *f);
void handle_case(fuzzer *f);
void shared_case(fuzzer *f);
/* The text of a handle, copied into less or more room than it needs. */
void text_case(fuzzer *f, int is_plan, uint64_t handle);
/* A valid embedding for heads of `dim`. */
apus_rope random_rope(fuzzer *f, int64_t dim);
const apus_stream *random_stream(fuzzer *f);

#endif
