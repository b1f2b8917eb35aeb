/* SPDX-License-Identifier: MIT */
/* Lists of words in one argument; see words.h. */
#include "base/words.h"

#include <stddef.h>

char *words_next(char **rest)
{
	char *word = *rest, *from, *to;

	if (!word)
		return NULL;
	for (from = to = word; *from; from++, to++) {
		if (*from == ',') {
			if (from[1] != ',')
				break;
			from++;
		}
		*to = *from;
	}
	*rest = *from ? from + 1 : NULL;
	*to = '\0';
	return word;
}
