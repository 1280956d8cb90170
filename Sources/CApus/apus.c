#include "apus.h"
#include "capus_error.h"

#include <stdlib.h>
#include <string.h>

/* The layouts that callers compiled against; a change of any is a new ABI. */
_Static_assert(sizeof(DLTensor) == 48, "DLTensor has the layout of DLPack 1.x");
_Static_assert(sizeof(apus_int_list) == 24, "apus_int_list is part of the ABI");
_Static_assert(sizeof(apus_scale) == 24, "apus_scale is part of the ABI");

/* Long texts list every violation of a call; they live on the heap until the thread's next failure.
 * A thread that ends leaves its last long text behind: a few hundred bytes. */
static _Thread_local char short_text[512];
static _Thread_local char *long_text;

void capus_set_last_error(const char *text) {
  size_t length = strlen(text);
  free(long_text);
  long_text = NULL;
  if (length >= sizeof short_text) long_text = malloc(length + 1);
  if (long_text != NULL) {
    memcpy(long_text, text, length + 1);
    return;
  }
  if (length >= sizeof short_text) length = sizeof short_text - 1;
  memcpy(short_text, text, length);
  short_text[length] = '\0';
}

const char *capus_last_error(void) { return long_text != NULL ? long_text : short_text; }
