/* Private to Apus: where a thread's last failure is kept. */
#ifndef CAPUS_ERROR_H
#define CAPUS_ERROR_H

/* Keeps a copy of the text for the calling thread, of at most 4,095 bytes and whole characters. */
void capus_set_last_error(const char *text);
/* The calling thread's text; empty if there was none. */
const char *capus_last_error(void);

#endif
