/* SPDX-License-Identifier: MIT */
/*
 * Versions of libzpci, as semver.org has them: the major number changes when programs
 * have to be changed (with it the soname), the minor one when something is new.
 *
 * Between minor versions the library stays compatible both ways as far as it can be.
 * Structures grow at their end only. Functions that take one also take the size with
 * which the caller was compiled, from an inline function of the same name without
 * "_sized", which is what a program in C or C++ calls: what an older program does not
 * know is 0, and a newer program that uses what an older library does not know is
 * told so by E2BIG. So set structures to 0 first, or initialize them by names of
 * members. Callbacks that are 0 (NULL) mean what it says beside them.
 */
#ifndef ZPCI_VERSION_H
#define ZPCI_VERSION_H

#define ZPCI_VERSION_MAJOR 0
#define ZPCI_VERSION_MINOR 1
#define ZPCI_VERSION_PATCH 0

/* One number that grows with the version. */
#define ZPCI_VERSION_NUMBER(major, minor, patch) ((major) << 16 | (minor) << 8 | (patch))
#define ZPCI_VERSION \
	ZPCI_VERSION_NUMBER(ZPCI_VERSION_MAJOR, ZPCI_VERSION_MINOR, ZPCI_VERSION_PATCH)

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* The version of the library that runs; the macro is that of the headers. Any thread. */
unsigned zpci_version(void);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
