/* SPDX-License-Identifier: MIT */
/* The machine's devices; see devices.h. */
#include "machine/devices.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/device.h"
#include "machine/function_config.h"
#include "machine/internal.h"
#include "pci/host.h"
#include "zpci/pci.h"
#include "zpci/zpci.h"

/* Where QEMU has devices in its tree of objects; clients know devices by it. */
#define PATH_NAMED "/machine/peripheral/%s"
#define PATH_UNNAMED "/machine/peripheral-anon/device[%u]"
#define PATH_MAX_LENGTH (sizeof(PATH_UNNAMED) + DEVICE_ID_MAX)

struct machine_device {
	struct machine_device *next;
	const struct device_type *type;
	struct pci_function *function;
	uint32_t fid;
	uint16_t uid;
	uint64_t locks; /* bytes */
	bool has_address, multifunction;
	uint64_t address;
	char id[DEVICE_ID_MAX + 1];
	char path[PATH_MAX_LENGTH];
	/* With list_lock held: */
	bool owner_wants_back; /* who lent it to us, and the guest is to be asked */
	bool wanted_back; /* the guest was asked for it */
	bool given_back;
	bool taken_away; /* by force */
};

struct machine_devices {
	pthread_mutex_t plug_lock;
	pthread_mutex_t list_lock;
	struct machine_device *first, **last;
	struct device_host host; /* what devices that are not ours are lent */
	atomic_uint present;
	unsigned int made; /* so far, for names */
	uint32_t next_fid, next_uid; /* all lower ones are taken */
};

/* --- names and numbers ----------------------------------------------------------------- */

static bool asked_for(const struct machine_config *config, uint32_t value, bool fid)
{
	for (unsigned int i = 0; i < config->device_count; i++) {
		const struct device_config *device = &config->devices[i];

		if (fid ? device->has_fid && device->fid == value :
			  device->has_uid && device->uid == value)
			return true;
	}
	return false;
}

/* Both are numbers that no device has, neither one made nor one asked for. */
static uint32_t free_fid(struct machine *machine)
{
	uint32_t fid = machine->devices->next_fid;

	while (asked_for(&machine->config, fid, true) || zpci_fid_in_use(machine->zpci, fid))
		fid++;
	return machine->devices->next_fid = fid;
}

/* 0, which means none, when all are taken. */
static uint32_t free_uid(struct machine *machine)
{
	for (uint32_t uid = MAX(machine->devices->next_uid, 1); uid <= UINT16_MAX; uid++)
		if (!asked_for(&machine->config, uid, false) &&
		    !zpci_uid_in_use(machine->zpci, (uint16_t)uid))
			return machine->devices->next_uid = uid;
	return 0;
}

/* With plug_lock held, which is enough to read the list. */
static struct machine_device *find(struct machine_devices *devices, const char *id)
{
	struct machine_device *device;

	for (device = devices->first; device; device = device->next)
		if ((*id && !strcmp(device->id, id)) || !strcmp(device->path, id))
			return device;
	return NULL;
}

/* With list_lock held. */
static struct machine_device *find_fid(struct machine_devices *devices, uint32_t fid)
{
	struct machine_device *device;

	for (device = devices->first; device; device = device->next)
		if (device->fid == fid)
			return device;
	return NULL;
}

/* --- plugging: with plug_lock held -------------------------------------------------------- */

/*
 * The address is free, and if the slot has several functions, function 0 says so: as
 * on QEMU (do_pci_register_device(), pci_init_multifunction()).
 */
static int check_address(struct machine_devices *devices, const struct device_config *config,
			 char *error, size_t error_size)
{
	const struct device_value *address = device_config_value(config, "addr");
	const struct machine_device *other;

	if (!address->given)
		return 0;
	for (other = devices->first; other; other = other->next) {
		bool several = device_config_value(config, "multifunction")->number;

		if (!other->has_address ||
		    DEVICE_ADDRESS_SLOT(other->address) != DEVICE_ADDRESS_SLOT(address->number))
			continue;
		if (other->address == address->number) {
			snprintf(error, error_size, "device %s: addr=%s is taken by another device",
				 config->type->name, address->text);
			return -EEXIST;
		}
		if ((!DEVICE_ADDRESS_FUNCTION(address->number) && !several) ||
		    (!DEVICE_ADDRESS_FUNCTION(other->address) && !other->multifunction)) {
			snprintf(error, error_size,
				 "device %s: addr=%s: function 0 of a slot with several wants "
				 "multifunction=on",
				 config->type->name, address->text);
			return -EINVAL;
		}
	}
	return 0;
}

