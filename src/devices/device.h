/* SPDX-License-Identifier: MIT */
/*
 * Device types, and how a person asks for one.
 *
 * A device type is a row of one table: a name, its properties, and a function
 * that makes a PCI function of it. "TYPE,property=value,…" is parsed by that
 * table, and the list that `zvisor devices` prints comes from it, so neither can
 * name a property that the other does not know. Some properties, uid and fid
 * among them, are not the device's but zPCI's; every type has them.
 *
 *   text --device_parse--> struct device_config --device_create--> pci_function
 *
 * Parsing touches nothing outside the process; creating opens files and takes
 * locks. Both report to a person: they return 0 or a negative errno, and in
 * the latter case leave one line without a newline in `error` that names the
 * option, the value and what would do. Every errno except -ENOMEM and -EIO
 * means that the request was wrong, not that something failed.
 *
 * Values are taken as they stand; a comma inside a value is written twice.
 */
#ifndef ZVISOR_DEVICES_DEVICE_H
#define ZVISOR_DEVICES_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct irq_sources;
struct pci_function;
struct device_config;
struct zpci_mapping_ops; /* zpci/zpci.h */

#define DEVICE_PROPERTIES_MAX 16
#define DEVICE_COMMON_MAX 16
#define DEVICE_ERROR_MAX 512 /* a good size for an error buffer */
#define DEVICE_ID_MAX 63 /* characters */

enum device_property_type {
	DEVICE_TEXT, /* minimum to maximum bytes of printable ASCII */
	DEVICE_IDENTIFIER, /* at most `maximum` of letters, digits, '-', '.', '_'; a letter first */
	DEVICE_PATH, /* a name in the file system, not empty */
	DEVICE_SWITCH, /* on or off */
	DEVICE_NUMBER, /* minimum to maximum, decimal, or hexadecimal after 0x */
	DEVICE_ADDRESS, /* SLOT or SLOT.FUNCTION, hexadecimal; number: slot * 8 + function */
};

struct device_property {
	const char *name;
	enum device_property_type type;
	bool required;
	const char *preset; /* what holds when it is not given, for a person; or NULL */
	uint64_t minimum, maximum;
	const char *help;
};

/*
 * What the machine lends to a device that is not ours, because it reaches memory by
 * itself: memory (absolute 0 is at `memory`, and is offset 0 of the file), and a way to
 * say that whoever owns the device wants it back, which may be called from any thread
 * and more than once. It outlives the device.
 */
struct device_host {
	uint8_t *memory;
	uint64_t memory_size;
	uint64_t locked; /* bytes of it that devices which exist may lock, each anew */
	int memory_fd;
	void (*unplug_wanted)(void *opaque, uint32_t fid);
	void *opaque;
};

/*
 * What has been made: the function, and, of one that is not ours, what it brings along for
 * libzpci (struct zpci_function_config). What a device says nothing of is 0, and as usual.
 */
struct device_made {
	struct pci_function *function;
	const struct zpci_mapping_ops *mapping;
	void *mapping_opaque;
	uint32_t mappings_max;
	uint64_t sdma, edma;    /* edma 0: the usual range */
	bool no_direct_mapping; /* the range does not take all of memory */
	bool pins_memory;       /* pages of memory must stay where they are */
	uint64_t locks;         /* bytes of memory at most that the host counts as locked for it */
	uint16_t interrupts, store_block_max;
	uint16_t vfn, pchid;
	uint8_t pft, pfip[4];
	uint8_t pfgid; /* of the group that it belongs to on the host */
	bool has_util_string;
	uint8_t util_string[64]; /* EBCDIC */
};

struct device_type {
	const char *name;
	const char *help;
	const struct device_property *properties; /* ends with a NULL name */
	uint16_t store_block_max; /* bytes that PCISTB may store at once; 0: the usual */
	/* See device_create(). */
	int (*create)(const struct device_config *config, const char *name,
		      struct pci_function **function, char *error, size_t error_size);
	/* Instead, for a device that is not ours: see device_create_on(). */
	int (*create_on)(const struct device_config *config, const char *name,
			 const struct device_host *host, struct device_made *made, char *error,
			 size_t error_size);
};

struct device_value {
	bool given;
	char *text;      /* as it was given; NULL when it was not */
	uint64_t number; /* of a number; 0 or 1 of a switch */
};

/*
 * What was asked for. Values are in the order of the type's properties, and of
 * those that all have. The owner may set uid and fid (and has_…) when the person did not, before
 * device_create(); a device derives the identity that the guest sees from fid. A device whose
 * interrupts come as eventfds has them served by irq_sources, which outlives it.
 *
 * `ahead`: what a device otherwise makes with the first use is made by device_create(), as system
 * calls for it may be closed off later: rings of io_uring. Memory and threads there will be.
 */
struct device_config {
	const struct device_type *type;
	char id[DEVICE_ID_MAX + 1]; /* empty: none */
	bool has_uid, has_fid, has_relaxed_translation;
	bool relaxed_translation; /* if it was not given, as the machine version has it */
	uint32_t uid, fid;
	bool served; /* by a process of its own, to whoever connects */
	bool ahead;
	struct irq_sources *irq_sources; /* NULL: there are none for devices here */
	struct device_value values[DEVICE_PROPERTIES_MAX];
	struct device_value common[DEVICE_COMMON_MAX];
};

/* The parts of an address. */
#define DEVICE_SLOT_MAX 0xfff
#define DEVICE_ADDRESS_SLOT(number) ((unsigned)((number) >> 3))
#define DEVICE_ADDRESS_FUNCTION(number) ((unsigned)((number)&7))

/* NULL when there is no such type, or no such property, neither its own nor of all. */
const struct device_type *device_find_type(const char *name);
const struct device_value *device_config_value(const struct device_config *config,
					       const char *property);

/*
 * One of the properties that all types have, which was given though only a machine has a use for it; NULL:
 * none was. Where a device has no machine, the fid is of use, as a device's identity follows from it.
 */
const char *device_config_of_machine(const struct device_config *config);

/* Of its own, or one that all have. */
bool device_has_property(const struct device_type *type, const char *name);

/* On success `config` owns memory: device_config_clear(). On failure it does not. */
int device_parse(const char *argument, struct device_config *config, char *error,
		 size_t error_size);
/* The same for a device that is to be served: only types of our own. */
int device_parse_served(const char *argument, struct device_config *config, char *error,
			size_t error_size);
void device_config_clear(struct device_config *config);

/* The same with the properties as names and values that are cut apart already. */
struct device_pair {
	const char *name, *text;
};
int device_parse_pairs(const char *type, const struct device_pair *pairs, size_t count,
		       struct device_config *config, char *error, size_t error_size);

/*
 * Make the device. `name` is for messages ("nvme0"). The caller owns *function
 * and ends it, and the device with it, with pci_function_free(). `config` is not
 * needed afterwards.
 */
int device_create(const struct device_config *config, const char *name,
		  struct pci_function **function, char *error, size_t error_size);

/*
 * The same on a machine, which lends itself to the device: all types can be made so, those
 * that are not ours only so. The caller owns made->function; `host` is kept.
 */
int device_create_on(const struct device_config *config, const char *name,
		     const struct device_host *host, struct device_made *made, char *error,
		     size_t error_size);

/* Types and their properties, for a person. */
void device_print_types(FILE *out);

#endif
