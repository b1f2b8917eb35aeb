/* SPDX-License-Identifier: MIT */
/*
 * The table of machine versions; see version.h.
 *
 * The facilities are those that zvisor's own CPU and libzpci really have, named
 * as the Principles of Operation (chapter 4, "Facility Indications") does. Not
 * there, because they are not: cryptography (17, 76, 77), configuration
 * topology (11), decimal floating point (42 to 44), transactions (50, 73),
 * vectors (129, 134, 135).
 */
#include "machine/version.h"

#include <string.h>

#include "base/util.h"

static const uint16_t facilities_common[] = {
	0, /* N3: z/Architecture's additions to ESA/390 */
	1, /* z/Architecture installed */
	2, /* z/Architecture active */
	3, /* DAT enhancement */
	7, /* STFLE */
	8, /* enhanced DAT 1 */
	9, /* sense running status */
	10, /* conditional SSKE */
	13, /* IPTE range */
	16, /* extended translation 2 */
	18, /* long displacement */
	19, /* long displacement is fast */
	21, /* extended immediate */
	22, /* extended translation 3 */
	24, /* ETF2 enhancement */
	25, /* store clock fast */
	26, /* parsing enhancement */
	27, /* move with optional specifications */
	28, /* TOD clock steering */
	30, /* ETF3 enhancement */
	31, /* extract CPU time */
	32, /* compare and swap and store */
	33, /* compare and swap and store 2 */
	34, /* general instructions extension */
	35, /* execute extensions */
	37, /* floating-point extension */
	40, /* load program parameter */
	41, /* floating-point support enhancement */
	45, /* distinct operands, high word, population count, interlocked access, load/store on condition */
	51, /* local TLB clearing */
	52, /* interlocked access 2 */
	69, /* zPCI */
	71, /* zPCI adapter event notification */
	72, /* adapter-interruption suppression */
	75, /* access-exception fetch/store indication */
	78, /* enhanced DAT 2 */
	138, /* configuration z/Architecture mode: there is no other */
};

/* Facilities that come with a feature. */
static const struct {
	uint32_t feature;
	uint16_t facility;
} feature_facilities[] = {
	{ MACHINE_MIO, 153 },
};

static const struct machine_property properties[] = {
	{ "mio", MACHINE_MIO, "PCI loads and stores by address, which Linux prefers to handles" },
	{ "directed-interrupts", MACHINE_DIRECTED_INTERRUPTS,
	  "a PCI interruption goes to the CPU that Linux chose for it" },
	{ "uid-checking", MACHINE_UID_CHECKING,
	  "uids are unique, and Linux numbers its PCI domains by them" },
};

/* The newest first. */
static const struct machine_version versions[] = {
	{
		.name = "zvisor-1.0",
		.features = MACHINE_MIO | MACHINE_RELAXED_TRANSLATION | MACHINE_DIRECTED_INTERRUPTS |
			    MACHINE_UID_CHECKING,
		.facilities = facilities_common,
		.facility_count = ARRAY_SIZE(facilities_common),
		.machine_type = 0x2817,
		.model = "M01",
	},
	{
		.name = "zvisor-0.9",
		.features = MACHINE_UID_CHECKING,
		.facilities = facilities_common,
		.facility_count = ARRAY_SIZE(facilities_common),
		.machine_type = 0x2817,
		.model = "M01",
	},
};

const struct machine_version *machine_version_find(const char *name)
{
	if (!name)
		return &versions[0];
	for (unsigned int i = 0; i < ARRAY_SIZE(versions); i++)
		if (!strcmp(versions[i].name, name))
			return &versions[i];
	return NULL;
}

void machine_version_print_all(FILE *out)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(versions); i++)
		fprintf(out, "%s%s\n", versions[i].name, i ? "" : " (default)");
	fputs("\nproperties, on where the version has them:\n", out);
	for (unsigned int i = 0; i < ARRAY_SIZE(properties); i++) {
		fprintf(out, "  %s=on|off%*s%s (in", properties[i].name,
			22 - (int)strlen(properties[i].name), "", properties[i].help);
		for (unsigned int j = 0; j < ARRAY_SIZE(versions); j++)
			if (versions[j].features & properties[i].feature)
				fprintf(out, " %s", versions[j].name);
		fputs(")\n", out);
	}
}

const struct machine_property *machine_property_find(const char *name)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(properties); i++)
		if (!strcmp(properties[i].name, name))
			return &properties[i];
	return NULL;
}

static void add_facility(struct cpu_model *model, unsigned int bit)
{
	model->facilities[bit / 64] |= BIT64(bit % 64);
}

struct cpu_model machine_version_cpu_model(const struct machine_version *version, uint32_t features)
{
	struct cpu_model model = {
		/* Version 0, no identification, machine type, format bit. */
		.cpu_id = (uint64_t)version->machine_type << 16 | 0x8000,
	};

	for (unsigned int i = 0; i < version->facility_count; i++)
		add_facility(&model, version->facilities[i]);
	for (unsigned int i = 0; i < ARRAY_SIZE(feature_facilities); i++)
		if (features & feature_facilities[i].feature)
			add_facility(&model, feature_facilities[i].facility);
	return model;
}