/* `error` begins with "device" and the type. */
static int plug(struct machine *machine, struct device_config *config, bool announce, char *error,
		size_t error_size)
{
	struct machine_devices *devices = machine->devices;
	struct zpci_function_config function;
	char name[64], reason[DEVICE_ERROR_MAX] = "";
	struct machine_device *device;
	struct device_made made;
	int rc;

	device = calloc(1, sizeof(*device));
	if (!device) {
		snprintf(error, error_size, "device %s: out of memory", config->type->name);
		return -ENOMEM;
	}
	if (!config->has_fid) {
		config->fid = free_fid(machine);
		config->has_fid = true;
	}
	if (!config->has_uid) {
		config->uid = free_uid(machine);
		config->has_uid = true;
	}
	device->type = config->type;
	device->fid = config->fid;
	device->uid = (uint16_t)config->uid;
	device->has_address = device_config_value(config, "addr")->given;
	device->address = device_config_value(config, "addr")->number;
	device->multifunction = device_config_value(config, "multifunction")->number;
	memcpy(device->id, config->id, sizeof(device->id));
	if (*device->id)
		snprintf(device->path, sizeof(device->path), PATH_NAMED, device->id);
	else
		snprintf(device->path, sizeof(device->path), PATH_UNNAMED, devices->made);
	snprintf(name, sizeof(name), "%s%u", config->type->name, devices->made);
	config->irq_sources = machine->irq_sources;
	rc = check_address(devices, config, error, error_size);
	if (!rc)
		rc = device_create_on(config, name, &devices->host, &made, error, error_size);
	if (rc)
		goto free_device;
	device->function = made.function;
	if (pci_function_has_memory(made.function))
		cpu_complex_use_windows(machine->cpus);
	/* For good: what was pinned may be given back late. */
	machine->memory.pinned |= made.pins_memory;
	rc = function_config(machine->features, config, &made, &function, error, error_size);
	if (rc)
		goto free_function;
	/* In the list first: the guest may use it as soon as it is plugged. */
	pthread_mutex_lock(&devices->list_lock);
	*devices->last = device;
	devices->last = &device->next;
	pthread_mutex_unlock(&devices->list_lock);
	rc = zpci_plug(machine->zpci, device->function, &function, announce, reason,
		       sizeof(reason));
	if (rc) {
		snprintf(error, error_size, "device %s: %s", config->type->name, reason);
		goto unlist;
	}
	device->locks = made.locks;
	devices->host.locked += made.locks;
	devices->made++;
	atomic_fetch_add(&devices->present, 1);
	machine_wake(machine);
	return 0;
unlist:
	pthread_mutex_lock(&devices->list_lock);
	devices->last = &devices->first;
	while (*devices->last != device)
		devices->last = &(*devices->last)->next;
	*devices->last = NULL;
	pthread_mutex_unlock(&devices->list_lock);
free_function:
	pci_function_free(device->function);
free_device:
	free(device);
	return rc;
}

static void unlist(struct machine_devices *devices, struct machine_device *device)
{
	struct machine_device **link = &devices->first;

	pthread_mutex_lock(&devices->list_lock);
	while (*link != device)
		link = &(*link)->next;
	*link = device->next;
	if (!*link)
		devices->last = link;
	pthread_mutex_unlock(&devices->list_lock);
}

/* False: not now, since its host has not ended what it has under way for it. */
static bool remove_device(struct machine *machine, struct machine_device *device)
{
	const struct machine_event event = {
		.kind = MACHINE_EVENT_DEVICE_DELETED,
		.id = device->id,
		.path = device->path,
	};

	if (zpci_unplug(machine->zpci, device->fid) == -EBUSY)
		return false;
	unlist(machine->devices, device);
	machine->devices->host.locked -= device->locks;
	machine->devices->next_fid = MIN(machine->devices->next_fid, device->fid);
	machine->devices->next_uid = MIN(machine->devices->next_uid, device->uid);
	atomic_fetch_sub(&machine->devices->present, 1);
	pci_function_free(device->function);
	machine_tell(machine, &event);
	free(device);
	return true;
}

