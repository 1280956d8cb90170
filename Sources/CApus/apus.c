#include "apus.h"
#include "capus_error.h"

#include <string.h>

/* The layouts that callers compiled against; a change of any is a new ABI. */
_Static_assert(sizeof(DLTensor) == 48, "DLTensor has the layout of DLPack 1.x");
_Static_assert(sizeof(apus_int_list) == 24, "apus_int_list is part of the ABI");
_Static_assert(sizeof(apus_scale) == 24, "apus_scale is part of the ABI");

/* Texts list every violation of a call: a few hundred bytes; what is longer is cut. */
static _Thread_local char last_text[4096];

void capus_set_last_error(const char *text) {
  size_t length = strlen(text);
  if (length >= sizeof last_text) {
    length = sizeof last_text - 1;
    /* Not within a character: the text stays UTF-8. */
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80) length--;
  }
  memcpy(last_text, text, length);
  last_text[length] = '\0';
}

const char *capus_last_error(void) { return last_text; }
