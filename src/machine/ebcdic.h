/* SPDX-License-Identifier: MIT */
/* EBCDIC, code page 500, to and from ISO 8859-1 (of which ASCII is a part). */
#ifndef ZVISOR_MACHINE_EBCDIC_H
#define ZVISOR_MACHINE_EBCDIC_H

#include <stddef.h>
#include <stdint.h>

uint8_t ebcdic_decode(uint8_t character);
uint8_t ebcdic_encode(uint8_t character);

/* Fill a field of `length` bytes with text, padded with EBCDIC blanks. */
void ebcdic_put(uint8_t *field, const char *text, size_t length);

#endif