/* --- what the guest says ---------------------------------------------------------------- */

void machine_device_deconfigured(struct machine *machine, uint32_t fid)
{
	struct machine_devices *devices = machine->devices;
	struct machine_device *device;
	bool noted;

	pthread_mutex_lock(&devices->list_lock);
	device = find_fid(devices, fid);
	noted = device && device->wanted_back;
	if (noted)
		device->given_back = true;
	pthread_mutex_unlock(&devices->list_lock);
	if (noted)
		machine_wake(machine);
}

void machine_device_kept(struct machine *machine, uint32_t fid)
{
	struct machine_devices *devices = machine->devices;
	struct machine_event event = { .kind = MACHINE_EVENT_UNPLUG_REFUSED };
	char id[DEVICE_ID_MAX + 1], path[PATH_MAX_LENGTH];
	struct machine_device *device;
	bool refused;

	pthread_mutex_lock(&devices->list_lock);
	device = find_fid(devices, fid);
	refused = device && device->wanted_back && !device->given_back && !device->taken_away;
	if (refused) {
		device->wanted_back = false;
		memcpy(id, device->id, sizeof(id));
		memcpy(path, device->path, sizeof(path));
	}
	pthread_mutex_unlock(&devices->list_lock);
	if (refused) {
		event.id = id;
		event.path = path;
		machine_tell(machine, &event);
	}
}

/* Whoever lent the device to us wants it back. Any thread. */
static void unplug_wanted(void *opaque, uint32_t fid)
{
	struct machine *machine = opaque;
	struct machine_devices *devices = machine->devices;
	struct machine_device *device;

	pthread_mutex_lock(&devices->list_lock);
	device = find_fid(devices, fid);
	if (device)
		device->owner_wants_back = true;
	pthread_mutex_unlock(&devices->list_lock);
	if (device)
		machine_wake(machine);
}

bool machine_devices_finish(struct machine *machine)
{
	struct machine_devices *devices = machine->devices;
	struct machine_device *device, *next;
	bool gone, ask, finished = true;

	pthread_mutex_lock(&devices->plug_lock);
	for (device = devices->first; device; device = next) {
		next = device->next;
		pthread_mutex_lock(&devices->list_lock);
		gone = device->given_back || device->taken_away;
		ask = device->owner_wants_back && !gone;
		device->owner_wants_back = false;
		device->wanted_back |= ask;
		pthread_mutex_unlock(&devices->list_lock);
		if (gone)
			finished &= remove_device(machine, device);
		else if (ask)
			(void)zpci_request_unplug(machine->zpci, device->fid);
	}
	pthread_mutex_unlock(&devices->plug_lock);
	return finished;
}

void machine_devices_reset(struct machine *machine)
{
	struct machine_devices *devices = machine->devices;
	struct machine_device *device, *next;

	pthread_mutex_lock(&devices->plug_lock);
	for (device = devices->first; device; device = next) {
		next = device->next;
		if (device->wanted_back) /* no vCPU runs that could change it */
			(void)remove_device(machine, device);
	}
	pthread_mutex_unlock(&devices->plug_lock);
}

int machine_devices_clear_memory(struct machine *machine)
{
	int rc;

	pthread_mutex_lock(&machine->devices->plug_lock);
	rc = memory_clear(&machine->memory);
	pthread_mutex_unlock(&machine->devices->plug_lock);
	return rc;
}

/* --- what the monitor says ---------------------------------------------------------------- */

int machine_device_add(struct machine *machine, struct device_config *config, char *error,
		       size_t error_size)
{
	struct machine_devices *devices = machine->devices;
	int rc;

	pthread_mutex_lock(&devices->plug_lock);
	if (*config->id && find(devices, config->id)) {
		snprintf(error, error_size, "Duplicate device ID '%s'", config->id);
		rc = -EEXIST;
	} else {
		rc = plug(machine, config, true, error, error_size);
	}
	pthread_mutex_unlock(&devices->plug_lock);
	return rc;
}

