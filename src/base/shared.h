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

#if THREAD_SANITIZER

/* How many bytes can be moved at once from `shared` on: 8 or 1. */
static inline size_t shared_unit(const void *shared, size_t length)
{
	return (uintptr_t)shared % 8 || length < 8 ? 1 : 8;
}

static inline void shared_read(void *to, const void *shared, size_t length)
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

static inline void shared_write(void *shared, const void *from, size_t length)
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

static inline void shared_fill(void *shared, uint8_t value, size_t length)
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

#endif

#endif
