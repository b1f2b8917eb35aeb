/* SPDX-License-Identifier: MIT */
/*
 * Copies from and to memory that other threads write without asking: the guest's.
 *
 * What a guest's CPUs and functions do to the same byte at once is the guest's affair,
 * and any value will do. To the language it is a race all the same, and to
 * ThreadSanitizer a report. So where that watches, such a copy is made of atomic
 * accesses without order, and races in what is ours remain visible. Elsewhere these are
 * memcpy() and memset(), whose order and unit nobody promises.
 */
#ifndef ZVISOR_BASE_SHARED_H
#define ZVISOR_BASE_SHARED_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER 1
#endif
#endif
#ifndef THREAD_SANITIZER
#define THREAD_SANITIZER 0
#endif

/* One byte; the same everywhere. */
static inline uint8_t shared_byte(const uint8_t *shared)
{
	return __atomic_load_n(shared, __ATOMIC_RELAXED);
}

static inline void shared_set_byte(uint8_t *shared, uint8_t value)
{
	__atomic_store_n(shared, value, __ATOMIC_RELAXED);
}

#if THREAD_SANITIZER

/* Inlined, they would have gcc warn of accesses that they do not make. */
#define SHARED_CALL __attribute__((noinline, unused))

/* How many bytes can be moved at once from `shared` on: 8 or 1. */
static inline size_t shared_unit(const void *shared, size_t length)
{
	return (uintptr_t)shared % 8 || length < 8 ? 1 : 8;
}

static SHARED_CALL void shared_read(void *to, const void *shared, size_t length)
{
	const uint8_t *from = (const uint8_t *)shared;
	uint8_t *bytes = (uint8_t *)to;

	for (size_t done = 0, unit; done < length; done += unit) {
		unit = shared_unit(from + done, length - done);
		if (unit == 8) {
			uint64_t v = __atomic_load_n((const uint64_t *)(from + done),
						     __ATOMIC_RELAXED);

			memcpy(bytes + done, &v, sizeof(v));
		} else {
			bytes[done] = __atomic_load_n(from + done, __ATOMIC_RELAXED);
		}
	}
}

static SHARED_CALL void shared_write(void *shared, const void *from, size_t length)
{
	const uint8_t *bytes = (const uint8_t *)from;
	uint8_t *to = (uint8_t *)shared;

	for (size_t done = 0, unit; done < length; done += unit) {
		unit = shared_unit(to + done, length - done);
		if (unit == 8) {
			uint64_t v;

			memcpy(&v, bytes + done, sizeof(v));
			__atomic_store_n((uint64_t *)(to + done), v, __ATOMIC_RELAXED);
		} else {
			__atomic_store_n(to + done, bytes[done], __ATOMIC_RELAXED);
		}
	}
}

static SHARED_CALL void shared_fill(void *shared, uint8_t value, size_t length)
{
	const uint64_t word = value * 0x0101010101010101ull;
	uint8_t *to = (uint8_t *)shared;

	for (size_t done = 0, unit; done < length; done += unit) {
		unit = shared_unit(to + done, length - done);
		if (unit == 8)
			__atomic_store_n((uint64_t *)(to + done), word, __ATOMIC_RELAXED);
		else
			__atomic_store_n(to + done, value, __ATOMIC_RELAXED);
	}
}

/* memchr() */
static SHARED_CALL const uint8_t *shared_find(const uint8_t *shared, uint8_t value, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (shared_byte(shared + i) == value)
			return shared + i;
	}
	return NULL;
}

#else

static inline void shared_read(void *to, const void *shared, size_t length)
{
	memcpy(to, shared, length);
}

static inline void shared_write(void *shared, const void *from, size_t length)
{
	memcpy(shared, from, length);
}

static inline void shared_fill(void *shared, uint8_t value, size_t length)
{
	memset(shared, value, length);
}

static inline const uint8_t *shared_find(const uint8_t *shared, uint8_t value, size_t length)
{
	return (const uint8_t *)memchr(shared, value, length);
}

#endif

#endif
