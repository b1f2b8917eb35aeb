/* SPDX-License-Identifier: MIT */
/* Lists of words in one argument, "word,word,…", as options have them. */
#ifndef ZVISOR_BASE_WORDS_H
#define ZVISOR_BASE_WORDS_H

/*
 * Cut the next word off at a single comma, and make double commas in it single. *rest is
 * changed, and NULL when there is nothing behind the word. NULL when *rest is.
 */
char *words_next(char **rest);

#endif
