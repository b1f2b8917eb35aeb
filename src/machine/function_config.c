/* SPDX-License-Identifier: MIT */
/* See function_config.h. */
#include "machine/function_config.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "devices/device.h"
#include "machine/ebcdic.h"
#include "machine/version.h"
#include "zpci/pci.h"

/*
 * Linux before 6.14 knows functions of one device by their PCHID, later ones by their
 * topology identifier (arch/s390/pci/pci_bus.c, zpci_bus_get()). Real PCHIDs
 * begin with 0x100.
 */
#define FIRST_PCHID 0x100

static uint64_t number_or(const struct device_config *config, const char *property, uint64_t preset)
{
	const struct device_value *value = device_config_value(config, property);

	return value && value->given ? value->number : preset;
}

/* Is it one of several functions? Then it says where on the bus it is. */
static void set_address(const struct device_config *config, struct pci_function *device,
			struct zpci_function_config *function)
{
	uint64_t address = number_or(config, "addr", 0);
	unsigned slot = DEVICE_ADDRESS_SLOT(address);

	function->has_rid = number_or(config, "multifunction", 0) ||
			    DEVICE_ADDRESS_FUNCTION(address);
	if (function->has_rid) {
		function->rid = (uint16_t)DEVICE_ADDRESS_FUNCTION(address);
		function->tid = (uint16_t)slot;
		function->pchid = (uint16_t)(FIRST_PCHID + slot);
		pci_function_set_multifunction(device);
	}
	function->pchid = (uint16_t)number_or(config, "pchid", function->pchid);
}

static void set_util_string(const struct device_config *config,
			    struct zpci_function_config *function)
{
	const struct device_value *text = device_config_value(config, "util-string");

	if (!text->given)
		return;
	function->has_util_string = true;
	ebcdic_put(function->util_string, text->text, sizeof(function->util_string));
}

/* What a device that is not ours brings along. */
static void set_made(const struct device_made *made, struct zpci_function_config *function)
{
	function->mapping = made->mapping;
	function->mapping_opaque = made->mapping_opaque;
	function->mappings_max = made->mappings_max;
	if (made->edma) {
		function->sdma = made->sdma;
		function->edma = made->edma;
	}
	if (made->interrupts)
		function->interrupts = made->interrupts;
	if (made->store_block_max)
		function->store_block_max = made->store_block_max;
	function->vfn = made->vfn;
	function->pfgid = made->pfgid;
	function->pchid = made->pchid;
	memcpy(function->pfip, made->pfip, sizeof(function->pfip));
	function->has_util_string = made->has_util_string;
	memcpy(function->util_string, made->util_string, sizeof(function->util_string));
}

/* What a host has made can be given in part, and not enlarged. */
static int check_host(const struct device_config *config, const struct device_made *made,
		      const struct zpci_function_config *function, char *error, size_t error_size)
{
	const char *property = NULL;
	unsigned most = 0;

	if (made->interrupts && function->interrupts > made->interrupts) {
		property = "interrupts";
		most = made->interrupts;
	} else if (made->store_block_max && function->store_block_max > made->store_block_max) {
		property = "store-block";
		most = made->store_block_max;
	}
	if (!property)
		return 0;
	snprintf(error, error_size, "device %s: %s=: the host has %u for this device, and no more",
		 config->type->name, property, most);
	return -EINVAL;
}

int function_config(uint32_t features, const struct device_config *config,
		    const struct device_made *made, struct zpci_function_config *function, char *error,
		    size_t error_size)
{
	unsigned vectors = pci_function_msix_vectors(made->function);
	uint64_t store_block, dma_size;

	*function = zpci_function_defaults(config->fid);
	function->uid = (uint16_t)config->uid;
	if (!function->uid && features & MACHINE_UID_CHECKING) {
		snprintf(
			error, error_size,
			"device %s: uid=0: a function has one, from 1 to 65535, unless the machine "
			"has uid-checking=off",
			config->type->name);
		return -EINVAL;
	}
	set_made(made, function);
	set_address(config, made->function, function);
	set_util_string(config, function);
	function->pft = (uint8_t)number_or(config, "pft", made->pft);
	function->relaxed_translation = config->has_relaxed_translation ?
						config->relaxed_translation :
						features & MACHINE_RELAXED_TRANSLATION;
	if (made->mapping && !config->has_relaxed_translation)
		function->relaxed_translation = false;
	if (function->relaxed_translation && made->no_direct_mapping) {
		snprintf(error, error_size,
			 "device %s: relaxed-translation=on: the host cannot map all of the "
			 "guest's memory for this device",
			 config->type->name);
		return -EINVAL;
	}
	function->standby = number_or(config, "standby", false);
	function->relaxed_store_block = number_or(config, "relaxed-store-block", false);
	dma_size = number_or(config, "dma-size", 0);
	if (dma_size % PAGE_SIZE) {
		snprintf(error, error_size, "device %s: dma-size=%llu: wants a multiple of 4096",
			 config->type->name, (unsigned long long)dma_size);
		return -EINVAL;
	}
	if (dma_size)
		function->edma = function->sdma + dma_size - 1;
	if (!made->interrupts)
		function->interrupts = (uint16_t)MAX(function->interrupts, vectors);
	function->interrupts = (uint16_t)number_or(config, "interrupts", function->interrupts);
	function->update_interval =
		(uint16_t)number_or(config, "measurement-interval", function->update_interval);
	store_block = number_or(config, "store-block",
				config->type->store_block_max ? config->type->store_block_max :
								function->store_block_max);
	if (store_block % 8) {
		snprintf(error, error_size, "device %s: store-block=%llu: wants a multiple of 8",
			 config->type->name, (unsigned long long)store_block);
		return -EINVAL;
	}
	function->store_block_max = (uint16_t)store_block;
	return check_host(config, made, function, error, error_size);
}