int machine_device_del(struct machine *machine, const char *id, bool force)
{
	struct machine_devices *devices = machine->devices;
	struct machine_device *device;
	int rc = 0;

	pthread_mutex_lock(&devices->plug_lock);
	device = find(devices, id);
	if (!device) {
		rc = -ENOENT;
	} else {
		pthread_mutex_lock(&devices->list_lock);
		force |= device->wanted_back;
		device->wanted_back = true;
		device->taken_away |= force;
		pthread_mutex_unlock(&devices->list_lock);
		if (!force)
			rc = zpci_request_unplug(machine->zpci, device->fid);
		else if (!remove_device(machine, device))
			machine_wake(machine);
	}
	pthread_mutex_unlock(&devices->plug_lock);
	return rc;
}

int machine_device_inject_error(struct machine *machine, const char *id, uint16_t code,
				uint64_t address)
{
	struct machine_device *device;
	int rc = -ENOENT;

	pthread_mutex_lock(&machine->devices->plug_lock);
	device = find(machine->devices, id);
	if (device)
		rc = zpci_inject_error(machine->zpci, device->fid, code, address);
	pthread_mutex_unlock(&machine->devices->plug_lock);
	return rc;
}

int machine_device_fail_translation(struct machine *machine, const char *id, uint16_t code,
				    uint64_t count)
{
	struct machine_device *device;
	int rc = -ENOENT;

	pthread_mutex_lock(&machine->devices->plug_lock);
	device = find(machine->devices, id);
	if (device)
		rc = zpci_inject_translation_failure(machine->zpci, device->fid, code, count);
	pthread_mutex_unlock(&machine->devices->plug_lock);
	return rc;
}

void machine_for_each_device(struct machine *machine,
			     void (*visit)(void *opaque, const struct machine_device_info *info),
			     void *opaque)
{
	struct machine_devices *devices = machine->devices;
	struct machine_device *device;

	pthread_mutex_lock(&devices->plug_lock);
	for (device = devices->first; device; device = device->next) {
		const struct machine_device_info info = {
			.id = device->id,
			.path = device->path,
			.type = device->type,
			.function = device->function,
			.fid = device->fid,
			.uid = device->uid,
		};

		visit(opaque, &info);
	}
	pthread_mutex_unlock(&devices->plug_lock);
}

/* --- made and taken apart ---------------------------------------------------------------------- */

bool machine_devices_present(const struct machine *machine)
{
	return atomic_load(&machine->devices->present);
}

int machine_devices_create(struct machine *machine, char *error, size_t error_size)
{
	struct machine_devices *devices = calloc(1, sizeof(*devices));
	char reason[DEVICE_ERROR_MAX];

	if (!devices) {
		snprintf(error, error_size, "out of memory");
		return -ENOMEM;
	}
	pthread_mutex_init(&devices->plug_lock, NULL);
	pthread_mutex_init(&devices->list_lock, NULL);
	devices->last = &devices->first;
	devices->host = (struct device_host){
		.memory = machine->memory.base,
		.memory_size = machine->memory.size,
		.memory_fd = machine->memory.fd,
		.unplug_wanted = unplug_wanted,
		.opaque = machine,
	};
	machine->devices = devices;
	for (unsigned int i = 0; i < machine->config.device_count; i++) {
		struct device_config *config = &machine->config.devices[i];
		int rc = plug(machine, config, false, reason, sizeof(reason));

		if (rc) {
			snprintf(error, error_size, "--%s", reason);
			return rc;
		}
	}
	return 0;
}

void machine_devices_destroy(struct machine *machine)
{
	struct machine_devices *devices = machine->devices;

	if (!devices)
		return;
	while (devices->first) {
		struct machine_device *device = devices->first;

		unlist(devices, device);
		pci_function_free(device->function);
		free(device);
	}
	pthread_mutex_destroy(&devices->plug_lock);
	pthread_mutex_destroy(&devices->list_lock);
	free(devices);
	machine->devices = NULL;
}
